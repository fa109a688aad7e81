"""Azure OpenAI's URLs by dated and v1 API, and OpenAI's. Source: Azure OpenAI REST reference."""

import pytest

from gateway.core.errors import InvalidRequest
from gateway.core.hosts import Host, Reach
from gateway.core.operations import inference, split_path
from gateway.core.ports import SignIn
from gateway.providers.azure_openai import AzureOpenAI, scope_for
from gateway.providers.base import Endpoint
from gateway.providers.openai import OpenAI

DATE = "2024-10-21"
BASE = "https://res.openai.azure.com/openai"
HOST = Host(BASE, "res.openai.azure.com", Reach.AZURE, own_identity=True)


def address(method: str, path: str, version: str | None, query: str = "", deployment: str | None = "dep"):
    operation = inference(method, split_path(path))
    assert operation is not None
    endpoint = Endpoint("azure-openai", HOST, deployment, version, secret="k")
    found = AzureOpenAI().address(endpoint, operation, query)
    return found.url.removeprefix(BASE), found.model


DATED = [
    ("POST", "/v1/chat/completions", "", "/deployments/dep/chat/completions?api-version=" + DATE, None),
    ("POST", "/v1/embeddings", "a=b", "/deployments/dep/embeddings?a=b&api-version=" + DATE, None),
    ("POST", "/v1/images/edits", "", "/deployments/dep/images/edits?api-version=" + DATE, None),
    ("POST", "/v1/audio/speech", "", "/deployments/dep/audio/speech?api-version=" + DATE, None),
    ("POST", "/v1/responses", "", "/responses?api-version=" + DATE, "dep"),
    ("GET", "/v1/responses/r1", "include=x", "/responses/r1?include=x&api-version=" + DATE, None),
    ("GET", "/v1/responses/r1/input_items", "", "/responses/r1/input_items?api-version=" + DATE, None),
    ("GET", "/v1/files", "purpose=batch", "/files?purpose=batch&api-version=" + DATE, None),
    ("POST", "/v1/batches", "", "/batches?api-version=" + DATE, None),
    ("POST", "/v1/fine_tuning/jobs", "", "/fine_tuning/jobs?api-version=" + DATE, None),
    ("POST", "/v1/assistants", "api-version=2023-05-15", "/assistants?api-version=2023-05-15", None),
    (
        "POST",
        "/openai/deployments/dep/chat/completions",
        "api-version=2023-05-15",
        "/deployments/dep/chat/completions?api-version=" + DATE,
        None,
    ),
]


@pytest.mark.parametrize(("method", "path", "query", "url", "model"), DATED)
def test_dated(method, path, query, url, model):
    assert address(method, path, DATE, query) == (url, model)


V1 = [
    ("POST", "/v1/chat/completions", "api-version=2024-10-21&x=1", "/v1/chat/completions?x=1", "dep"),
    ("POST", "/v1/images/generations", "", "/v1/images/generations", "dep"),
    ("POST", "/v1/responses", "", "/v1/responses", "dep"),
    ("GET", "/v1/responses/r1", "", "/v1/responses/r1", None),
    ("GET", "/v1/files", "purpose=batch", "/v1/files?purpose=batch", None),
    ("POST", "/openai/v1/chat/completions", "", "/v1/chat/completions", "dep"),
]


@pytest.mark.parametrize(("method", "path", "query", "url", "model"), V1)
def test_v1(method, path, query, url, model):
    assert address(method, path, "v1", query) == (url, model)


def test_the_preview_of_v1_is_named_in_the_query():
    assert address("POST", "/v1/responses", "preview") == ("/v1/responses?api-version=preview", "dep")


def test_a_version_in_the_query_counts_where_none_is_stored():
    assert address("POST", "/v1/embeddings", None, "api-version=2023-05-15") == (
        "/deployments/dep/embeddings?api-version=2023-05-15",
        None,
    )


@pytest.mark.parametrize(
    ("version", "deployment", "header"),
    [(None, "dep", "x-portkey-azure-api-version"), (DATE, None, "x-portkey-azure-deployment-id")],
)
def test_what_is_missing_is_named_by_its_header(version, deployment, header):
    with pytest.raises(InvalidRequest) as caught:
        address("POST", "/v1/chat/completions", version, deployment=deployment)
    assert caught.value.param == header
    assert header in caught.value.message


@pytest.mark.parametrize("query", ["code=KEY", "x=1&code=KEY&y=2", "%63ode=KEY", "code=KEY&code=MORE"])
def test_the_function_key_never_goes_along(query):
    url, _ = address("POST", "/v1/chat/completions", DATE, query)
    assert "KEY" not in url
    assert "MORE" not in url


@pytest.mark.parametrize("version", ["2024-10-21&x=1", "2024-10-21#", "a b"])
def test_a_version_cannot_add_to_the_query(version):
    """Versions out of headers and configs are checked before they come here, or refused here."""
    try:
        url, _ = address("POST", "/v1/chat/completions", version)
    except InvalidRequest:
        return
    assert url.count("&") == 0
    assert "#" not in url
    assert " " not in url


@pytest.mark.parametrize(
    ("endpoint", "header"),
    [
        (Endpoint("azure-openai", HOST, secret="k"), ("api-key", "TOKEN")),
        (Endpoint("azure-openai", HOST, secret="k", bearer=True), ("authorization", "Bearer TOKEN")),
        (Endpoint("azure-openai", HOST, sign_in=SignIn("managed", "s")), ("authorization", "Bearer TOKEN")),
    ],
)
def test_the_credentials_header(endpoint, header):
    assert AzureOpenAI().authorize(endpoint, "TOKEN") == header
    assert OpenAI().authorize(endpoint, "TOKEN") == ("authorization", "Bearer TOKEN")


@pytest.mark.parametrize(
    ("host", "version", "scope"),
    [
        ("res.openai.azure.com", DATE, "https://cognitiveservices.azure.com/.default"),
        ("res.openai.azure.com", "v1", "https://ai.azure.com/.default"),
        ("res.openai.azure.us", "v1", "https://cognitiveservices.azure.us/.default"),
        ("res.openai.azure.cn", DATE, "https://cognitiveservices.azure.cn/.default"),
    ],
)
def test_the_scope_of_a_token(host, version, scope):
    assert scope_for(host, version) == scope


def test_openai_has_no_versions_and_no_deployments_in_its_urls():
    host = Host("https://api.openai.com/v1", "api.openai.com", Reach.PUBLIC, own_identity=True)
    operation = inference("POST", split_path("/v1/chat/completions"))
    assert operation is not None
    found = OpenAI().address(Endpoint("openai", host, secret="k"), operation, "api-version=1&x=2")
    assert (found.url, found.model) == ("https://api.openai.com/v1/chat/completions?x=2", None)
