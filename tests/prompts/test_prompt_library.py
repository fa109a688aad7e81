"""The library on a real store: resolving, rendering, caching, writers that meet."""

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.adapters.documents_azure import AzureDocuments
from gateway.adapters.documents_sqlite import SqliteDocuments
from gateway.core.errors import Conflict, InvalidRequest, NotFound, StoreUnavailable
from gateway.core.ports import Document
from gateway.prompts.editing import PromptEditor
from gateway.prompts.library import PromptLibrary
from gateway.prompts.partial_editing import PartialEditor
from tests.support.clock import Clock

CHAT = '[{"role":"user","content":"Hi {{name}}"}]'


class Flaky:
    """A store that can be down."""

    def __init__(self, store: SqliteDocuments | AzureDocuments) -> None:
        self._store = store
        self.down = False
        self.put, self.list, self.delete, self.aclose = store.put, store.list, store.delete, store.aclose

    async def get(self, kind: str, id: str) -> Document | None:
        if self.down:
            raise StoreUnavailable("down")
        return await self._store.get(kind, id)


class Shelf:
    """A library with its editors, on one store."""

    def __init__(self, documents: Flaky, clock: Clock, ids: Any) -> None:
        self.documents = documents
        self.clock = clock
        self.ids = ids
        self.library = PromptLibrary(documents, clock, lambda: f"{next(ids):032x}")
        self.prompts = PromptEditor(self.library)
        self.partials = PartialEditor(self.library)

    def neighbour(self) -> "Shelf":
        """Another instance on the same store."""
        return Shelf(self.documents, self.clock, self.ids)

    async def make(self, string: str = CHAT, **fields: Any) -> str:
        return str((await self.prompts.create({"name": "HR Bot", "string": string, **fields}))["slug"])

    async def partial(self, string: str) -> str:
        return str((await self.partials.create({"name": "part", "string": string}))["slug"])

    async def text(self, reference: str, variables: Mapping[str, Any] | None = None) -> Any:
        body = (await self.library.to_request(reference, {"variables": variables or {}})).body
        return body["prompt"] if "prompt" in body else body["messages"][0]["content"]


@pytest.fixture(params=["sqlite", "azure"])
async def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shelf]:
    clock = Clock()
    if request.param == "sqlite":
        documents = Flaky(SqliteDocuments(tmp_path, clock))
    else:
        account = request.getfixturevalue("azurite")
        documents = Flaky(AzureDocuments(account, clock, "t" + secrets.token_hex(8)))
    yield Shelf(documents, clock, itertools.count(0x5C8C6E))
    await documents.aclose()


async def test_created_prompt_is_published_and_runs(shelf: Shelf) -> None:
    made = await shelf.prompts.create(
        {
            "name": "HR Bot",
            "string": CHAT,
            "model": "gpt4",
            "virtualKey": "azure-1",
            "parameters": {"max_tokens": 5},
        }
    )
    assert made["slug"].startswith("pp-hr-bot-")
    request = await shelf.library.to_request(made["slug"], {"variables": {"name": "Ada"}, "stream": True})
    assert request.path == "/v1/chat/completions"
    assert request.body == {
        "max_tokens": 5,
        "model": "gpt4",
        "messages": [{"role": "user", "content": "Hi Ada"}],
        "stream": True,
    }
    assert request.virtual_key == "azure-1"
    assert request.prompt == (made["id"], made["slug"], 1, made["version_id"])


async def test_references_name_versions_and_labels(shelf: Shelf) -> None:
    slug = await shelf.make("one")
    for text in ("two", "three"):
        await shelf.prompts.update(slug, {"string": text})
    label = await shelf.library.labels.create({"name": "canary"})
    await shelf.prompts.label_version(slug, "2", {"label_id": label})
    await shelf.prompts.label_version(slug, "3", {"labelId": "staging"})
    expected = {"": "one", "@1": "one", "@2": "two", "%402": "two", "@latest": "three", "@canary": "two"}
    for selector, text in (expected | {"@staging": "three"}).items():
        assert await shelf.text(slug + selector) == text
    for selector in ("@4", "@0", "@production", "@nobody"):
        with pytest.raises(NotFound):
            await shelf.text(slug + selector)
    await shelf.prompts.publish(slug, {"version": 3})
    assert await shelf.text(slug) == "three"


async def test_a_label_points_to_one_version(shelf: Shelf) -> None:
    slug = await shelf.make("one")
    await shelf.prompts.update(slug, {"string": "two"})
    await shelf.prompts.label_version(slug, "1", {"label_id": "production"})
    await shelf.prompts.label_version(slug, "1", {"label_id": "staging"})
    moved = await shelf.prompts.label_version(slug, "2", {"label_id": "production"})
    assert moved["labels"] == ["production"]
    assert (await shelf.prompts.version(slug, "1"))["labels"] == ["staging"]
    assert (await shelf.prompts.label_version(slug, "1", {"label_id": None}))["labels"] == []
    with pytest.raises(NotFound):
        await shelf.text(slug + "@staging")
    assert await shelf.text(slug + "@production") == "two"


