"""`GET /v1/models`: what the caller can reach, in OpenAI's shape."""

from collections.abc import Sequence
from typing import Any

from gateway.adapters.secret_cache import SecretCache
from gateway.adapters.virtual_keys import VirtualKeys
from gateway.api.routing import ApiRequest, Route, listing
from gateway.core.errors import GatewayError, NotFound
from gateway.core.headers import RequestHeaders
from gateway.core.virtual_key import SECRET_PREFIX, VirtualKey


class ModelApi:
    """The deployments of the virtual key the request names, or of all that the caller may use."""

    def __init__(self, secrets: SecretCache, keys: VirtualKeys) -> None:
        self._secrets, self._keys = secrets, keys

    def routes(self) -> Sequence[Route]:
        return (
            Route("GET", "/models", "completions.write", self.list_all),
            # A model's name may be `@slug/name`, and a name may have slashes.
            Route("GET", "/models/{id}", "completions.write", self.read),
            Route("GET", "/models/{slug}/{id}", "completions.write", self.read),
        )

    async def list_all(self, request: ApiRequest) -> dict[str, Any]:
        return listing(await self._models(request))

    async def read(self, request: ApiRequest) -> dict[str, Any]:
        wanted = "/".join(request.params.values()) if "slug" in request.params else request.params["id"]
        for model in await self._models(request):
            if wanted in (model["id"], model["deployment"], f"@{model['owned_by']}/{model['id']}"):
                return dict(model)
        raise NotFound(
            f"model {wanted[:80]!r} is no deployment you can reach: see GET /v1/models", param="model"
        )

    async def _models(self, request: ApiRequest) -> list[dict[str, Any]]:
        slug = _named(request.headers)
        if slug is not None:
            request.caller.may_use(slug)
            return _rows(await self._keys.read(slug), "", request.caller.models)
        rows: list[dict[str, Any]] = []
        for info in await self._secrets.store.list(SECRET_PREFIX):
            name = info.name.removeprefix(SECRET_PREFIX)
            if request.caller.virtual_keys is not None and name not in request.caller.virtual_keys:
                continue
            try:
                rows += _rows(await self._keys.read(name), f"@{name}/", request.caller.models)
            except GatewayError:
                continue  # a broken virtual key must not hide the others; its own page names the fault
        return rows


def _named(headers: RequestHeaders) -> str | None:
    slug = headers.portkey("virtual-key") or headers.portkey("provider")
    return (
        slug.removeprefix("@") if slug and (headers.portkey("virtual-key") or slug.startswith("@")) else None
    )


def _rows(key: VirtualKey, prefix: str, allowed: frozenset[str] | None) -> list[dict[str, Any]]:
    return [
        {
            "id": prefix + (item.alias or item.deployment),
            "object": "model",
            "created": key.created_at,
            "owned_by": key.slug,
            "deployment": item.deployment,
            "model": item.model,
            "provider": key.provider,
        }
        for item in key.deployments
        if item.deployment != "*" and (allowed is None or not allowed.isdisjoint(item.names))
    ]
