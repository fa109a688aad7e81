"""The gateway as in Azure: secrets in Key Vault, read and signed in by a managed identity."""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from portkey_ai import Portkey

from emulators.answers.vault_errors import throttled, unavailable
from emulators.request_log import Received
from emulators.steps import Reply
from tests.support.process import GatewayProcess
from tests.support.vault import Azure, azure

ADMIN_KEY = "gw-" + "v" * 43
KEY = "azure-key-0123456789abcdef"
CHAT = {"model": "chat", "messages": [{"role": "user", "content": "hello"}]}
MODELS = "https://cognitiveservices.azure.com"


@pytest.fixture(scope="module")
def cloud_for_all(tmp_path_factory) -> Iterator[Azure]:
    with azure(tmp_path_factory.mktemp("azure"), keys=frozenset({KEY})) as cloud:
        put_secret(cloud, "gateway-admin-key", ADMIN_KEY)
        yield cloud


@pytest.fixture
def cloud(cloud_for_all) -> Azure:
    for app in (cloud_for_all.vault, cloud_for_all.identity, cloud_for_all.entra, cloud_for_all.openai):
        app.clear_scripts()
        app.log.clear()
    return cloud_for_all


@pytest.fixture(scope="module")
def instances(cloud_for_all, tmp_path_factory) -> Iterator[list[GatewayProcess]]:
    """Two gateways that share nothing but the vault."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(GatewayProcess(tmp_path_factory.mktemp("gateway"), cloud_for_all.environ()))
            for _ in range(2)
        ]


@pytest.fixture
def gateway(instances, cloud) -> GatewayProcess:
    instances[0].key = ADMIN_KEY
    return instances[0]


@pytest.fixture
def other(instances, cloud) -> GatewayProcess:
    instances[1].key = ADMIN_KEY
    return instances[1]


def put_secret(cloud: Azure, name: str, value: str) -> None:
    cloud.identity.issued.add("operator")
    httpx.put(
        f"{cloud.vault_url}/secrets/{name}?api-version=7.4",
        headers={"authorization": "Bearer operator"},
        json={"value": value},
        verify=ssl.create_default_context(cafile=cloud.certificates.ca),
    ).raise_for_status()


def create(gateway: GatewayProcess, cloud: Azure, slug: str, **more: Any) -> str:
    wanted = {"name": slug, "slug": slug, "provider": "azure-openai", "key": KEY}
    wanted |= {"custom_host": f"{cloud.openai_url}/openai", "apiVersion": "2024-10-21", **more}
    return str(gateway.api("POST", "/v1/virtual-keys", json=wanted)["slug"])


def ask(gateway: GatewayProcess, slug: str) -> httpx.Response:
    headers = {"x-portkey-api-key": ADMIN_KEY, "x-portkey-virtual-key": slug}
    return httpx.post(f"{gateway.url}/v1/chat/completions", headers=headers, json=CHAT, timeout=60)


def token_requests(cloud: Azure) -> list[Received]:
    """Questions for a token for models, to either issuer; those for the vault left out."""
    managed = [r for r in cloud.identity.requests if MODELS in r.query.get("resource", "")]
    clients = [r for r in cloud.entra.requests if b"cognitiveservices" in r.body]
    return managed + clients


def test_the_admin_key_is_the_vaults_secret(gateway):
    assert "gw-" not in gateway.output
    assert gateway.api("GET", "/v1/virtual-keys")["object"] == "list"
    gateway.api("GET", "/v1/virtual-keys", status=401, headers={"x-portkey-api-key": "gw-" + "x" * 43})


def test_a_virtual_key_made_by_the_sdk_serves_a_second_instance_that_shares_only_the_vault(
    gateway, other, cloud
):
    with httpx.Client(base_url=f"{gateway.url}/v1") as http:
        portkey = Portkey(api_key=ADMIN_KEY, base_url=f"{gateway.url}/v1", http_client=http)
        made = portkey.virtual_keys.create(
            name="Shared", provider="azure-openai", key=KEY, resourceName=f"{cloud.openai_url}/openai"
        )
    assert ask(other, made.slug).status_code == 200
    assert cloud.openai.requests[-1].header("api-key") == KEY
    listed = {item["slug"]: item for item in other.api("GET", "/v1/virtual-keys")["data"]}
    assert listed[made.slug]["key"] == "********ef"
    assert KEY not in str(listed)


def test_a_deleted_name_is_gone_and_can_be_made_again(gateway, cloud):
    create(gateway, cloud, "phoenix")
    assert ask(gateway, "phoenix").status_code == 200
    assert gateway.api("DELETE", "/v1/virtual-keys/phoenix") == {}
    assert ask(gateway, "phoenix").status_code == 404
    create(gateway, cloud, "phoenix", note="reborn")  # soft-deleted: the name is taken until it is recovered
    assert ask(gateway, "phoenix").status_code == 200
    assert gateway.api("GET", "/v1/virtual-keys/phoenix")["note"] == "reborn"
    gateway.api("POST", "/v1/virtual-keys", status=409, json={"name": "x", "slug": "phoenix", "key": KEY})


@pytest.mark.parametrize("step", [unavailable(), throttled()], ids=["down", "throttling"])
def test_while_the_vault_does_not_answer_a_read_key_works_and_an_unread_one_is_a_503(gateway, cloud, step):
    create(gateway, cloud, "read")
    create(gateway, cloud, "unread")
    assert ask(gateway, "read").status_code == 200
    cloud.vault.script("*", [step], forever=True)
    assert ask(gateway, "read").status_code == 200
    answer = ask(gateway, "unread")
    assert answer.status_code == 503
    error = answer.json()["error"]
    assert error["code"] == "store_unavailable"
    assert "Key Vault answered" in error["message"]
    cloud.vault.clear_scripts()
    assert ask(gateway, "unread").status_code == 200
    gateway.api("DELETE", "/v1/virtual-keys/read")
    gateway.api("DELETE", "/v1/virtual-keys/unread")


def test_a_key_changed_in_the_vault_is_read_anew_when_the_old_one_is_refused(gateway, other, cloud):
    create(gateway, cloud, "rotated", key="old-key-0123456789abcdef")
    assert ask(gateway, "rotated").status_code == 401
    other.api("PUT", "/v1/virtual-keys/rotated", json={"key": KEY})
    assert ask(gateway, "rotated").status_code == 200


SIGN_INS = {
    "managed identity": {"azure_auth_mode": "managed", "azure_managed_client_id": "of-the-burst"},
    "client credentials": {
        "azure_auth_mode": "entra",
        "azure_entra_tenant_id": "00000000-0000-4000-8000-0000000000aa",
        "azure_entra_client_id": "client",
        "azure_entra_client_secret": "client-secret-0123456789",
    },
}


@pytest.mark.parametrize("sign_in", SIGN_INS.values(), ids=SIGN_INS)
def test_a_token_is_had_once_for_fifty_requests_at_a_time(gateway, cloud, sign_in):
    slug = sign_in["azure_auth_mode"]
    create(gateway, cloud, slug, key=None, **sign_in)

    async def burst() -> list[int]:
        limits = httpx.Limits(max_connections=50)
        async with httpx.AsyncClient(limits=limits, timeout=60) as client:
            headers = {"x-portkey-api-key": ADMIN_KEY, "x-portkey-virtual-key": slug}
            calls = [
                client.post(f"{gateway.url}/v1/chat/completions", headers=headers, json=CHAT)
                for _ in range(50)
            ]
            return [answer.status_code for answer in await asyncio.gather(*calls)]

    assert asyncio.run(burst()) == [200] * 50
    assert len(token_requests(cloud)) == 1
    sent = {(r.header("api-key"), r.header("authorization")) for r in cloud.openai.requests}
    assert len(sent) == 1
    assert next(iter(sent))[0] is None


def test_a_refused_token_is_had_anew_once(gateway, cloud):
    create(gateway, cloud, "revoked", key=None, azure_auth_mode="managed", azure_managed_client_id="of-one")
    assert ask(gateway, "revoked").status_code == 200
    cloud.identity.issued.remove(cloud.openai.requests[-1].header("authorization").removeprefix("Bearer "))
    assert ask(gateway, "revoked").status_code == 200
    assert len(token_requests(cloud)) == 2

    cloud.openai.script("chat", [Reply(401, {}, {"error": {"code": "401", "message": "no"}})], forever=True)
    before = len(cloud.openai.requests)
    # The token was replaced a moment ago: an identity without its role must not load Entra ID.
    assert ask(gateway, "revoked").status_code == 401
    assert len(cloud.openai.requests) == before + 1
    assert len(token_requests(cloud)) == 2


def test_a_sign_in_that_fails_is_a_502_that_says_what_to_look_at(gateway, cloud):
    wrong = {**SIGN_INS["client credentials"], "azure_entra_client_secret": "wrong-secret-0123456789"}
    create(gateway, cloud, "wrong", key=None, **wrong)
    answer = ask(gateway, "wrong")
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "upstream_sign_in_failed"
    assert "client secret" in answer.json()["message"]
    assert "wrong-secret" not in answer.text + gateway.output
    assert cloud.openai.requests == []


def test_the_gateways_identity_by_headers_alone(gateway, cloud):
    answer = httpx.post(
        f"{gateway.url}/v1/chat/completions",
        headers={
            "x-portkey-api-key": ADMIN_KEY,
            "x-portkey-provider": "azure-openai",
            "x-portkey-custom-host": f"{cloud.openai_url}/openai",
            "x-portkey-azure-api-version": "2024-10-21",
            "x-portkey-azure-auth-mode": "managed",
        },
        json=CHAT,
    )
    assert answer.status_code == 200, answer.text
    assert cloud.openai.requests[-1].header("authorization").startswith("Bearer eyJ")


def test_a_user_assigned_identity_is_named_to_the_endpoint(cloud, start_gateway):
    gateway = start_gateway(**cloud.environ(AZURE_CLIENT_ID="user-assigned-1"))
    gateway.key = ADMIN_KEY
    create(gateway, cloud, "named", key=None, azure_auth_mode="managed")
    create(gateway, cloud, "other", key=None, azure_auth_mode="managed", azure_managed_client_id="own-2")
    assert ask(gateway, "named").status_code == ask(gateway, "other").status_code == 200
    assert [r.query["client_id"] for r in token_requests(cloud)] == ["user-assigned-1", "own-2"]


def test_a_vault_that_is_unreachable_at_the_start_leaves_the_gateway_up(cloud, start_gateway):
    gateway = start_gateway(**cloud.environ(KEY_VAULT_URL="https://127.0.0.1:1"))
    assert httpx.get(f"{gateway.url}/health").json() == {"status": "up"}
    gateway.key = ADMIN_KEY
    error = gateway.api("GET", "/v1/virtual-keys", status=503)
    assert error["error"]["code"] == "store_unavailable"
