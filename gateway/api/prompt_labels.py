"""`/v1/labels` and `/v1/collections`, in Portkey's shapes."""

from collections.abc import Sequence
from typing import Any

from gateway.api.prompts import paged
from gateway.api.routing import ApiRequest, Route, created
from gateway.core.errors import Conflict
from gateway.prompts.bodies import (
    CollectionCreate,
    CollectionUpdate,
    LabelCreate,
    LabelUpdate,
    read,
    sent,
)
from gateway.prompts.library import PromptLibrary


class LabelApi:
    """Handlers of labels."""

    def __init__(self, library: PromptLibrary) -> None:
        self._library = library
        self._labels = library.labels

    def routes(self) -> Sequence[Route]:
        return (
            Route("POST", "/labels", "prompts.create", self.create),
            Route("GET", "/labels", "prompts.list", self.list),
            Route("GET", "/labels/{id}", "prompts.read", self.read),
            Route("PUT", "/labels/{id}", "prompts.update", self.update),
            Route("DELETE", "/labels/{id}", "prompts.delete", self.delete),
        )

    async def create(self, request: ApiRequest) -> dict[str, Any]:
        given = request.note["after"] = read(LabelCreate, request.object()).model_dump()
        return created("label", {"id": await self._labels.create(given), "name": given["name"]})

    async def list(self, request: ApiRequest) -> dict[str, Any]:
        search = request.query.get("search", "").lower()
        return paged(
            request, [label for label in await self._labels.all() if search in label["name"].lower()]
        )

    async def read(self, request: ApiRequest) -> dict[str, Any]:
        return await self._labels.read(request.params["id"])

    async def update(self, request: ApiRequest) -> dict[str, Any]:
        id = request.params["id"]
        request.note["before"] = await self._labels.read(id)
        await self._labels.update(id, sent(read(LabelUpdate, request.object())))
        request.note["after"] = await self._labels.read(id)
        self._library.forget()
        return {}

    async def delete(self, request: ApiRequest) -> dict[str, Any]:
        request.note["before"] = await self._labels.read(request.params["id"])
        await self._labels.delete(request.params["id"])
        self._library.forget()
        return {}


class CollectionApi:
    """Handlers of collections."""

    def __init__(self, library: PromptLibrary) -> None:
        self._library = library
        self._collections = library.collections

    def routes(self) -> Sequence[Route]:
        return (
            Route("POST", "/collections", "prompts.create", self.create),
            Route("GET", "/collections", "prompts.list", self.list),
            Route("GET", "/collections/{id}", "prompts.read", self.read),
            Route("PUT", "/collections/{id}", "prompts.update", self.update),
            Route("DELETE", "/collections/{id}", "prompts.delete", self.delete),
        )

    async def create(self, request: ApiRequest) -> dict[str, Any]:
        given = request.note["after"] = read(CollectionCreate, request.object()).model_dump()
        id = await self._collections.create(given)
        return created("collection", {"id": id, "slug": id, "name": given["name"]})

    async def list(self, request: ApiRequest) -> dict[str, Any]:
        return paged(request, await self._collections.search(request.query.get("search", "")))

    async def read(self, request: ApiRequest) -> dict[str, Any]:
        return await self._collections.read(request.params["id"])

    async def update(self, request: ApiRequest) -> dict[str, Any]:
        id = request.params["id"]
        request.note["before"] = await self._collections.read(id)
        await self._collections.update(id, sent(read(CollectionUpdate, request.object())))
        request.note["after"] = await self._collections.read(id)
        return {}

    async def delete(self, request: ApiRequest) -> dict[str, Any]:
        """Only an empty one: a prompt must not lose its place without notice."""
        id = request.params["id"]
        held = [head.slug for head in await self._library.prompts.heads() if head.collection_id == id]
        if held:
            raise Conflict(
                f"the collection holds {len(held)} prompts ({', '.join(held[:5])}): move them first"
            )
        request.note["before"] = await self._collections.read(id)
        await self._collections.delete(id)
        return {}
