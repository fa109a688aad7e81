"""Tokens of Entra ID by azure-identity, kept until five minutes before they expire."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from gateway.adapters.single_flight import SingleFlight
from gateway.core.errors import SignInFailed
from gateway.core.ports import AccessToken, SignIn

PAUSE = 30.0  # seconds between two refused tokens that are replaced
EARLY = 300.0  # seconds before expiry at which a token counts as spent
_MOST_RETIRED = 4
_MOST = 500  # sign-ins remembered: client credentials may come from headers


class EntraTokens:
    """A `TokenSource`. azure-identity is imported at the first use: it takes a third of a second."""

    def __init__(self, *, clock: Callable[[], float], make: Callable[[SignIn], Any] | None = None) -> None:
        self._clock = clock
        self._make = make or credential_for
        self._credentials: OrderedDict[tuple[str | None, ...], Any] = OrderedDict()
        self._tokens: OrderedDict[SignIn, AccessToken] = OrderedDict()
        self._asked: SingleFlight[SignIn, AccessToken] = SingleFlight()
        self._forgotten_at: dict[SignIn, float] = {}  # unix seconds
        self._retired: list[Any] = []  # credentials forgotten, perhaps still in use
        self._closing: set[asyncio.Task[None]] = set()

    async def token(self, sign_in: SignIn) -> AccessToken:
        token = self._tokens.get(sign_in)
        if token is not None and self._clock() < token.expires_at - EARLY:
            return token
        return await self._asked.run(sign_in, lambda: self._ask(sign_in))

    def forget(self, sign_in: SignIn) -> bool:
        now = self._clock()
        # A new token that is refused too lacks a role; the next one would be refused the same.
        if now - self._forgotten_at.get(sign_in, float("-inf")) < PAUSE:
            return False
        if len(self._forgotten_at) >= _MOST:
            self._forgotten_at.clear()
        self._forgotten_at[sign_in] = now
        self._tokens.pop(sign_in, None)
        # azure-identity keeps the token too: ask with a new credential.
        self._retire(self._credentials.pop(_identity(sign_in), None))
        return True

    async def aclose(self) -> None:
        await self._asked.aclose()
        await asyncio.gather(*self._closing)
        for credential in [*self._credentials.values(), *self._retired]:
            await credential.close()

    def _retire(self, credential: Any) -> None:
        """Close it later: another call may be waiting for its token. Each holds a connection."""
        if credential is None:
            return
        self._retired.append(credential)
        if len(self._retired) > _MOST_RETIRED:
            task = asyncio.ensure_future(self._retired.pop(0).close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _ask(self, sign_in: SignIn) -> AccessToken:
        try:
            found = await self._credential(sign_in).get_token(sign_in.scope)
        except Exception as error:
            # azure-identity raises its own, azure-core's and ValueErrors; texts may quote the request.
            raise SignInFailed(
                f"no token could be had for the upstream by {sign_in.mode} sign-in ({type(error).__name__}): "
                f"{_advice(sign_in)}"
            ) from error
        token = AccessToken(found.token, int(found.expires_on))
        self._tokens[sign_in] = token
        while len(self._tokens) > _MOST:
            self._tokens.popitem(last=False)
        return token

    def _credential(self, sign_in: SignIn) -> Any:
        name = _identity(sign_in)
        credential = self._credentials.get(name)
        if credential is None:
            credential = self._credentials[name] = self._make(sign_in)
            if len(self._credentials) > _MOST:
                self._retire(self._credentials.popitem(last=False)[1])
        return credential


def credential_for(sign_in: SignIn) -> Any:
    """The credential of azure-identity that fits; never one that tries several ways."""
    from azure.identity import aio

    if sign_in.mode == "managed":
        return aio.ManagedIdentityCredential(client_id=sign_in.client_id)
    if sign_in.mode == "entra":
        return aio.ClientSecretCredential(
            sign_in.tenant_id or "", sign_in.client_id or "", sign_in.client_secret or ""
        )
    return aio.WorkloadIdentityCredential(client_id=sign_in.client_id)


def _identity(sign_in: SignIn) -> tuple[str | None, ...]:
    """Who signs in, whatever for: one credential serves all scopes."""
    return sign_in.mode, sign_in.tenant_id, sign_in.client_id, sign_in.client_secret


def _advice(sign_in: SignIn) -> str:
    return {
        "managed": "the app needs a managed identity (AZURE_CLIENT_ID names a user-assigned one)",
        "entra": "see the tenant id, client id and client secret",
    }.get(sign_in.mode, "see AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_FEDERATED_TOKEN_FILE")
