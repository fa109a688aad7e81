"""`/v1/prompts`: the prompt library, in Portkey's shapes."""

from collections.abc import Sequence
from typing import Any

from gateway.api.routing import ApiRequest, Route, created, listing
from gateway.core.casing import snake
from gateway.core.errors import InvalidRequest
from gateway.prompts.editing import PromptEditor
from gateway.prompts.library import PromptLibrary


class PromptApi:
    """Handlers. Completions are not here: they are an inference call."""

    def __init__(self, library: PromptLibrary) -> None:
        self._library = library
        self._editor = PromptEditor(library)

    def routes(self) -> Sequence[Route]:
        return (
            Route("POST", "/prompts", "prompts.create", self.create),
            Route("GET", "/prompts", "prompts.list", self.list),
            Route("GET", "/prompts/{slug}", "prompts.read", self.read),
            Route("PUT", "/prompts/{slug}", "prompts.update", self.update),
            Route("DELETE", "/prompts/{slug}", "prompts.delete", self.delete),
            Route("PUT", "/prompts/{slug}/makeDefault", "prompts.publish", self.publish),
            Route("GET", "/prompts/{slug}/versions", "prompts.read", self.versions),
            Route("GET", "/prompts/{slug}/versions/{version}", "prompts.read", self.version),
            # A label says what an application runs, so that moving one is publishing.
            Route("PUT", "/prompts/{slug}/versions/{version}", "prompts.publish", self.label_version),
            Route("POST", "/prompts/{slug}/render", "prompts.render", self.render),
        )

    async def create(self, request: ApiRequest) -> dict[str, Any]:
        made = await self._editor.create(request.object())
        request.note["after"] = made
        return created("prompt", made)

    async def list(self, request: ApiRequest) -> dict[str, Any]:
        return paged(request, await self._editor.search(filters(request)))

    async def read(self, request: ApiRequest) -> dict[str, Any]:
        return await self._editor.retrieve(request.params["slug"])

    async def update(self, request: ApiRequest) -> dict[str, Any]:
        slug = request.params["slug"]
        request.note["before"] = await self._editor.retrieve(slug)
        made = await self._editor.update(slug, request.object(), expected_version(request))
        request.note["after"] = made
        return created("prompt", made)

    async def delete(self, request: ApiRequest) -> dict[str, Any]:
        request.note["before"] = await self._editor.retrieve(request.params["slug"])
        return await self._editor.delete(request.params["slug"])

    async def publish(self, request: ApiRequest) -> dict[str, Any]:
        body = request.object()
        request.note["after"] = {"published_version": body.get("version")}
        return await self._editor.publish(request.params["slug"], body)

    async def versions(self, request: ApiRequest) -> dict[str, Any]:
        return listing(await self._editor.versions(request.params["slug"]))

    async def version(self, request: ApiRequest) -> dict[str, Any]:
        return await self._editor.version(request.params["slug"], request.params["version"])

    async def label_version(self, request: ApiRequest) -> dict[str, Any]:
        slug, version = request.params["slug"], request.params["version"]
        labelled = await self._editor.label_version(slug, version, request.object())
        request.note["after"] = {"prompt_version": labelled["prompt_version"], "labels": labelled["labels"]}
        return labelled

    async def render(self, request: ApiRequest) -> dict[str, Any]:
        data = await self._library.rendering(request.params["slug"], request.object())
        return {"success": True, "data": data}


def paged(request: ApiRequest, items: Sequence[Any]) -> dict[str, Any]:
    number, size = request.page()
    return listing(items[number * size : (number + 1) * size], len(items))


def filters(request: ApiRequest) -> dict[str, str]:
    """The query in one casing: Node's SDK sends `collectionId`."""
    return {snake(name): value for name, value in request.query.items()}


def expected_version(request: ApiRequest) -> int | None:
    """The newest version that the caller knows, from `If-Match: "4"`."""
    text = (request.headers.get("if-match") or "").strip().removeprefix("W/").strip('"')
    if text in ("", "*"):
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise InvalidRequest(f'If-Match: must be the number of a version, like "4", got {text[:20]!r}')
    return int(text)
