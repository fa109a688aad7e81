"""The prompt routes, through the router, in the shapes that Portkey's SDKs read."""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.adapters.documents_sqlite import SqliteDocuments
from gateway.api.prompt_labels import CollectionApi, LabelApi
from gateway.api.prompt_partials import PartialApi
from gateway.api.prompts import PromptApi
from gateway.api.routing import ApiRequest, Router
from gateway.core.caller import ADMIN
from gateway.core.errors import Conflict, InvalidRequest, MethodNotAllowed, NotFound
from gateway.core.headers import RequestHeaders
from gateway.prompts.library import PromptLibrary

CHAT = '[{"role":"user","content":"Hi {{name}}"}]'


class Api:
    def __init__(self, library: PromptLibrary) -> None:
        apis = (PromptApi(library), PartialApi(library), LabelApi(library), CollectionApi(library))
        self.router = Router([route for api in apis for route in api.routes()])

    async def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        path, _, query = path.partition("?")
        found = self.router.find(method, path)
        assert found is not None, path
        route, params = found
        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        data = b"" if body is None else orjson.dumps(body)
        request = ApiRequest(method, path, params, query, RequestHeaders(raw), ADMIN, data)
        answer = await route.handler(request)
        # A body that is no object, or empty text, breaks the SDKs' native clients.
        assert isinstance(answer, dict)
        return orjson.loads(orjson.dumps(answer))


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    clock, ids = (lambda: 1_775_044_800.0), itertools.count(1)
    documents = SqliteDocuments(tmp_path, clock)
    yield Api(PromptLibrary(documents, clock, lambda: f"{next(ids):032x}"))
    await documents.aclose()


async def test_prompt_life(api: Api) -> None:
    made = await api(
        "POST", "/prompts", {"name": "HR Bot", "collection_id": "c", "string": CHAT, "model": "gpt4"}
    )
    slug = made["slug"]
    assert made["data"]["version_id"] == made["version_id"]
    assert (made["success"], made["object"], made["data"]["slug"]) == (True, "prompt", slug)

    listed = await api("GET", "/prompts?")
    assert (listed["object"], listed["total"]) == ("list", 1)
    assert listed["data"][0] == {
        "id": made["id"],
        "slug": slug,
        "name": "HR Bot",
        "collection_id": "c",
        "model": "gpt4",
        "status": "active",
        "created_at": "2026-04-01T12:00:00.000Z",
        "last_updated_at": "2026-04-01T12:00:00.000Z",
        "object": "prompt",
    }

    shown = await api("GET", f"/prompts/{slug}")
    assert shown == listed["data"][0] | {
        "string": CHAT,
        "parameters": {},
        "prompt_version": 1,
        "prompt_version_id": made["version_id"],
        "prompt_version_status": "active",
        "prompt_version_description": None,
        "prompt_version_label_id": None,
        "virtual_key": None,
        "functions": [],
        "tools": [],
        "tool_choice": None,
        "template_metadata": {},
        "is_raw_template": 0,
        "labels": [],
        "published_version": 1,
        "latest_version": 1,
    }

    updated = await api("PUT", f"/prompts/{slug}", {"string": CHAT.replace("Hi", "Ho")})
    assert updated["data"]["prompt_version_id"] == updated["prompt_version_id"] != made["version_id"]
    assert (await api("GET", f"/prompts/{slug}"))["prompt_version"] == 1
    assert await api("PUT", f"/prompts/{slug}/makeDefault", {"version": 2}) == {}
    assert (await api("GET", f"/prompts/{slug}"))["prompt_version"] == 2

    versions = await api("GET", f"/prompts/{slug}/versions")
    assert (versions["object"], versions["total"]) == ("list", 2)
    newest = versions["data"][0]
    assert (newest["prompt_version"], newest["prompt_id"], newest["object"]) == (2, made["id"], "prompt")
    assert newest["prompt_template"]["string"] == CHAT.replace("Hi", "Ho")
    labelled = await api("PUT", f"/prompts/{slug}/versions/{made['version_id']}", {"label_id": "production"})
    assert (labelled["label_id"], labelled["prompt_version"]) == ("production", 1)
    version = await api("GET", f"/prompts/{slug}/versions/{made['version_id']}")
    assert (version["label_id"], version["string"]) == ("production", CHAT)
    assert (await api("GET", f"/prompts/{slug}%40production"))["prompt_version"] == 1

    assert await api("DELETE", f"/prompts/{slug}") == {}
    assert (await api("GET", "/prompts"))["total"] == 0


async def test_render(api: Api) -> None:
    body = {"name": "x", "string": CHAT, "parameters": {"presence_penalty": 0.0, "temperature": 1}}
    slug = (await api("POST", "/prompts", body))["slug"]
    sent = {"prompt_id": slug, "variables": {"name": "Ada"}, "stream": False, "temperature": 2}
    assert await api("POST", f"/prompts/{slug}@1/render", sent) == {
        "success": True,
        "data": {
            "presence_penalty": 0,
            "temperature": 2,
            "messages": [{"role": "user", "content": "Hi Ada"}],
            "stream": False,
        },
    }


