"""Tokens of Entra ID as callers bring them: good ones, and every kind of bad one."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from emulators.identity import ENTRA, TENANT, Identity
from emulators.server import Server
from emulators.steps import Hang, Reply
from gateway.adapters import fetch as fetching
from gateway.adapters.entra_callers import REFETCH_EVERY, RETRY_AFTER, EntraCallers, Tenant
from gateway.adapters.fetch import fetch
from gateway.adapters.upstream import UpstreamTransport
from gateway.core.entra_roles import Roles, parse_roles
from gateway.core.errors import StoreUnavailable
from tests.support.clock import Clock

AUDIENCE = "api://gateway"
ROLES = parse_roles(
    json.dumps(
        {
            "Gateway.Admin": ["*"],
            "Gateway.User": ["completions.write", "prompts.render"],
            "group-1": {"scopes": ["logs.*"], "virtual_keys": ["a"], "models": ["m"]},
        }
    )
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def identity(clock: Clock) -> Iterator[tuple[Identity, Server]]:
    app = Identity(clock=clock)
    with Server(app) as server:
        app.authority = server.url
        yield app, server


@pytest.fixture
async def callers(identity: tuple[Identity, Server], clock: Clock) -> AsyncIterator[EntraCallers]:
    server = identity[1]
    transport = UpstreamTransport(frozenset({f"127.0.0.1:{server.port}"}))
    tenant = Tenant(TENANT, (AUDIENCE, "client-id"), server.url)
    made = EntraCallers(tenant, ROLES, fetch=partial(fetch, transport), clock=clock)
    yield made
    await made.aclose()
    await transport.aclose()


def claims(**more: Any) -> dict[str, Any]:
    return {"aud": AUDIENCE, "oid": "user-1", "roles": ["Gateway.User"], **more}


def asked(identity: tuple[Identity, Server]) -> int:
    return sum("/discovery/v2.0/keys" in request.path for request in identity[0].requests)


async def test_a_token_of_the_tenant_is_a_caller(
    callers: EntraCallers, identity: tuple[Identity, Server]
) -> None:
    caller = await callers.lookup(identity[0].mint(claims(preferred_username="user@example.org")))
    assert caller is not None
    assert (caller.id, caller.name, caller.kind) == ("entra-user-1", "user@example.org", "entra")
    assert caller.scopes == {"completions.write", "prompts.render"}
    assert caller.virtual_keys is caller.models is None
    assert await callers.lookup(identity[0].mint(claims(aud="client-id"))) is not None
    assert asked(identity) == 1


async def test_tokens_of_version_1_are_taken_too(
    callers: EntraCallers, identity: tuple[Identity, Server]
) -> None:
    token = identity[0].mint(claims(iss=f"https://sts.windows.net/{TENANT}/", ver="1.0"))
    assert await callers.lookup(token) is not None


@pytest.mark.parametrize(
    ("held", "scopes"),
    [
        ({"roles": ["Gateway.Admin", "Gateway.User"]}, None),
        ({"roles": []}, frozenset()),
        ({"roles": ["Unknown"], "groups": ["other"]}, frozenset()),
        ({"roles": "Gateway.Admin"}, frozenset()),  # not a list: not what Entra sends
        (
            {"roles": [], "groups": ["group-1"]},
            frozenset({"logs.view", "logs.list", "logs.write", "logs.export"}),
        ),
    ],
)
async def test_roles_and_groups_give_scopes_by_the_table(
    callers: EntraCallers, identity: tuple[Identity, Server], held: dict[str, Any], scopes: Any
) -> None:
    caller = await callers.lookup(identity[0].mint(claims(**held)))
    assert caller is not None
    assert caller.scopes == scopes


async def test_the_wider_of_two_roles_counts(
    callers: EntraCallers, identity: tuple[Identity, Server]
) -> None:
    narrow = await callers.lookup(identity[0].mint(claims(roles=[], groups=["group-1"])))
    assert narrow is not None
    assert (narrow.virtual_keys, narrow.models) == ({"a"}, {"m"})
    wide = await callers.lookup(identity[0].mint(claims(groups=["group-1"])))
    assert wide is not None
    assert wide.virtual_keys is wide.models is None


def unsigned(content: dict[str, Any]) -> str:
    parts = [{"alg": "none", "typ": "JWT", "kid": "x"}, content]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, "c2ln"])


def signed_with_public_key(app: Identity) -> str:
    """HS256 with the public key as its secret: what a library that trusts the header would take."""
    key = app._keys[-1]
    pem = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    good = app.mint(claims())
    head, content = jwt.get_unverified_header(good), good.split(".")[1]
    head = {**head, "alg": "HS256"}
    start = base64.urlsafe_b64encode(json.dumps(head).encode()).rstrip(b"=").decode() + "." + content
    signature = hmac.new(pem, start.encode(), hashlib.sha256).digest()
    return start + "." + base64.urlsafe_b64encode(signature).rstrip(b"=").decode()


NOW = 1_700_000_000
BAD: dict[str, dict[str, Any]] = {
    "expired": {"exp": NOW - 31},
    "without expiry": {"exp": None},
    "with an expiry that is no number": {"exp": "never"},
    "not yet valid": {"nbf": NOW + 31},
    "for another audience": {"aud": "api://other"},
    "for no audience": {"aud": None},
    "of another issuer": {"iss": "https://login.example/v2.0"},
    "of another tenant": {"iss": f"{ENTRA}/11111111-0000-4000-8000-000000000000/v2.0"},
    "with another tenant's id": {"tid": "11111111-0000-4000-8000-000000000000"},
    "without an issuer": {"iss": None},
}


@pytest.mark.parametrize("kind", BAD)
async def test_a_bad_token_is_nobody(
    callers: EntraCallers, identity: tuple[Identity, Server], kind: str
) -> None:
    assert await callers.lookup(identity[0].mint(claims(**BAD[kind]))) is None
    assert await callers.lookup(identity[0].mint(claims())) is not None


async def test_a_clock_may_be_half_a_minute_off(
    callers: EntraCallers, identity: tuple[Identity, Server]
) -> None:
    assert await callers.lookup(identity[0].mint(claims(exp=NOW - 29))) is not None
    assert await callers.lookup(identity[0].mint(claims(nbf=NOW + 29))) is not None


async def test_forged_tokens_are_nobody(callers: EntraCallers, identity: tuple[Identity, Server]) -> None:
    app = identity[0]
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    good = app.mint(claims())
    other = app.mint(claims(roles=["Gateway.Admin"]))
    forged = [
        unsigned({**claims(), "iss": f"{app.authority}/{TENANT}/v2.0", "exp": NOW + 60}),
        signed_with_public_key(app),
        app.mint(claims(), key=stranger),
        app.mint(claims(), headers={"alg": "RS512"}),
        app.mint(claims(), headers={"kid": 7}),
        app.mint(claims(), headers={"crit": ["exp"], "exp": 1}),
        ".".join([*other.split(".")[:2], good.split(".")[2]]),  # another token's signature
        good[:-4] + "AAAA",
    ]
    for token in forged:
        assert await callers.lookup(token) is None
    assert await callers.lookup(good) is not None


@pytest.mark.parametrize(
    "token", ["", "gw-" + "a" * 43, "a.b.c", "eyJhIjox.e30.x", "eyJ.eyJ.eyJ", "eyJ" + "A" * 9000 + ".e30.x"]
)
async def test_what_is_no_token_asks_for_no_keys(
    callers: EntraCallers, identity: tuple[Identity, Server], token: str
) -> None:
    assert await callers.lookup(token) is None
    assert asked(identity) == 0


async def test_an_unknown_key_id_is_looked_for_once(
    callers: EntraCallers, identity: tuple[Identity, Server], clock: Clock
) -> None:
    app = identity[0]
    assert await callers.lookup(app.mint(claims())) is not None
    for number in range(5):
        assert await callers.lookup(app.mint(claims(), headers={"kid": f"made-up-{number}"})) is None
    assert asked(identity) == 2
    clock.now += REFETCH_EVERY
    assert await callers.lookup(app.mint(claims(), headers={"kid": "again"})) is None
    assert asked(identity) == 3


async def test_a_new_signing_key_is_found(
    callers: EntraCallers, identity: tuple[Identity, Server], clock: Clock
) -> None:
    app = identity[0]
    old = app.mint(claims())
    assert await callers.lookup(old) is not None
    app.rotate_key()
    assert await callers.lookup(app.mint(claims())) is not None
    assert await callers.lookup(old) is not None


async def test_all_who_come_with_a_new_signing_key_wait_for_one_question(
    callers: EntraCallers, identity: tuple[Identity, Server]
) -> None:
    app = identity[0]
    assert await callers.lookup(app.mint(claims())) is not None
    app.rotate_key()
    tokens = [app.mint(claims(oid=str(number))) for number in range(10)]
    assert None not in await asyncio.gather(*map(callers.lookup, tokens))
    assert asked(identity) == 2


async def test_while_the_key_set_is_away_known_keys_go_on(
    callers: EntraCallers, identity: tuple[Identity, Server], clock: Clock
) -> None:
    app = identity[0]
    assert await callers.lookup(app.mint(claims())) is not None
    app.script("keys", [Reply(500, body={})], forever=True)
    clock.now += 7200
    assert await callers.lookup(app.mint(claims(oid="another"))) is not None
    assert await callers.lookup(app.mint(claims(), headers={"kid": "unknown"})) is None


async def test_without_any_key_tokens_cannot_be_told(
    callers: EntraCallers, identity: tuple[Identity, Server], clock: Clock
) -> None:
    app = identity[0]
    app.script("keys", [Reply(500, body={})], forever=True)
    for _ in range(3):  # one question, then none for some seconds
        with pytest.raises(StoreUnavailable, match="signing keys"):
            await callers.lookup(app.mint(claims()))
    assert asked(identity) == 1
    app.clear_scripts()
    clock.now += RETRY_AFTER
    assert await callers.lookup(app.mint(claims())) is not None


@pytest.mark.parametrize("body", [b"", b"[]", b'{"keys": 1}', b'{"keys": [{"kty": "RSA"}]}'])
async def test_a_key_set_that_is_none_is_one_that_is_away(
    callers: EntraCallers, identity: tuple[Identity, Server], body: bytes
) -> None:
    identity[0].script("keys", [Reply(200, body=body)])
    with pytest.raises(StoreUnavailable):
        await callers.lookup(identity[0].mint(claims()))


async def test_a_host_that_does_not_answer_is_not_waited_for(
    callers: EntraCallers, identity: tuple[Identity, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "PATIENCE", 0.05)
    identity[0].script("keys", [Hang()])
    with pytest.raises(StoreUnavailable):
        await callers.lookup(identity[0].mint(claims()))


async def test_a_host_that_is_down_is_one_that_is_away(clock: Clock) -> None:
    app = Identity(clock=clock, authority="http://127.0.0.1:1")
    transport = UpstreamTransport(frozenset({"127.0.0.1:1"}))
    tenant = Tenant(TENANT, (AUDIENCE,), "http://127.0.0.1:1")
    made = EntraCallers(tenant, ROLES, fetch=partial(fetch, transport), clock=clock)
    with pytest.raises(StoreUnavailable):
        await made.lookup(app.mint(claims()))
    await made.aclose()
    await transport.aclose()


async def test_a_good_token_is_checked_once_and_forgotten_when_it_expires(
    callers: EntraCallers, identity: tuple[Identity, Server], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = identity[0].mint(claims(), lifetime_s=100)
    first = await callers.lookup(token)
    assert await callers.lookup(token) is first
    clock.now += 131
    assert await callers.lookup(token) is None


@pytest.mark.parametrize(
    "text",
    ["", "[]", "nothing", '{"a": 1}', '{"a": ["no.such"]}', '{"a": {"scopes": [], "more": 1}}', '{"a": [1]}'],
)
def test_a_bad_table_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_roles(text)


def test_an_empty_table_gives_nobody_anything() -> None:
    assert Roles({}).caller({"roles": ["Gateway.Admin"]}).scopes == frozenset()
