"""Azure credentials in the request itself: every way of Portkey's page reaches the right Azure URL.

The upstream is a function here, so that `https://{resource}.openai.azure.com` can be seen as it is asked
for; the SDKs are the real ones, calling the gateway in this process.
"""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI
from portkey_ai import AsyncPortkey, createHeaders

from tests.support.local import ADMIN_KEY, chat_answer, chat_body

KEY = "azure-key-0123456789abcdef"
JWT = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJhdWQiOiJhenVyZSJ9.c2lnbmF0dXJl"
URL = "https://res.openai.azure.com/openai/deployments/dep/chat/completions?api-version=2024-02-01"
HELLO: Any = [{"role": "user", "content": "Hello!"}]

# What every variant says besides its credential.
DIRECT = {
    "x-portkey-provider": "azure-openai",
    "x-portkey-azure-resource-name": "res",
    "x-portkey-azure-deployment-id": "dep",
    "x-portkey-azure-api-version": "2024-02-01",
}


@pytest.fixture
def azure(local):
    """The requests that reach Azure, each answered well."""
    return local.answer_by(lambda request: httpx.Response(200, json=chat_answer()))


@pytest.fixture
async def http(local) -> AsyncIterator[httpx.AsyncClient]:
    """For SDKs: what they send goes to the gateway in this process."""
    transport = httpx.ASGITransport(local.client.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway/v1") as client:
        yield client


def sent(requests: list[httpx.Request]) -> tuple[str, str | None, str | None]:
    """(URL, api-key, Authorization) of the one request."""
    assert len(requests) == 1
    headers = requests[0].headers
    return str(requests[0].url), headers.get("api-key"), headers.get("authorization")


# --- on the wire, as captured from the clients

CREDENTIALS = {
    "capital Authorization": [("Authorization", f"Bearer {KEY}")],
    "lower-case authorization": [("authorization", f"Bearer {KEY}")],
    "no Bearer, as Node's native path sends it": [("authorization", KEY)],
    "two lines, the placeholder first": [
        ("Authorization", "Bearer OPENAI_API_KEY"),
        ("authorization", f"Bearer {KEY}"),
    ],
    "two lines of the first SDKs": [
        ("Authorization", "Bearer DUMMY-KEY"),
        ("authorization", f"Bearer {KEY}"),
    ],
    "two lines joined by a proxy": [("authorization", f"Bearer OPENAI_API_KEY, Bearer {KEY}")],
    "the gateway key and the Azure key": [
        ("authorization", f"Bearer {ADMIN_KEY}"),
        ("authorization", f"Bearer {KEY}"),
    ],
    "api-key": [("api-key", KEY)],
    "api-key with Bearer, as the page's curl": [("api-key", f"Bearer {KEY}")],
    "api-key beside the gateway key, as Node's images": [
        ("authorization", f"Bearer {ADMIN_KEY}"),
        ("api-key", KEY),
    ],
}


@pytest.mark.parametrize("credential", CREDENTIALS.values(), ids=CREDENTIALS)
async def test_a_key_reaches_azure_as_api_key(local, azure, credential):
    answer = await local.client.request(
        "POST", "/v1/chat/completions", headers=[*DIRECT.items(), *credential], json=chat_body()
    )
    assert answer.status == 200, answer.body
    assert sent(azure) == (URL, KEY, None)


JWTS = {
    "forwarded, one line": [("authorization", f"Bearer {JWT}")],
    "forwarded, two lines": [
        ("Authorization", "Bearer OPENAI_API_KEY"),
        ("authorization", f"Bearer {JWT}"),
    ],
    "forwarded twice": [("authorization", f"Bearer {JWT}"), ("authorization", f"Bearer {JWT}")],
}


@pytest.mark.parametrize("forward", ["authorization", "Authorization", '["authorization"]', None])
@pytest.mark.parametrize("credential", JWTS.values(), ids=JWTS)
async def test_a_jwt_reaches_azure_as_one_authorization_and_nothing_else(local, azure, credential, forward):
    headers = [*DIRECT.items(), *credential]
    if forward:
        headers.append(("x-portkey-forward-headers", forward))
    answer = await local.client.request("POST", "/v1/chat/completions", headers=headers, json=chat_body())
    assert answer.status == 200, answer.body
    assert sent(azure) == (URL, None, f"Bearer {JWT}")
    assert len(azure[0].headers.get_list("authorization")) == 1


async def test_an_opaque_token_that_is_to_be_forwarded_goes_as_authorization(local, azure):
    headers = {
        **DIRECT,
        "authorization": "Bearer opaque-token-0123456789",
        "x-portkey-forward-headers": "authorization",
    }
    await local.client.request("POST", "/v1/chat/completions", headers=headers, json=chat_body())
    assert sent(azure) == (URL, None, "Bearer opaque-token-0123456789")


async def test_the_misspelt_deployment_header_counts(local, azure):
    headers = {name.replace("deployment-id", "deploymend-id"): value for name, value in DIRECT.items()}
    await local.client.request(
        "POST", "/v1/chat/completions", headers={**headers, "api-key": KEY}, json=chat_body()
    )
    assert sent(azure) == (URL, KEY, None)


async def test_the_right_spelling_wins_over_the_misspelt_one(local, azure):
    headers = {**DIRECT, "x-portkey-azure-deploymend-id": "other", "api-key": KEY}
    await local.client.request("POST", "/v1/chat/completions", headers=headers, json=chat_body())
    assert sent(azure)[0] == URL


async def test_without_a_deployment_header_the_model_names_it(local, azure):
    headers = {name: value for name, value in DIRECT.items() if "deployment" not in name}
    body = chat_body(model="gpt-4o")
    await local.client.request("POST", "/v1/chat/completions", headers={**headers, "api-key": KEY}, json=body)
    assert sent(azure)[0] == URL.replace("/dep/", "/gpt-4o/")


@pytest.mark.parametrize(
    "resource",
    [
        "res",
        "RES",
        "https://res.openai.azure.com",
        "https://res.openai.azure.com/",
        "res.openai.azure.com",
        "https://res.openai.azure.com/openai/deployments/dep/chat/completions?api-version=2024-02-01",
    ],
)
async def test_the_resource_may_be_given_as_a_url(local, azure, resource):
    headers = {**DIRECT, "x-portkey-azure-resource-name": resource, "api-key": KEY}
    answer = await local.client.request("POST", "/v1/chat/completions", headers=headers, json=chat_body())
    assert answer.status == 200, answer.body
    assert sent(azure)[0] == URL


@pytest.mark.parametrize("version", ["v1", "V1", "preview"])
async def test_the_v1_api_takes_the_deployment_as_model(local, azure, version):
    headers = {**DIRECT, "x-portkey-azure-api-version": version, "api-key": KEY}
    await local.client.request(
        "POST", "/v1/chat/completions", headers=headers, json=chat_body(model="gpt-4o", extra={"kept": 1})
    )
    query = "?api-version=preview" if version == "preview" else ""
    assert str(azure[0].url) == f"https://res.openai.azure.com/openai/v1/chat/completions{query}"
    body = httpx.Response(200, content=azure[0].content).json()
    assert (body["model"], body["extra"]) == ("dep", {"kept": 1})


CLOUDS = {
    "https://res.openai.azure.us/openai": "https://res.openai.azure.us/openai",
    "https://res.openai.azure.us": "https://res.openai.azure.us/openai",
    "https://res.openai.azure.cn/openai/": "https://res.openai.azure.cn/openai",
    "https://res.cognitiveservices.azure.com": "https://res.cognitiveservices.azure.com/openai",
    "https://team.azure-api.net/llm/openai": "https://team.azure-api.net/llm/openai",
}


@pytest.mark.parametrize(("host", "base"), CLOUDS.items(), ids=CLOUDS)
async def test_other_clouds_are_custom_hosts(local, azure, host, base):
    headers = {**DIRECT, "x-portkey-custom-host": host, "api-key": KEY}
    answer = await local.client.request("POST", "/v1/chat/completions", headers=headers, json=chat_body())
    assert answer.status == 200, answer.body
    assert sent(azure)[0] == f"{base}/deployments/dep/chat/completions?api-version=2024-02-01"


async def test_a_ready_token_in_its_own_header(local, azure):
    headers = {**DIRECT, "x-portkey-azure-ad-token": f"Bearer {JWT}", "authorization": f"Bearer {KEY}"}
    await local.client.request("POST", "/v1/chat/completions", headers=headers, json=chat_body())
    assert sent(azure) == (URL, None, f"Bearer {JWT}")


# --- what is missing is named

MISSING = {
    "x-portkey-azure-resource-name": ({"api-key": KEY}, "x-portkey-azure-resource-name"),
    "x-portkey-azure-api-version": ({"api-key": KEY}, "x-portkey-azure-api-version"),
    "x-portkey-azure-deployment-id": ({"api-key": KEY}, "x-portkey-azure-deployment-id"),
    "": ({}, "authorization"),
}


@pytest.mark.parametrize(("left_out", "rest"), MISSING.items(), ids=lambda value: str(value)[:40])
async def test_an_incomplete_credential_is_a_400_that_names_the_header(local, azure, left_out, rest):
    more, named = rest
    headers = {name: value for name, value in DIRECT.items() if name != left_out}
    answer = await local.client.request(
        "POST", "/v1/chat/completions", headers={**headers, **more}, json=chat_body()
    )
    assert answer.status == 400
    error = answer.json()["error"]
    assert error["param"] == named
    assert named.lower() in error["message"].lower()
    assert azure == []


@pytest.mark.parametrize(
    "placeholder", ["Bearer OPENAI_API_KEY", "Bearer DUMMY-KEY", "Bearer ", "Bearer", f"Bearer {ADMIN_KEY}"]
)
async def test_placeholders_and_the_gateways_own_key_are_no_credential(local, azure, placeholder):
    answer = await local.client.request(
        "POST",
        "/v1/chat/completions",
        headers={**DIRECT, "authorization": placeholder, "x-portkey-api-key": f"Bearer {ADMIN_KEY}"},
        json=chat_body(),
    )
    assert answer.status == 400
    assert answer.json()["error"]["code"] == "missing_credential"
    assert azure == []


async def test_without_any_upstream_the_message_says_what_to_send(local, azure):
    answer = await local.client.request("POST", "/v1/chat/completions", json=chat_body(model="gpt-4o"))
    assert answer.status == 400
    assert "x-portkey-virtual-key" in answer.json()["message"]


@pytest.mark.parametrize(
    "name",
    [
        "x-portkey-azure-entra-tenant-id",
        "x-portkey-azure-entra-client-id",
        "x-portkey-azure-entra-client-secret",
    ],
)
async def test_an_incomplete_entra_sign_in_never_falls_through_to_the_key(local, azure, name):
    entra = {f"x-portkey-azure-entra-{part}": part for part in ("tenant-id", "client-id", "client-secret")}
    headers = {**DIRECT, **entra, "x-portkey-azure-auth-mode": "entra", "api-key": KEY}
    headers.pop(name)
    answer = await local.client.request("POST", "/v1/chat/completions", headers=headers, json=chat_body())
    assert answer.status == 400
    assert answer.json()["error"]["param"] == name
    assert azure == []


@pytest.mark.parametrize(
    "resource", ["evil.example/", "res.openai.azure.com@evil.example", "a b", "é", "a/../b"]
)
async def test_a_resource_name_cannot_name_another_host(local, azure, resource):
    headers = {**DIRECT, "x-portkey-azure-resource-name": resource, "api-key": KEY}
    answer = await local.client.request("POST", "/v1/chat/completions", headers=headers, json=chat_body())
    assert answer.status == 400
    assert azure == []


@pytest.mark.parametrize("deployment", ["a/b", "../x", "a?b", "a b", "é"])
async def test_a_deployment_name_cannot_leave_its_place_in_the_url(local, azure, deployment):
    headers = {**DIRECT, "x-portkey-azure-deployment-id": deployment, "api-key": KEY}
    answer = await local.client.request("POST", "/v1/chat/completions", headers=headers, json=chat_body())
    assert answer.status == 400
    assert azure == []


# --- the SDKs


async def test_portkey_as_the_page_has_it(local, azure, http):
    """Lower-case `authorization` and the misspelt deployment: two Authorization lines on the wire."""
    portkey = AsyncPortkey(
        api_key=ADMIN_KEY,
        base_url="http://gateway/v1",
        provider="azure-openai",
        azure_resource_name="res",
        azure_deploymend_id="dep",
        azure_api_version="2024-02-01",
        authorization=f"Bearer {KEY}",
        http_client=http,
    )
    answer = await portkey.chat.completions.create(messages=HELLO, model="gpt-4o")
    assert answer.choices[0].message.content == "hi"
    assert sent(azure) == (URL, KEY, None)


async def test_portkey_with_a_capital_authorization(local, azure, http):
    portkey = AsyncPortkey(
        api_key=ADMIN_KEY,
        base_url="http://gateway/v1",
        provider="azure-openai",
        azure_resource_name="res",
        azure_deployment_id="dep",
        azure_api_version="2024-02-01",
        Authorization=f"Bearer {KEY}",
        http_client=http,
    )
    await portkey.chat.completions.create(messages=HELLO, model="gpt-4o")
    assert sent(azure) == (URL, KEY, None)


@pytest.mark.parametrize("spelling", ["authorization", "Authorization"])
async def test_portkey_passes_a_jwt(local, azure, http, spelling):
    portkey = AsyncPortkey(
        api_key=ADMIN_KEY,
        base_url="http://gateway/v1",
        provider="azure-openai",
        azure_resource_name="res",
        azure_deploymend_id="dep",
        azure_api_version="2024-02-01",
        forward_headers=[spelling],
        http_client=http,
        **{spelling: f"Bearer {JWT}"},
    )
    await portkey.chat.completions.create(messages=HELLO, model="gpt-4o")
    assert sent(azure) == (URL, None, f"Bearer {JWT}")


@pytest.mark.parametrize(
    ("call", "path"),
    [
        ("images", "/openai/deployments/dep/images/generations"),
        ("embeddings", "/openai/deployments/dep/embeddings"),
        ("responses", "/openai/responses"),
    ],
)
async def test_other_operations_with_direct_credentials(local, azure, http, call, path):
    portkey = AsyncPortkey(
        api_key=ADMIN_KEY,
        base_url="http://gateway/v1",
        provider="azure-openai",
        azure_resource_name="res",
        azure_deploymend_id="dep",
        azure_api_version="2024-02-01",
        authorization=f"Bearer {KEY}",
        http_client=http,
    )
    match call:
        case "images":
            await portkey.images.generate(prompt="Lucy", size="1024x1024")
        case "embeddings":
            await portkey.embeddings.create(input="x", model="gpt-4o")
        case "responses":
            await portkey.responses.create(input="x", model="gpt-4o")
            assert httpx.Response(200, content=azure[0].content).json()["model"] == "dep"
    assert sent(azure) == (f"https://res.openai.azure.com{path}?api-version=2024-02-01", KEY, None)


async def test_stock_openai_with_portkeys_headers(local, azure, http):
    client = AsyncOpenAI(
        api_key=KEY,
        base_url="http://gateway/v1",
        default_headers=createHeaders(
            api_key=ADMIN_KEY,
            provider="azure-openai",
            azure_resource_name="res",
            azure_deployment_id="dep",
            azure_api_version="2024-02-01",
        ),
        http_client=http,
    )
    await client.chat.completions.create(messages=HELLO, model="gpt-4o")
    assert sent(azure) == (URL, KEY, None)


async def test_azure_openai_with_its_own_key(local, azure, http):
    client = AsyncAzureOpenAI(
        api_key=KEY,
        api_version="2024-02-01",
        azure_endpoint="http://gateway",
        default_headers=createHeaders(api_key=ADMIN_KEY, provider="azure-openai", azure_resource_name="res"),
        http_client=http,
    )
    await client.chat.completions.create(messages=HELLO, model="dep")
    assert sent(azure) == (URL, KEY, None)


async def test_a_config_with_credentials_of_its_own_ignores_the_requests(local, azure, http):
    config = {
        "provider": "azure-openai",
        "api_key": KEY,
        "resource_name": "res",
        "deployment_id": "dep",
        "api_version": "2024-02-01",
    }
    portkey = AsyncPortkey(
        api_key=ADMIN_KEY,
        base_url="http://gateway/v1",
        config=config,
        Authorization="Bearer another-key-0123456789",
        http_client=http,
    )
    await portkey.chat.completions.create(messages=HELLO, model="gpt-4o")
    assert sent(azure) == (URL, KEY, None)