async def test_partial_life(api: Api) -> None:
    made = await api("POST", "/prompts/partials", {"name": "Greeting", "string": "Hi"})
    slug = made["slug"]
    assert slug.startswith("pl-greeti-")
    assert (made["object"], made["data"]["version_id"]) == ("partial", made["version_id"])
    listed = await api("GET", "/prompts/partials?search=greet")
    assert [item["slug"] for item in listed["data"]] == [slug]
    updated = await api("PUT", f"/prompts/partials/{slug}", {"string": "Ho", "description": "second"})
    assert (await api("GET", f"/prompts/partials/{slug}"))["string"] == "Hi"
    latest = await api("GET", f"/prompts/partials/{slug}@latest")
    assert (latest["string"], latest["version"], latest["version_description"]) == ("Ho", 2, "second")
    assert latest["prompt_partial_version_id"] == updated["prompt_partial_version_id"]
    assert await api("PUT", f"/prompts/partials/{slug}/makeDefault", {"version": 2}) == {}
    versions = await api("GET", f"/prompts/partials/{slug}/versions")
    assert [(one["version"], one["prompt_version_status"]) for one in versions["data"]] == [
        (2, "active"),
        (1, "archived"),
    ]
    with pytest.raises(Conflict):
        await api("PUT", f"/prompts/partials/{slug}", {"string": "x"}, if_match='"1"')
    assert await api("DELETE", f"/prompts/partials/{slug}") == {}
    with pytest.raises(NotFound):
        await api("GET", f"/prompts/partials/{slug}")


async def test_if_match_guards_an_update(api: Api) -> None:
    slug = (await api("POST", "/prompts", {"name": "x", "string": "a"}))["slug"]
    await api("PUT", f"/prompts/{slug}", {"string": "b"}, if_match='"1"')
    with pytest.raises(Conflict, match="newest version is 2"):
        await api("PUT", f"/prompts/{slug}", {"string": "c"}, if_match='W/"1"')
    with pytest.raises(InvalidRequest, match="If-Match"):
        await api("PUT", f"/prompts/{slug}", {"string": "c"}, if_match="abc")


async def test_lists_have_pages_and_filters(api: Api) -> None:
    for n in range(5):
        await api("POST", "/prompts", {"name": f"Prompt {n}", "string": "x", "collection_id": f"c{n % 2}"})
    page = await api("GET", "/prompts?current_page=1&page_size=2")
    assert (page["total"], len(page["data"])) == (5, 2)
    assert (await api("GET", "/prompts?collection_id=c1"))["total"] == 2
    assert (await api("GET", "/prompts?collectionId=c1"))["total"] == 2
    assert (await api("GET", "/prompts?search=prompt%203"))["total"] == 1


async def test_label_life(api: Api) -> None:
    made = await api("POST", "/labels", {"name": "canary", "colorCode": "#fff"})
    names = [label["name"] for label in (await api("GET", "/labels"))["data"]]
    assert names == ["production", "staging", "development", "canary"]
    assert await api("PUT", f"/labels/{made['id']}", {"description": "first to try"}) == {}
    shown = await api("GET", f"/labels/{made['id']}")
    assert (shown["name"], shown["color_code"], shown["description"]) == ("canary", "#fff", "first to try")
    assert (await api("GET", "/labels/production"))["is_universal"] is True
    assert await api("DELETE", f"/labels/{made['id']}") == {}
    with pytest.raises(NotFound):
        await api("GET", f"/labels/{made['id']}")


@pytest.mark.parametrize(
    ("name", "error"),
    [("12", InvalidRequest), ("latest", InvalidRequest), ("a b", InvalidRequest), ("staging", Conflict)],
)
async def test_labels_that_no_reference_could_name(api: Api, name: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        await api("POST", "/labels", {"name": name})


async def test_builtin_labels_stay(api: Api) -> None:
    for method in ("PUT", "DELETE"):
        with pytest.raises(InvalidRequest, match="built in"):
            await api(method, "/labels/production", {"name": "x"})


async def test_collection_life(api: Api) -> None:
    made = await api("POST", "/collections", {"name": "Support"})
    id = made["data"]["id"]
    assert await api("PUT", f"/collections/{id}", {"name": "Sales"}) == {}
    assert (await api("GET", f"/collections/{id}"))["name"] == "Sales"
    assert (await api("GET", "/collections?search=sal"))["total"] == 1
    await api("POST", "/prompts", {"name": "x", "string": "a", "collection_id": id})
    with pytest.raises(Conflict, match="move them first"):
        await api("DELETE", f"/collections/{id}")


@pytest.mark.parametrize("path", ["/prompts/NOT_GIVEN", "/prompts/a b", "/labels/None", "/collections/a b"])
async def test_placeholders_in_paths_are_not_found(api: Api, path: str) -> None:
    with pytest.raises((NotFound, InvalidRequest)):
        await api("GET", path)


async def test_verbs_that_a_path_lacks(api: Api) -> None:
    with pytest.raises(MethodNotAllowed):
        await api("PATCH", "/prompts/pp-x")