async def test_update_keeps_what_was_not_sent(shelf: Shelf) -> None:
    slug = await shelf.make("Hi", model="gpt4", parameters={"n": 1, "top_p": 1}, version_description="first")
    await shelf.prompts.update(slug, {"string": "Ho"})
    await shelf.prompts.update(slug, {"parameters": {"n": 2}, "patch": True})
    latest = await shelf.prompts.retrieve(slug + "@latest")
    assert (latest["string"], latest["model"], latest["parameters"]) == ("Ho", "gpt4", {"n": 2, "top_p": 1})
    assert latest["prompt_version_description"] is None
    await shelf.prompts.update(slug, {"parameters": {"n": 3}, "model": None})
    latest = await shelf.prompts.retrieve(slug + "@latest")
    assert (latest["parameters"], latest["model"], latest["prompt_version"]) == ({"n": 3}, None, 4)


async def test_versions_never_change(shelf: Shelf) -> None:
    slug = await shelf.make("one")
    before = await shelf.prompts.version(slug, "1")
    await shelf.prompts.update(slug, {"string": "two", "name": "New name"})
    await shelf.prompts.publish(slug, {"version": "2"})
    after = await shelf.prompts.version(slug, "1")
    assert after["string"] == before["string"] == "one"
    assert (before["status"], after["status"]) == ("active", "archived")
    assert [one["prompt_version"] for one in await shelf.prompts.versions(slug)] == [2, 1]
    assert (await shelf.prompts.version(slug, before["id"]))["prompt_version"] == 1


async def test_renaming_makes_no_version(shelf: Shelf) -> None:
    slug = await shelf.make("one")
    answer = await shelf.prompts.update(slug, {"name": "Other", "collection_id": "c-1"})
    assert answer["prompt_version"] == 1
    assert [item["name"] for item in await shelf.prompts.search({"collection_id": "c-1"})] == ["Other"]


async def test_stale_update_is_refused_with_the_current_version(shelf: Shelf) -> None:
    slug = await shelf.make("one")
    await shelf.prompts.update(slug, {"string": "two", "expected_version": 1})
    with pytest.raises(Conflict, match="its newest version is 2, not 1") as caught:
        await shelf.prompts.update(slug, {"string": "three"}, expected=1)
    assert caught.value.headers == {"etag": '"2"'}
    assert [one["prompt_version"] for one in await shelf.prompts.versions(slug)] == [2, 1]


async def test_writers_that_meet_lose_nothing(shelf: Shelf) -> None:
    slug = await shelf.make("v0")
    await asyncio.gather(*[shelf.prompts.update(slug, {"string": f"v{n}"}) for n in range(1, 6)])
    texts = [
        (await shelf.prompts.version(slug, one["id"]))["string"] for one in await shelf.prompts.versions(slug)
    ]
    assert sorted(texts) == ["v0", "v1", "v2", "v3", "v4", "v5"]


async def test_a_writer_that_died_leaves_only_a_gap(shelf: Shelf) -> None:
    slug = await shelf.make("one")
    orphan = {"id": "x", "number": 2, "content": {"string": "lost"}}
    await shelf.documents.put("prompt-version", f"{slug}@000002", orphan)
    assert (await shelf.prompts.update(slug, {"string": "two"}))["prompt_version"] == 3
    assert await shelf.text(slug + "@latest") == "two"


async def test_deleted_prompt_is_gone_until_it_is_restored(shelf: Shelf) -> None:
    slug = await shelf.make("one")
    assert await shelf.prompts.delete(slug) == {}
    for call in (shelf.text(slug), shelf.prompts.retrieve(slug), shelf.prompts.delete(slug)):
        with pytest.raises(NotFound):
            await call
    assert await shelf.prompts.search({}) == []
    assert [item["slug"] for item in await shelf.prompts.search({"status": "archived"})] == [slug]
    await shelf.prompts.update(slug, {"status": "active"})
    assert await shelf.text(slug) == "one"


@pytest.mark.parametrize("reference", ["pp-nope", "pp-nope@2", "8b2d2a4e-4b7c-4c57-9b3e-1f6a8d0c1e55"])
async def test_unknown_prompt_is_not_found(shelf: Shelf, reference: str) -> None:
    with pytest.raises(NotFound, match="there is no prompt"):
        await shelf.text(reference)


