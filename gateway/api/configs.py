"""`/v1/configs`: saved configs with their versions, in Portkey's shapes."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.adapters.saved_configs import SavedConfigs, shown
from gateway.api.routing import ApiRequest, Route, created, listing
from gateway.core.casing import snake_keys
from gateway.core.errors import InvalidRequest
from gateway.core.ports import Document

# A config has rules of its own for casing.
_OPAQUE = frozenset({"config"})


class _ConfigInput(BaseModel):
    model_config = ConfigDict(extra="ignore", str_strip_whitespace=True)

    name: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    config: dict[str, Any] | str | None = None
    status: str | None = None
    is_default: bool | None = None
    workspace_id: Annotated[str, Field(max_length=255)] | None = None


class ConfigApi:
    """Handlers over the library."""

    def __init__(self, library: SavedConfigs) -> None:
        self._library = library

    def routes(self) -> Sequence[Route]:
        return (
            Route("POST", "/configs", "configs.create", self.create),
            Route("GET", "/configs", "configs.list", self.list),
            Route("GET", "/configs/{slug}", "configs.read", self.read),
            Route("PUT", "/configs/{slug}", "configs.update", self.update),
            Route("DELETE", "/configs/{slug}", "configs.delete", self.delete),
            Route("GET", "/configs/{slug}/versions", "configs.read", self.versions),
        )

    async def create(self, request: ApiRequest) -> dict[str, Any]:
        said = _read(request)
        if said.name is None or said.config is None:
            missing = "name" if said.name is None else "config"
            raise InvalidRequest(f"{missing}: is required", param=missing)
        document, warnings = await self._library.create(
            said.name,
            said.config,
            is_default=bool(said.is_default),
            workspace_id=said.workspace_id,
            by=request.caller.id,
        )
        request.note["after"] = shown(document)
        return _written(document, warnings)

    async def list(self, request: ApiRequest) -> dict[str, Any]:
        rows = [shown(item) for item in await self._library.list(request.query.get("workspace_id"))]
        page, size = request.page()
        return listing(rows[page * size : (page + 1) * size], len(rows))

    async def read(self, request: ApiRequest) -> dict[str, Any]:
        one = shown(await self._library.get(request.params["slug"]))
        # Portkey's Python SDK reads the top, its OpenAPI has it in `data`.
        return {**one, "success": True, "data": one}

    async def update(self, request: ApiRequest) -> dict[str, Any]:
        """What is not given stays."""
        said = _read(request)
        before = await self._library.get(request.params["slug"])
        document, warnings = await self._library.update(
            request.params["slug"],
            name=said.name,
            config=said.config,
            status=said.status,
            is_default=said.is_default,
            by=request.caller.id,
        )
        request.note.update(before=shown(before), after=shown(document))
        return _written(document, warnings)

    async def delete(self, request: ApiRequest) -> dict[str, Any]:
        """Archives it: its versions stay for the records that name them."""
        request.note["before"] = shown(await self._library.get(request.params["slug"]))
        await self._library.archive(request.params["slug"], by=request.caller.id)
        return {}

    async def versions(self, request: ApiRequest) -> dict[str, Any]:
        return listing([shown(item) for item in await self._library.versions(request.params["slug"])])


def _read(request: ApiRequest) -> _ConfigInput:
    try:
        return _ConfigInput.model_validate(snake_keys(request.object(), opaque=_OPAQUE))
    except ValidationError as error:
        # Without the input: a config may hold keys, until the library refuses them.
        first = error.errors(include_url=False, include_input=False)[0]
        where = str(first["loc"][0])
        raise InvalidRequest(f"{where}: {first['msg']}", param=where) from None


def _written(document: Document, warnings: tuple[str, ...]) -> dict[str, Any]:
    names = ("id", "slug", "version", "version_id")
    values: dict[str, Any] = {name: document.value[name] for name in names}
    if warnings:
        values["warnings"] = list(warnings)
    return created("config", values)
