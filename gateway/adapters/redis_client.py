"""A Redis client: by password, or by tokens of Entra ID where the URL has none."""

import base64
from urllib.parse import urlsplit

import orjson
from redis.asyncio import Redis
from redis.credentials import CredentialProvider

from gateway.core.errors import SignInFailed
from gateway.core.ports import SignIn, TokenSource

SCOPE = "https://redis.azure.com/.default"
_TIMEOUT = 5.0  # seconds to connect, and for an answer: beside requests, so patience costs nobody


class EntraCredentials(CredentialProvider):
    """User and password for Azure's Redis: the identity's object id, and its token.

    Azure closes a connection whose token has run out; the next one asks anew.
    Source: Azure Managed Redis, authentication with Microsoft Entra ID.
    """

    def __init__(self, tokens: TokenSource, client_id: str | None) -> None:
        self._tokens = tokens
        self._sign_in = SignIn("managed", SCOPE, client_id=client_id)

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        raise NotImplementedError("the asynchronous client asks get_credentials_async")

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        token = (await self._tokens.token(self._sign_in)).token
        return object_id(token), token


def object_id(token: str) -> str:
    """The `oid` claim of a token this app was just given: whose it is, not whether it is genuine."""
    try:
        payload = token.split(".")[1]
        claims = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return str(claims["oid"])
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise SignInFailed("the token for Redis has no object id (oid)") from error


def connect(url: str, tokens: TokenSource, client_id: str | None) -> Redis:
    """A client of `url`; it connects at its first command."""
    parts = urlsplit(url)
    by_token = parts.scheme == "rediss" and not parts.password
    return Redis.from_url(
        url,
        credential_provider=EntraCredentials(tokens, client_id) if by_token else None,
        socket_timeout=_TIMEOUT,
        socket_connect_timeout=_TIMEOUT,
        health_check_interval=60,
    )
