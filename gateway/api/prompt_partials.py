"""`/v1/prompts/partials`: templates that others include, in Portkey's shapes."""

from collections.abc import Sequence
from typing import Any

from gateway.api.prompts import expected_version, filters, paged
from gateway.api.routing import ApiRequest, Route, created, listing
from gateway.prompts.library import PromptLibrary
from gateway.prompts.partial_editing import PartialEditor


class PartialApi:
    """Handlers."""

    def __init__(self, library: PromptLibrary) -> None:
        self._editor = PartialEditor(library)

    def routes(self) -> Sequence[Route]:
        return (
            Route("POST", "/prompts/partials", "prompts.create", self.create),
            Route("GET", "/prompts/partials", "prompts.list", self.list),
            Route("GET", "/prompts/partials/{slug}", "prompts.read", self.read),
            Route("PUT", "/prompts/partials/{slug}", "prompts.update", self.update),
            Route("DELETE", "/prompts/partials/{slug}", "prompts.delete", self.delete),
            Route("PUT", "/prompts/partials/{slug}/makeDefault", "prompts.publish", self.publish),
            Route("GET", "/prompts/partials/{slug}/versions", "prompts.read", self.versions),
        )

    async def create(self, request: ApiRequest) -> dict[str, Any]:
        made = await self._editor.create(request.object())
        request.note["after"] = made
        return created("partial", made)

    async def list(self, request: ApiRequest) -> dict[str, Any]:
        return paged(request, await self._editor.search(filters(request)))

    async def read(self, request: ApiRequest) -> dict[str, Any]:
        return await self._editor.retrieve(request.params["slug"])

    async def update(self, request: ApiRequest) -> dict[str, Any]:
        slug = request.params["slug"]
        request.note["before"] = await self._editor.retrieve(slug)
        made = await self._editor.update(slug, request.object(), expected_version(request))
        request.note["after"] = made
        return created("partial", made)

    async def delete(self, request: ApiRequest) -> dict[str, Any]:
        request.note["before"] = await self._editor.retrieve(request.params["slug"])
        return await self._editor.delete(request.params["slug"])

    async def publish(self, request: ApiRequest) -> dict[str, Any]:
        body = request.object()
        request.note["after"] = {"published_version": body.get("version")}
        return await self._editor.publish(request.params["slug"], body)

    async def versions(self, request: ApiRequest) -> dict[str, Any]:
        return listing(await self._editor.versions(request.params["slug"]))
