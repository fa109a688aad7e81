import base64
import json

import pytest
from redis.asyncio import Redis

from gateway.adapters.redis_client import SCOPE, EntraCredentials, connect, object_id
from gateway.core.errors import SignInFailed
from gateway.core.ports import AccessToken, SignIn


def jwt(claims: object) -> str:
    return ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, claims, {})
    )


class Tokens:
    """Gives one token, and remembers what for."""

    def __init__(self) -> None:
        self.asked: list[SignIn] = []

    async def token(self, sign_in: SignIn) -> AccessToken:
        self.asked.append(sign_in)
        return AccessToken(jwt({"oid": "identity"}), 2_000_000_000)

    def forget(self, sign_in: SignIn) -> None: ...

    async def aclose(self) -> None: ...


async def test_user_and_password_are_the_identity_and_its_token() -> None:
    tokens = Tokens()
    user, password = await EntraCredentials(tokens, "client").get_credentials_async()  # type: ignore[misc]
    assert user == "identity"
    assert password == jwt({"oid": "identity"})
    assert tokens.asked == [SignIn("managed", SCOPE, client_id="client")]


@pytest.mark.parametrize("token", ["", "a.b", "a.e30.c", "a.bnVsbA.c", jwt([])])
def test_a_token_without_an_identity_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(SignInFailed, match="has no object id"):
        object_id(token)


@pytest.mark.parametrize(
    ("url", "by_token"),
    [
        ("rediss://cache.example:10000", True),
        ("rediss://:secret@cache.example:10000", False),
        ("redis://127.0.0.1:6379", False),
    ],
)
async def test_tokens_are_used_over_tls_where_the_url_has_no_password(url: str, by_token: bool) -> None:
    client: Redis = connect(url, Tokens(), None)
    provider = client.connection_pool.connection_kwargs.get("credential_provider")
    assert isinstance(provider, EntraCredentials) is by_token
    await client.aclose()
