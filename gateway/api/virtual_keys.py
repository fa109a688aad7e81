"""`/v1/virtual-keys`: stored credentials, in Portkey's shapes. A key is written, never read back."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from gateway.adapters.secret_cache import SecretCache
from gateway.adapters.virtual_keys import VirtualKeys
from gateway.api.routing import ApiRequest, Route, created, listing
from gateway.core.casing import snake_keys
from gateway.core.deployments import first_deployment
from gateway.core.errors import Conflict, GatewayError, InvalidRequest
from gateway.core.limits import Limits
from gateway.core.ports import SecretInfo
from gateway.core.virtual_key import (
    SECRET_PREFIX,
    SLUG,
    VirtualKey,
    check_slug,
    dump,
    masked,
    secret_name,
    slug_for,
    unknown_slug,
)
from gateway.core.virtual_key_input import build
from gateway.providers.endpoints import Asked, Gatekeeping, from_virtual_key

# Key Vault keeps 25 KB in a secret.
_MAX_SECRET = 24_000

# What is spent of a key's budget, in the fields a listing shows.
Usage = Callable[[Limits], Awaitable[dict[str, Any]]]
# Forgets what was spent by a subject, under these limits.
Reset = Callable[[str, Limits | None], Awaitable[None]]
Probe = Callable[[VirtualKey], Awaitable[None]]


class VirtualKeyApi:
    """Handlers. `probe` makes one cheap call upstream and raises when the credential does not work."""

    def __init__(
        self,
        secrets: SecretCache,
        keys: VirtualKeys,
        *,
        rules: Gatekeeping,
        clock: Callable[[], float],
        random_hex: Callable[[], str],
        probe: Probe,
        usage: Usage,
        reset: Reset,
    ) -> None:
        self._secrets, self._keys, self._rules = secrets, keys, rules
        self._clock, self._random_hex, self._probe = clock, random_hex, probe
        self._usage, self._reset = usage, reset

    def routes(self) -> Sequence[Route]:
        return (
            Route("POST", "/virtual-keys", "virtual_keys.create", self.create),
            Route("GET", "/virtual-keys", "virtual_keys.list", self.list_all),
            Route("GET", "/virtual-keys/{slug}", "virtual_keys.read", self.read),
            Route("PUT", "/virtual-keys/{slug}", "virtual_keys.update", self.update),
            Route("DELETE", "/virtual-keys/{slug}", "virtual_keys.delete", self.delete),
        )

    async def create(self, request: ApiRequest) -> dict[str, Any]:
        data = request.object()
        given = snake_keys(data)
        if not given.get("name"):
            raise InvalidRequest("name: missing", param="name")
        slug = await self._new_slug(given)
        key = replace(build(slug, data), created_at=int(self._clock()))
        await self._store(key, validate=given.get("validate") in (True, "true"))
        request.note["after"] = describe(key, int(self._clock()))
        return created("virtual-key", {"id": slug, "slug": slug, "name": key.name})

    async def list_all(self, request: ApiRequest) -> dict[str, Any]:
        infos = await self._secrets.store.list(SECRET_PREFIX)
        page, size = request.page()
        shown = [await self._row(info) for info in infos[page * size : (page + 1) * size]]
        return listing(shown, len(infos))

    async def read(self, request: ApiRequest) -> dict[str, Any]:
        row = await self._shown(await self._read(request.params["slug"]))
        # Portkey's documentation has it at the top, its OpenAPI in `data`.
        return {**row, "success": True, "data": row}

    async def update(self, request: ApiRequest) -> dict[str, Any]:
        """Fields that are not named stay; a new endpoint or new deployments replace the old."""
        before = await self._read(request.params["slug"])
        given = snake_keys(request.object())
        key = build(before.slug, _merged(before, given))
        await self._store(key, validate=given.get("validate") in (True, "true"))
        if given.get("reset_usage"):
            await self._reset(f"vk:{key.slug}", key.limits)
        now = int(self._clock())
        request.note.update(before=describe(before, now), after=describe(key, now))
        return created("virtual-key", {"id": key.slug, "slug": key.slug, "name": key.name})

    async def delete(self, request: ApiRequest) -> dict[str, Any]:
        slug = check_slug(request.params["slug"])
        name = secret_name(slug)
        try:
            request.note["before"] = describe(await self._read(slug), int(self._clock()))
        except GatewayError:  # written by hand, and wrong: it can still be deleted
            request.note["before"] = {"slug": slug, "status": "invalid"}
        if not await self._secrets.store.delete(name):
            raise unknown_slug(slug)
        self._secrets.forget(name)
        await self._reset(f"vk:{slug}", None)
        return {}

    async def _new_slug(self, given: dict[str, Any]) -> str:
        slug = given.get("slug")
        if slug is None:
            return slug_for(str(given["name"]), self._random_hex())
        if not isinstance(slug, str) or not SLUG.fullmatch(slug):
            raise InvalidRequest(
                f"slug: must be letters, digits and hyphens, got {str(slug)[:60]!r}", param="slug"
            )
        if await self._secrets.store.get(secret_name(slug)) is not None:
            raise Conflict(f"virtual key {slug!r} exists already: choose another slug, or update it with PUT")
        return slug

    async def _read(self, slug: str) -> VirtualKey:
        self._secrets.forget(secret_name(check_slug(slug)))
        return await self._keys.read(slug)

    async def _store(self, key: VirtualKey, *, validate: bool) -> None:
        # The host guard and the deployment list are checked now, not at the first call.
        from_virtual_key(key, Asked(model=first_deployment(key) or "any"), self._rules, images=False)
        text = dump(key)
        if len(text.encode()) > _MAX_SECRET:
            raise InvalidRequest(f"the virtual key is larger than {_MAX_SECRET} bytes: use fewer deployments")
        if validate:
            await self._probe(key)
        name = secret_name(key.slug)
        await self._secrets.store.put(name, text)
        self._secrets.forget(name)

    async def _shown(self, key: VirtualKey) -> dict[str, Any]:
        row = describe(key, int(self._clock()))
        if key.limits is not None and key.limits.budget is not None:
            row["usage"] = await self._usage(key.limits)
            if row["usage"]["exhausted"] and row["status"] == "active":
                row["status"] = "exhausted"
        return row

    async def _row(self, info: SecretInfo) -> dict[str, Any]:
        slug = info.name.removeprefix(SECRET_PREFIX)
        try:
            return await self._shown(await self._keys.read(slug))
        except GatewayError as error:  # written by hand, and wrong: shown, so that it can be mended
            return {
                "slug": slug,
                "name": slug,
                "status": "invalid",
                "note": error.message,
                "object": "virtual-key",
            }


_ENDPOINT_FIELDS = ("resource_name", "azure_resource_name", "custom_host", "target_uri")
_DEPLOYMENT_FIELDS = (
    "deployments",
    "deployment_config",
    "azure_deployment_config",
    "deployment_name",
    "deployment_id",
    "target_uri",
)
_PASTED_FIELDS = (*_ENDPOINT_FIELDS, "deployment_name", "deployment_id", "api_version")


def _merged(before: VirtualKey, given: dict[str, Any]) -> dict[str, Any]:
    """The stored values under the given ones. A pasted URL replaces what it tells."""
    stored = snake_keys(_plain(before))
    urls = [text for name in _PASTED_FIELDS if "://" in (text := str(given.get(name)))]
    if urls or any(given.get(name) for name in _ENDPOINT_FIELDS):
        stored.pop("resource_name", None)
        stored.pop("custom_host", None)
    if any(given.get(name) for name in _DEPLOYMENT_FIELDS) or any("/deployments/" in url for url in urls):
        listed = stored.pop("deployments", [])
        if len(listed) == 1 and not urls:  # another deployment, at the version there was
            given.setdefault("api_version", listed[0].get("api_version"))
    elif given.get("api_version"):
        _set_version(stored.get("deployments", []), given["api_version"])
    if given.get("key"):
        stored.pop("api_key", None)
    if given.get("azure_auth_mode"):
        stored.pop("auth_mode", None)
    given.pop("slug", None)
    return {**stored, **{name: value for name, value in given.items() if value is not None}}


def _set_version(listed: list[dict[str, Any]], version: Any) -> None:
    if len(listed) > 1:
        raise InvalidRequest(
            "api_version: each of the virtual key's deployments has its own; send deployment_config whole",
            param="api_version",
        )
    for item in listed:
        item["api_version"] = version


def _plain(key: VirtualKey) -> dict[str, Any]:
    import orjson

    values: dict[str, Any] = orjson.loads(dump(key))
    return values


def describe(key: VirtualKey, now: int) -> dict[str, Any]:
    """What may be shown of a virtual key: everything but its secrets."""
    expired = key.expires_at is not None and key.expires_at <= now
    return {
        "id": key.slug,
        "slug": key.slug,
        "name": key.name,
        "provider": key.provider,
        "note": key.note,
        "status": "expired" if expired else "active",
        "key": masked(key.api_key),
        "usage_limits": key.usage_limits,
        "rate_limits": list(key.rate_limits),
        "reset_usage": None,
        "expires_at": key.expires_at,
        "created_at": key.created_at,
        "model_config": _model_config(key),
        "object": "virtual-key",
    }


def _model_config(key: VirtualKey) -> dict[str, Any]:
    return {
        "resourceName": key.resource_name,
        "customHost": key.custom_host,
        "azureAuthMode": key.auth_mode,
        "azureManagedClientId": key.managed_client_id,
        "azureEntraTenantId": key.entra_tenant_id,
        "azureEntraClientId": key.entra_client_id,
        "deploymentConfig": [
            {
                "deploymentName": item.deployment,
                "alias": item.alias,
                "apiVersion": item.api_version,
                "model": item.model,
                "is_default": item.is_default,
            }
            for item in key.deployments
        ],
    }
