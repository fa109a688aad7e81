"""Tokens: kept until five minutes before they expire, asked for once, forgotten when refused."""

import asyncio
from typing import Any

import pytest

from gateway.adapters.entra_tokens import EARLY, EntraTokens
from gateway.core.errors import SignInFailed
from gateway.core.ports import SignIn
from tests.support.clock import Clock

SCOPE = "https://cognitiveservices.azure.com/.default"
MANAGED = SignIn("managed", SCOPE)
ENTRA = SignIn("entra", SCOPE, "tenant", "client", "client-secret-0123456789")


class Credential:
    """As azure-identity's, and like them it keeps its tokens."""

    def __init__(self, made: "Made") -> None:
        self.made, self.kept = made, {}  # type: ignore[var-annotated]
        self.closed = False

    async def get_token(self, scope: str) -> Any:
        from azure.core.credentials import AccessToken

        await self.made.gate.wait()
        if self.made.fails is not None:
            raise self.made.fails
        if scope not in self.kept or self.kept[scope].expires_on < self.made.clock() + EARLY:
            self.made.asked += 1
            self.kept[scope] = AccessToken(f"token-{self.made.asked}", int(self.made.clock() + 3600))
        return self.kept[scope]

    async def close(self) -> None:
        self.closed = True


class Made:
    """Makes credentials, and counts what they ask for."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.asked = clock, 0
        self.credentials: list[Credential] = []
        self.fails: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    def __call__(self, sign_in: SignIn) -> Credential:
        self.credentials.append(Credential(self))
        return self.credentials[-1]


@pytest.fixture
async def made() -> Made:
    return Made(Clock(1_000_000.0))


@pytest.fixture
async def tokens(made) -> EntraTokens:
    return EntraTokens(clock=made.clock, make=made)


async def test_a_token_is_kept_until_five_minutes_before_its_end(tokens, made):
    assert (await tokens.token(MANAGED)).token == "token-1"
    made.clock.now += 3600 - EARLY - 1
    assert (await tokens.token(MANAGED)).token == "token-1"
    made.clock.now += 2
    assert (await tokens.token(MANAGED)).token == "token-2"
    assert len(made.credentials) == 1


async def test_fifty_calls_ask_once(tokens, made):
    made.gate.clear()
    calls = [asyncio.create_task(tokens.token(ENTRA)) for _ in range(50)]
    await asyncio.sleep(0)
    calls[0].cancel()
    made.gate.set()
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert {token.token for token in found[1:]} == {"token-1"}
    assert made.asked == 1


async def test_sign_ins_that_differ_share_nothing_but_a_credential_of_one_identity(tokens, made):
    other_scope = SignIn("managed", "https://ai.azure.com/.default")
    found = {(await tokens.token(sign_in)).token for sign_in in (MANAGED, ENTRA, other_scope)}
    assert len(found) == 3
    assert len(made.credentials) == 2


async def test_a_refused_token_is_asked_for_anew(tokens, made):
    await tokens.token(MANAGED)
    tokens.forget(MANAGED)
    assert (await tokens.token(MANAGED)).token == "token-2"


async def test_tokens_refused_one_after_the_other_are_not_replaced_at_each_call(tokens, made):
    await tokens.token(MANAGED)
    assert tokens.forget(MANAGED)
    assert (await tokens.token(MANAGED)).token == "token-2"
    assert not tokens.forget(MANAGED)
    assert (await tokens.token(MANAGED)).token == "token-2"
    made.clock.now += 31
    assert tokens.forget(MANAGED)
    assert (await tokens.token(MANAGED)).token == "token-3"


async def test_a_failure_names_the_way_and_no_secret_and_is_not_kept(tokens, made):
    made.fails = ValueError(f"bad {ENTRA.client_secret}")
    with pytest.raises(SignInFailed, match="entra sign-in") as caught:
        await tokens.token(ENTRA)
    assert "0123456789" not in caught.value.message
    made.fails = None
    assert (await tokens.token(ENTRA)).token == "token-1"


async def test_closing_closes_every_credential(tokens, made):
    for _ in range(10):
        await tokens.token(MANAGED)
        await tokens.token(ENTRA)
        tokens.forget(ENTRA)
    assert len([credential for credential in made.credentials if not credential.closed]) <= 6
    await tokens.aclose()
    assert all(credential.closed for credential in made.credentials)


def test_no_secret_shows_in_a_repr():
    assert "0123456789" not in repr(ENTRA)
