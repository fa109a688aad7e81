"""Endpoints of Azure OpenAI as people paste them."""

import pytest

from gateway.core.azure_endpoint import Pasted, api_version, deployment_name, read_endpoint, resource_name
from gateway.core.errors import InvalidRequest

PASTED = {
    "res": Pasted(),
    "": Pasted(),
    "https://res.openai.azure.com": Pasted("res"),
    "https://res.openai.azure.com/": Pasted("res"),
    " https://RES.openai.azure.com/ ": Pasted("res"),
    "res.openai.azure.com": Pasted("res"),
    "res.openai.azure.com/": Pasted("res"),
    "https://res.openai.azure.com:443": Pasted("res"),
    "https://res.openai.azure.com/openai/deployments/gpt/chat/completions?api-version=2024-10-21": Pasted(
        "res", None, "gpt", "2024-10-21"
    ),
    "https://res.openai.azure.com/openai/deployments/gpt%2D4/embeddings?x=1&api-version=2024-10-21": Pasted(
        "res", None, "gpt-4", "2024-10-21"
    ),
    "https://res.openai.azure.com/openai/v1/": Pasted("res", None, None, "v1"),
    "https://res.openai.azure.com/openai/v1/responses?api-version=preview": Pasted(
        "res", None, None, "preview"
    ),
    "https://res.openai.azure.us/": Pasted(None, "https://res.openai.azure.us/openai"),
    "https://res.cognitiveservices.azure.com/openai/deployments/d/x?api-version=2024-10-21": Pasted(
        None, "https://res.cognitiveservices.azure.com/openai", "d", "2024-10-21"
    ),
    "https://team.azure-api.net/llm/openai/deployments/d/x": Pasted(
        None, "https://team.azure-api.net/llm/openai", "d"
    ),
    "http://127.0.0.1:9000/openai": Pasted(None, "http://127.0.0.1:9000/openai"),
    "https://a.b.openai.azure.com": Pasted(None, "https://a.b.openai.azure.com/openai"),
    "https://": Pasted(),
    "https://[::1": Pasted(),
    "https://res.openai.azure.com:port": Pasted(),
}


@pytest.mark.parametrize(("text", "wanted"), PASTED.items(), ids=PASTED)
def test_read_endpoint(text, wanted):
    assert read_endpoint(text) == wanted


@pytest.mark.parametrize("text", ["res", "my-resource-2", "A", "a" * 64])
def test_resource_names(text):
    assert resource_name(text, "f") == text.lower()


@pytest.mark.parametrize("text", ["", "-a", "a-", "a.b", "a/b", "a_b", "a b", "a" * 65, "\u0440es", "a\n"])
def test_what_is_no_resource_name_is_refused_by_field(text):
    with pytest.raises(InvalidRequest, match=r"^field: "):
        resource_name(text, "field")


@pytest.mark.parametrize("text", ["gpt-5.4", "a_b", "A", "x:1", "a" * 128])
def test_deployment_names(text):
    assert deployment_name(text, "f") == text


@pytest.mark.parametrize("text", ["", ".", "..", "-a", "a/b", "a b", "a?b", "a" * 129, "\u00e9", "a\n"])
def test_what_is_no_deployment_name_is_refused_by_field(text):
    with pytest.raises(InvalidRequest, match=r"^field: "):
        deployment_name(text, "field")


@pytest.mark.parametrize("text", ["2024-10-21", "2025-04-01-preview", "v1", "V1", " preview ", "latest"])
def test_versions(text):
    assert api_version(text, "f") == text.strip().lower()


@pytest.mark.parametrize("text", ["", "2024", "v2", "2024-10-21&x=1", "2024-10-21-beta", "2024-10-21\n x"])
def test_what_is_no_version_is_refused_by_field(text):
    with pytest.raises(InvalidRequest, match=r"^field: "):
        api_version(text, "field")
