"""Callers who sign in with Entra ID: no key anywhere."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from portkey_ai import Portkey

from emulators.identity import TENANT, Identity
from emulators.server import Server
from emulators.steps import Reply

AUDIENCE = "api://gateway"
MESSAGES: Any = [{"role": "user", "content": "hi"}]
ROLES = {"Gateway.Admin": ["*"], "Gateway.User": ["completions.write"]}


@pytest.fixture
def identity() -> Iterator[Identity]:
    app = Identity()
    with Server(app) as server:
        app.authority = server.url
        yield app


@pytest.fixture
def settings(identity: Identity) -> dict[str, str]:
    return {
        "GATEWAY_ENTRA_TENANT_ID": TENANT,
        "GATEWAY_ENTRA_AUDIENCE": AUDIENCE,
        "GATEWAY_ENTRA_ROLES": json.dumps(ROLES),
        "AZURE_AUTHORITY_HOST": identity.authority,
        "GATEWAY_TRUSTED_HOSTS": identity.authority.removeprefix("http://"),
    }


def token(identity: Identity, *roles: str, **more: Any) -> str:
    return identity.mint({"aud": AUDIENCE, "oid": "user-1", "roles": list(roles), **more})


def test_a_token_stands_in_for_a_key_in_every_client(world: Any, identity: Identity) -> None:
    good = token(identity, "Gateway.User")
    portkey = Portkey(
        api_key=good, base_url=f"{world.url}/v1", virtual_key="up", http_client=world.http, max_retries=0
    )
    assert portkey.chat.completions.create(model="chat", messages=MESSAGES).choices
    plain = openai.OpenAI(api_key=good, base_url=f"{world.url}/v1", http_client=world.http)
    assert plain.chat.completions.create(model="@up/chat", messages=MESSAGES).choices
    azure = openai.AzureOpenAI(
        azure_endpoint=world.url,
        azure_ad_token=good,
        api_version="2024-10-21",
        default_headers={"x-portkey-virtual-key": "up"},
    )
    with azure:
        assert azure.chat.completions.create(model="chat", messages=MESSAGES).choices
    for request in world.upstream.requests:
        assert good not in str(request.headers)


def test_roles_say_what_a_token_may_do(world: Any, identity: Identity) -> None:
    user, admin, nobody = token(identity, "Gateway.User"), token(identity, "Gateway.Admin"), token(identity)
    assert world.chat(user).status_code == 200
    assert world.call("GET", "/virtual-keys", key=user).status_code == 403
    assert world.call("GET", "/virtual-keys", key=admin).status_code == 200
    refused = world.chat(nobody)
    assert refused.status_code == 403
    assert "completions.write" in refused.json()["message"]


@pytest.mark.parametrize(
    "bad", [{"exp": 1}, {"aud": "api://other"}, {"iss": "https://login.example/v2.0"}, {"nbf": 2**33}]
)
def test_a_bad_token_is_401_like_any_wrong_key(world: Any, identity: Identity, bad: dict[str, Any]) -> None:
    answer = world.chat(token(identity, "Gateway.Admin", **bad))
    assert answer.status_code == 401
    assert answer.json()["message"] == world.chat("gw-" + "b" * 43).json()["message"]


def test_while_the_key_set_is_away_tokens_wait_and_keys_work(world: Any, identity: Identity) -> None:
    identity.script("keys", [Reply(500, body={})], forever=True)
    answer = world.chat(token(identity, "Gateway.User"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "entra_unavailable")
    assert world.chat(world.make_key()["key"]).status_code == 200


def test_a_token_that_is_good_here_never_leaves(world: Any, identity: Identity) -> None:
    """It is the caller's, and an upstream that got it could call the gateway in the caller's name."""
    key = world.make_key()["key"]
    answer = world.call(
        "POST",
        "/chat/completions",
        key=key,
        headers={
            "authorization": f"Bearer {token(identity, 'Gateway.User')}",
            "x-portkey-provider": "azure-openai",
            "x-portkey-custom-host": f"{world.upstream_url}/openai",
            "x-portkey-azure-deployment-id": "chat",
            "x-portkey-azure-api-version": "2024-10-21",
        },
        json={"model": "chat", "messages": MESSAGES},
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "missing_credential"
    assert world.upstream.requests == []


def test_who_a_token_belongs_to_stands_in_the_trail(world: Any, identity: Identity) -> None:
    admin = token(identity, "Gateway.Admin", preferred_username="user@example.org")
    world.call("GET", "/configs", key=admin)
    entry = world.call("GET", "/audit-logs", params={"resource_type": "configs"}).json()["data"][0]
    assert (entry["user_id"], entry["user_name"], entry["user_type"]) == (
        "entra-user-1",
        "user@example.org",
        "entra",
    )