async def test_prompt_is_found_by_its_id(shelf: Shelf) -> None:
    made = await shelf.prompts.create({"name": "x", "string": "one"})
    assert await shelf.text(made["id"]) == "one"


async def test_partials_follow_their_versions(shelf: Shelf) -> None:
    inner = await shelf.partial("inner {{name}}")
    outer = await shelf.partial("<{{>" + inner + "}}>")
    await shelf.partials.update(inner, {"string": "new {{name}}"})
    slug = await shelf.make(f"{{{{>{outer}}}}} {{{{>{inner}@2}}}} {{{{>{inner}@latest}}}} {{{{>pl-none}}}}|")
    assert await shelf.text(slug, {"name": "A"}) == "<inner A> new A new A |"
    await shelf.partials.publish(inner, {"version": 2})
    assert await shelf.text(slug, {"name": "A"}) == "<new A> new A new A |"
    await shelf.partials.delete(inner)
    assert await shelf.text(slug) == "<>   |"


async def test_partials_named_by_variables(shelf: Shelf) -> None:
    last = await shelf.partial("end")
    first = await shelf.partial("[{{>>next}}]")
    slug = await shelf.make("{{>>which}}{{#each}}{{>>.}}{{/each}}{{>>none}}")
    variables = {"which": first, "next": last, "each": [last, "pl-missing", "not a slug"], "none": 5}
    assert await shelf.text(slug, variables) == "[end]end"


async def test_partials_are_bounded(shelf: Shelf) -> None:
    slug = await shelf.make("{{#each}}{{>>.}}{{/each}}")
    with pytest.raises(InvalidRequest, match="at most 64 partials"):
        await shelf.text(slug, {"each": [f"pl-{n}" for n in range(65)]})
    loop = await shelf.partial("x")
    await shelf.partials.update(loop, {"string": "{{>" + loop + "}}"})
    await shelf.partials.publish(loop, {"version": 2})
    with pytest.raises(InvalidRequest, match="does it include itself"):
        await shelf.text(await shelf.make("{{>" + loop + "}}"))


async def test_saving_warns_of_loose_ends(shelf: Shelf) -> None:
    made = await shelf.prompts.create({"name": "x", "string": "{{>pl-none}} {{oops", "collection_id": "c"})
    assert made["warnings"] == [
        'string: line 1, column 14: the tag "{{oops" is not closed by }}',
        'string: there is no partial "pl-none"; it renders as nothing',
        'collection_id: there is no collection "c"',
    ]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"string": "x"}, "name: "),
        ({"name": "x"}, "string: "),
        ({"name": "x", "string": "a\n{{#b}}"}, 'string: line 2, column 1: the section "b" is never closed'),
        ({"name": "x", "string": "[{]", "is_raw_template": 0}, "string: line 1, column 3"),
        ({"name": "x", "string": "y", "parameters": []}, "parameters: "),
        ({"name": "x", "string": "y" * 400_001}, "string: "),
        ([], "must be a JSON object"),
    ],
)
async def test_what_cannot_be_saved(shelf: Shelf, body: Any, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        await shelf.prompts.create(body)


@pytest.mark.parametrize(
    ("string", "given", "raw"),
    [
        (CHAT, {}, 0),
        ('[{"role":"user","content":"a"},{{{history}}}]', {}, 1),
        (CHAT, {"is_raw_template": 1}, 1),
        (CHAT, {"isRawTemplate": True}, 1),
        ("plain {{x}}", {}, 0),
        ("{{x}} plain", {}, 0),
        ("{{>>x}}", {}, 0),
        ("[Note] plain {{x}}", {}, 0),
        ("{name}: plain", {}, 0),
    ],
)
async def test_way_of_storing_is_told_by_the_string(shelf: Shelf, string: str, given: Any, raw: int) -> None:
    slug = await shelf.make(string, **given)
    assert (await shelf.prompts.retrieve(slug))["is_raw_template"] == raw


async def test_other_instances_see_a_change_within_seconds(shelf: Shelf) -> None:
    other = shelf.neighbour()
    slug = await shelf.make("one")
    await shelf.prompts.update(slug, {"string": "two"})
    assert await other.text(slug) == "one"
    await shelf.prompts.publish(slug, {"version": 2})
    assert (await shelf.text(slug), await other.text(slug)) == ("two", "one")
    shelf.clock.now += 5
    assert await other.text(slug) == "two"


async def test_prompts_run_while_the_store_is_down(shelf: Shelf) -> None:
    slug = await shelf.make("one")
    assert await shelf.text(slug) == "one"
    shelf.clock.now += 600
    shelf.documents.down = True
    assert await shelf.text(slug) == "one"
    with pytest.raises(StoreUnavailable):
        await shelf.text(slug + "@1")
