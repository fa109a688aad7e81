"""Callers who sign in with Entra ID: a token of the user's own tenant stands in for a key.

Source: Microsoft identity platform, "Access tokens" (validation) and "Signing key rollover".
"""

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.adapters.single_flight import SingleFlight
from gateway.core.caller import Caller
from gateway.core.entra_roles import Roles
from gateway.core.errors import StoreUnavailable
from gateway.core.headers import looks_like_jwt

log = logging.getLogger("gateway.entra")

AUTHORITY = "https://login.microsoftonline.com"
LEEWAY = 30.0  # seconds by which clocks may differ
KEYS_FRESH = 3600.0  # seconds; Entra announces new keys a day before it signs with them
REFETCH_EVERY = 30.0  # seconds between two fetches for the sake of unknown key ids
RETRY_AFTER = 5.0  # seconds without another try after a failed fetch
_CHECKED = 300.0  # seconds a token that was good is not checked again
_MOST_CHECKED = 5000
_MOST_KEYS = 100
_MOST_BYTES = 1024 * 1024  # of a key set

Fetch = Callable[[str], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Tenant:
    """Whose tokens are taken. `audiences`: the app's id URI, its client id, or both."""

    id: str
    audiences: tuple[str, ...]
    authority: str = AUTHORITY

    @property
    def keys_url(self) -> str:
        return f"{self.authority}/{self.id}/discovery/v2.0/keys"

    @property
    def issuers(self) -> tuple[str, str]:
        """Of tokens of version 2, and of version 1, which apps get unless their manifest says otherwise."""
        return f"{self.authority}/{self.id}/v2.0", f"https://sts.windows.net/{self.id}/"


class SigningKeys:
    """The tenant's public keys by id. `fetch` raises on any failure; `clock` gives unix seconds."""

    def __init__(self, url: str, fetch: Fetch, clock: Callable[[], float]) -> None:
        self._url, self._fetch, self._clock = url, fetch, clock
        self._keys: Mapping[str, Any] = {}
        self._fetched_at: float | None = None
        self._failed_at: float | None = None
        self._refetched_at: float | None = None
        self._loading = False
        self._fetches: SingleFlight[str, None] = SingleFlight()

    async def get(self, kid: str) -> Any | None:
        """The key, or None when the tenant has none by that id. Raises `StoreUnavailable` when no keys
        could ever be had.
        """
        if self._fetched_at is None:
            await self._load()
        elif self._clock() - self._fetched_at > KEYS_FRESH and not self._failing():
            self._fetches.start("keys", self._load)  # in the background: the old ones still serve
        key = self._keys.get(kid)
        if key is None and (self._loading or self._may_refetch()):
            self._refetched_at = self._clock()
            try:
                await self._load()
            except StoreUnavailable:
                return None  # an unknown key stays unknown
            key = self._keys.get(kid)
        return key

    async def aclose(self) -> None:
        await self._fetches.aclose()

    def _may_refetch(self) -> bool:
        """Anyone can invent key ids: they make the gateway ask once in a while, not each time."""
        last = self._refetched_at
        return last is None or self._clock() - last >= REFETCH_EVERY

    def _failing(self) -> bool:
        return self._failed_at is not None and self._clock() - self._failed_at < RETRY_AFTER

    async def _load(self) -> None:
        if self._failing():
            raise _unavailable()
        self._loading = True  # until the one fetch that all wait for is done
        await self._fetches.run("load", self._load_now)

    async def _load_now(self) -> None:
        try:
            self._keys = _parse(await self._fetch(self._url))
        except Exception as error:  # of the network, of TLS, of JSON: all mean that there are no keys
            self._failed_at = self._clock()
            log.warning("entra.keys_failed", extra={"error": type(error).__name__})
            raise _unavailable() from error
        finally:
            self._loading = False
        self._fetched_at, self._failed_at = self._clock(), None


class EntraCallers:
    """Tells callers by their tokens. PyJWT is imported with the first token."""

    def __init__(self, tenant: Tenant, roles: Roles, *, fetch: Fetch, clock: Callable[[], float]) -> None:
        self._tenant, self._roles, self._clock = tenant, roles, clock
        self._keys = SigningKeys(tenant.keys_url, fetch, clock)
        self._checked: OrderedDict[bytes, tuple[Caller, float]] = OrderedDict()

    async def lookup(self, token: str) -> Caller | None:
        """Who holds this token; None when it is no good, whatever the reason."""
        if not looks_like_jwt(token):
            return None
        digest = hashlib.sha256(token.encode()).digest()
        now = self._clock()
        known = self._checked.get(digest)
        if known is not None and now < known[1]:
            return known[0]
        claims = await self._claims(token)
        if claims is None:
            return None
        caller = self._roles.caller(claims)
        self._checked[digest] = (caller, min(claims["exp"] + LEEWAY, now + _CHECKED))
        while len(self._checked) > _MOST_CHECKED:
            self._checked.popitem(last=False)
        return caller

    async def aclose(self) -> None:
        await self._keys.aclose()

    async def _claims(self, token: str) -> dict[str, Any] | None:
        import jwt

        try:
            head = jwt.get_unverified_header(token)
            # Before any key is looked for: `none`, and HS256 with the public key as its secret, end here.
            if head.get("alg") != "RS256" or not isinstance(head.get("kid"), str) or "crit" in head:
                _refuse("its algorithm or key id")
                return None
            if not self._is_ours(token):
                return None  # somebody else's token, perhaps one for the upstream: no key set is asked for it
            key = await self._keys.get(head["kid"])
            if key is None:
                _refuse("an unknown key")
                return None
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=["RS256"],
                audience=self._tenant.audiences,
                issuer=self._tenant.issuers,
                # Times are held against the gateway's own clock, below.
                options={
                    "require": ["exp", "iss", "aud"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except jwt.PyJWTError as error:
            _refuse(type(error).__name__)
            return None
        return claims if self._in_time(claims) and self._of_tenant(claims) else None

    def _is_ours(self, token: str) -> bool:
        """Whether the token says that it is of this tenant and for this gateway; not yet whether it lies."""
        import jwt

        said = jwt.decode(token, options={"verify_signature": False})
        audiences = said.get("aud")
        audiences = [audiences] if isinstance(audiences, str) else audiences
        return (
            said.get("iss") in self._tenant.issuers
            and isinstance(audiences, list)
            and any(audience in self._tenant.audiences for audience in audiences)
        )

    def _in_time(self, claims: Mapping[str, Any]) -> bool:
        now, expires, begins = self._clock(), claims["exp"], claims.get("nbf", 0)
        numbers = _is_number(expires) and _is_number(begins)
        if not numbers or now >= expires + LEEWAY or now < begins - LEEWAY:
            _refuse("its times")
            return False
        return True

    def _of_tenant(self, claims: Mapping[str, Any]) -> bool:
        return bool(claims.get("tid", self._tenant.id) == self._tenant.id)


def _parse(raw: bytes) -> dict[str, Any]:
    """The RSA keys of a key set by id."""
    import jwt

    if len(raw) > _MOST_BYTES:
        raise ValueError("the key set is too large")
    keys: dict[str, Any] = {}
    found: Sequence[Any] = orjson.loads(raw)["keys"]
    for item in found[:_MOST_KEYS]:
        if isinstance(item, dict) and item.get("kty") == "RSA" and item.get("use", "sig") == "sig":
            keys[str(item["kid"])] = jwt.PyJWK({**item, "alg": "RS256"})
    return keys


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e12


def _refuse(why: str) -> None:
    """The caller hears only that the token is no good; the log says why."""
    log.info("entra.refused", extra={"reason": why})


def _unavailable() -> StoreUnavailable:
    return StoreUnavailable(
        "the signing keys of Entra ID cannot be read, so tokens cannot be checked", code="entra_unavailable"
    )
