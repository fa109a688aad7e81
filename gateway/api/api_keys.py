"""`/v1/api-keys`: keys of the gateway, in Portkey's shapes. A key is shown once, when it is made."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from gateway.adapters.api_keys import ApiKeys, digest_of
from gateway.api.routing import ApiRequest, Route, created, listing
from gateway.core.api_keys import (
    PREFIX,
    SUB_TYPES,
    TYPES,
    ApiKey,
    KeyDigest,
    build,
    covers,
    describe,
    fresh,
    iso,
    read_input,
    rotated,
)
from gateway.core.caller import Caller
from gateway.core.casing import snake_keys
from gateway.core.errors import Forbidden, InvalidRequest, NotFound
from gateway.core.limits import Limits

_MOST_KEYS = 10_000

# What is spent of a key's budget, in the fields a listing shows.
Usage = Callable[[Limits], Awaitable[dict[str, Any]]]
# Forgets what was spent by a subject, under these limits.
Reset = Callable[[str, Limits | None], Awaitable[None]]


class ApiKeyApi:
    """Handlers. `random` gives 32 bytes in base64url, `new_id` an id."""

    def __init__(
        self,
        keys: ApiKeys,
        *,
        clock: Callable[[], float],
        random: Callable[[], str],
        new_id: Callable[[], str],
        usage: Usage,
        reset: Reset,
    ) -> None:
        self._keys, self._clock, self._random, self._new_id = keys, clock, random, new_id
        self._usage, self._reset = usage, reset

    def routes(self) -> Sequence[Route]:
        makers = [
            Route(
                "POST",
                f"/api-keys/{kind}/{sub}",
                _scope(kind, sub, "create"),
                partial(self.create, kind, sub),
            )
            for kind in TYPES
            for sub in SUB_TYPES
        ]
        return (
            *makers,
            Route("GET", "/api-keys", _scopes("list"), self.list),
            Route("GET", "/api-keys/{id}", _scopes("read"), self.read),
            Route("PUT", "/api-keys/{id}", _scopes("update"), self.update),
            Route("DELETE", "/api-keys/{id}", _scopes("delete"), self.delete),
            Route("POST", "/api-keys/{id}/rotate", _scopes("update"), self.rotate),
        )

    async def create(self, kind: str, sub_type: str, request: ApiRequest) -> dict[str, Any]:
        now = int(self._clock())
        given = read_input(request.object())
        if not given.name:
            raise InvalidRequest("name: missing", param="name")
        if len(await self._keys.list()) >= _MOST_KEYS:
            raise InvalidRequest(f"there are {_MOST_KEYS} keys already: delete some")
        secret = self._secret()
        base = fresh(self._new_id(), kind, sub_type, now, request.caller.id)
        key = build(replace(base, digests=(_digest(secret),)), given, now)
        _check_covered(request.caller, key)
        await self._keys.put(key, 0)
        request.note["after"] = describe(key, now)
        return created("api-key", {"id": key.id, "key": secret, "name": key.name})

    async def list(self, request: ApiRequest) -> dict[str, Any]:
        wanted = request.query.get("workspace_id")
        keys = [
            key
            for key in await self._keys.list()
            if _allowed(request.caller, key, "list") and (not wanted or key.workspace_id == wanted)
        ]
        page, size = request.page()
        shown = [await self._row(key) for key in keys[page * size : (page + 1) * size]]
        return listing(shown, len(keys))

    async def read(self, request: ApiRequest) -> dict[str, Any]:
        key, _ = await self._find(request, "read")
        row = await self._row(key)
        return {**row, "success": True, "data": row}

    async def update(self, request: ApiRequest) -> dict[str, Any]:
        """Fields that are not named stay; null clears."""
        before, version = await self._find(request, "update")
        data = request.object()
        now = int(self._clock())
        key = build(before, read_input(data), now)
        _check_covered(request.caller, before)
        _check_covered(request.caller, key)
        await self._keys.put(key, version)
        if snake_keys(data).get("reset_usage"):
            await self._reset(f"key:{key.id}", key.caller().limits)
        request.note.update(before=describe(before, now), after=describe(key, now))
        return created("api-key", {"id": key.id, "name": key.name})

    async def delete(self, request: ApiRequest) -> dict[str, Any]:
        key, _ = await self._find(request, "delete")
        await self._keys.delete(key)
        await self._reset(f"key:{key.id}", None)
        request.note["before"] = describe(key, self._clock())
        return {}

    async def rotate(self, request: ApiRequest) -> dict[str, Any]:
        """A new secret; the old one goes on working for `key_transition_period_ms`."""
        before, version = await self._find(request, "update")
        _check_covered(request.caller, before)
        now = int(self._clock())
        secret = self._secret()
        wanted = snake_keys(request.object()).get("key_transition_period_ms")
        key, ends = rotated(before, _digest(secret), wanted, now)
        await self._keys.put(key, version)
        await self._keys.drop_digests(
            tuple(old for old in before.digests if key.valid_until(old.digest) == 0)
        )
        request.note.update(before=describe(before, now), after=describe(key, now))
        return created("api-key", {"id": key.id, "key": secret, "key_transition_expires_at": iso(ends)})

    def _secret(self) -> str:
        return PREFIX + self._random()

    async def _find(self, request: ApiRequest, verb: str) -> tuple[ApiKey, int]:
        """A key the caller may see; one that it may not see answers as one that is not there."""
        id = request.params["id"]
        found = await self._keys.get(id) if id.isascii() and id.replace("-", "").isalnum() else None
        if found is None or not _allowed(request.caller, found[0], verb):
            raise NotFound(f"API key {id[:60]!r} does not exist: see GET /v1/api-keys", param="id")
        return found

    async def _row(self, key: ApiKey) -> dict[str, Any]:
        row = describe(key, self._clock())
        limits = key.caller().limits
        if limits is not None and limits.budget is not None:
            usage = await self._usage(limits)
            row["usage"] = usage
            if usage["exhausted"] and row["status"] == "active":
                row["status"] = "exhausted"
        return row


def _scope(kind: str, sub_type: str, verb: str) -> str:
    return f"{kind}_{sub_type}_api_keys.{verb}"


def _scopes(verb: str) -> tuple[str, ...]:
    return tuple(_scope(kind, sub, verb) for kind in TYPES for sub in SUB_TYPES)


def _allowed(caller: Caller, key: ApiKey, verb: str) -> bool:
    return caller.scopes is None or _scope(key.type, key.sub_type, verb) in caller.scopes


def _check_covered(caller: Caller, key: ApiKey) -> None:
    if not covers(caller, key):
        raise Forbidden(
            "a key cannot hand out what it does not have itself: scopes, virtual_keys and models must be "
            "within the caller's own",
            code="exceeds_own_rights",
            param="scopes",
        )


def _digest(secret: str) -> KeyDigest:
    return KeyDigest(digest_of(secret), secret[-4:])
