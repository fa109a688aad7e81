"""Who calls: the one place where a credential becomes a caller."""

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from gateway.adapters.secret_cache import SecretCache
from gateway.core.caller import ADMIN, Caller
from gateway.core.errors import Unauthenticated
from gateway.core.headers import PLACEHOLDERS, RequestHeaders, strip_bearer

ADMIN_SECRET = "gateway-admin-key"  # noqa: S105 - the secret's name in the vault
KEY_PREFIX = "gw-"
_MOST = 8192  # characters of a credential; a token of Entra ID with many groups has 4,000

Lookup = Callable[[str], Awaitable[Caller | None]]


@dataclass(frozen=True, slots=True)
class Identified:
    """The caller, and what came along: the client's own upstream token, and all that is ours."""

    caller: Caller
    upstream_token: str | None
    ours: frozenset[str]


class Authenticator:
    """Tells callers by their credential. `lookups` are asked in order for what is not the admin key."""

    def __init__(
        self, secrets: SecretCache, *, admin_key: str | None = None, lookups: Sequence[Lookup] = ()
    ) -> None:
        self._secrets = secrets
        self._admin_key = admin_key
        self._lookups = tuple(lookups)
        self._admin_digest: tuple[str, bytes] | None = None  # (key, its digest)

    async def identify(self, headers: RequestHeaders) -> Identified:
        """Raises `Unauthenticated` when no credential of the request is one of the gateway's.

        `x-portkey-api-key` counts alone when it is there; else the first of `Authorization` and
        `api-key` that is a gateway key, so that OpenAI's and Azure's clients need nothing but a key.
        """
        named = strip_bearer(headers.portkey("api-key") or "")
        api_key = strip_bearer(headers.get("api-key") or "")
        offered = [named] if named else [*headers.authorizations, api_key]
        offered = [token for token in offered if token not in PLACEHOLDERS]
        for token in offered:
            caller = await self._caller(token)
            if caller is not None:
                return await self._identified(caller, token, headers, api_key)
        if not offered:
            raise Unauthenticated(
                "no gateway key: send it as x-portkey-api-key, or as Authorization: Bearer KEY, or as api-key",
                code="missing_api_key",
            )
        raise Unauthenticated(
            "Invalid API Key: it is not a key of this gateway, or was revoked or has expired"
        )

    async def _identified(
        self, caller: Caller, credential: str, headers: RequestHeaders, api_key: str
    ) -> Identified:
        """Sort the other tokens: the last that is not ours is for the upstream."""
        ours, upstream = {credential}, None
        for token in [api_key, *headers.authorizations]:
            if token in PLACEHOLDERS or token == credential:
                continue
            # A gateway key must not leave, be it valid or not; nor a token that is good here.
            if token.startswith(KEY_PREFIX) or await self._caller(token) is not None:
                ours.add(token)
            else:
                upstream = token
        return Identified(caller, upstream, frozenset(ours))

    async def _caller(self, token: str) -> Caller | None:
        if len(token) > _MOST:
            return None
        if await self._is_admin(token):
            return ADMIN
        for lookup in self._lookups:
            caller = await lookup(token)
            if caller is not None:
                return caller
        return None

    async def _is_admin(self, token: str) -> bool:
        key = self._admin_key
        if key is None:
            secret = self._secrets.peek(ADMIN_SECRET) or await self._secrets.get(ADMIN_SECRET)
            key = secret.value.strip() if secret is not None else ""
        if not key:
            return False
        known = self._admin_digest
        if known is None or known[0] is not key:
            known = self._admin_digest = (key, digest(key))
        return hmac.compare_digest(known[1], digest(token))


def digest(token: str) -> bytes:
    """SHA-256 of a key. Keys are random, of 256 bits: no slow hash is needed."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
