"""Portkey's and OpenAI's SDKs for Node against the gateway; the first of Portkey's too."""

import json
import subprocess
import threading
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import AZURE_KEY, AZURE_TOKEN, VERSION
from tests.support.process import base_environ
from tests.support.sdks import NODE, NotInstalled, node_modules

TEXT = "You said: Say this is a test"


@pytest.fixture(scope="session")
def modules() -> Path:
    try:
        return node_modules()
    except NotInstalled as missing:
        pytest.skip(str(missing))


@pytest.fixture
def node(modules: Path) -> Callable[..., Any]:
    """Runs a scenario of `node/run.mjs`; gives what the SDK's user sees."""

    def run(scenario: str, sdk: str, options: dict[str, Any], **given: Any) -> Any:
        ran = subprocess.run(
            ["node", str(NODE / "run.mjs"), scenario],
            input=json.dumps({"sdk": sdk, "options": options, "model": "gpt4", **given}),
            env={**base_environ(), "SDKS": str(modules)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    return run


@pytest.fixture(params=["portkey", "portkey-seed", "openai", "openai-with-headers", "azure"])
def client(request, gateway, azure_slug) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """(SDK, its options, more for the scenario) of every family, all with the same virtual key."""
    base, sdk = f"{gateway.url}/v1", request.param
    if sdk.startswith("portkey"):
        return sdk, {"apiKey": gateway.key, "virtualKey": azure_slug, "baseURL": base}, {}
    if sdk == "openai":
        options = {"apiKey": gateway.key, "baseURL": base}
        return sdk, {**options, "defaultHeaders": {"x-portkey-virtual-key": azure_slug}}, {}
    if sdk == "azure":
        options = {"apiKey": gateway.key, "endpoint": gateway.url, "apiVersion": VERSION}
        return sdk, {**options, "defaultHeaders": {"x-portkey-virtual-key": azure_slug}}, {"model": "chat"}
    headers = {"apiKey": gateway.key, "virtualKey": azure_slug}
    return sdk, {"apiKey": "sk-anything", "baseURL": base}, {"headers": headers}


@pytest.mark.parametrize("scenario", ["chat", "stream"])
def test_chat(node, client, scenario, upstream):
    sdk, options, more = client
    assert node(scenario, sdk, options, **more)["ok"]["text"] == TEXT
    assert upstream.last.target == f"/openai/deployments/chat/chat/completions?api-version={VERSION}"
    assert (upstream.last.header("api-key"), upstream.last.header("authorization")) == (AZURE_KEY, None)


def test_images_without_a_model(node, client, upstream):
    sdk, options, more = client
    if sdk == "azure":
        pytest.skip("AzureOpenAI writes the model into the path; it has no call without one")
    assert node("images", sdk, options, **more)["ok"]["start"] == "PNG"
    assert upstream.last.path == "/openai/deployments/pictures/images/generations"
    assert upstream.last.header("authorization") is None


def test_the_other_operations(node, client, tmp_path, upstream):
    sdk, options, more = client
    sound, lines = tmp_path / "silence.wav", tmp_path / "batch.jsonl"
    with wave.open(str(sound), "wb") as out:
        out.setparams((1, 2, 8000, 800, "NONE", ""))
        out.writeframes(bytes(1600))
    body = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}
    lines.write_text(
        json.dumps({"custom_id": "1", "method": "POST", "url": "/chat/completions", "body": body})
    )
    assert node("embeddings", sdk, options, **more)["ok"]["count"] > 0
    assert node("transcription", sdk, options, file=str(sound), **more)["ok"]["text"]
    assert node("speech", sdk, options, **more)["ok"]["start"] == "RIFF"
    assert node("files", sdk, options, file=str(lines), **more)["ok"]["status"] == "completed"
    assert all(received.header("api-key") == AZURE_KEY for received in upstream.app.requests)
    assert not any(received.header("authorization") for received in upstream.app.requests)


def test_responses(node, client):
    sdk, options, more = client
    if sdk == "portkey-seed":
        pytest.skip("the first SDK has no responses")
    assert node("responses", sdk, options, **more)["ok"]["text"]


def test_models(node, gateway, azure_slug):
    found = node("models", "openai", {"apiKey": gateway.key, "baseURL": f"{gateway.url}/v1"})
    assert f"@{azure_slug}/gpt4" in found["ok"]["ids"]


def test_the_model_may_name_the_virtual_key(node, gateway, azure_slug, upstream):
    options = {"apiKey": gateway.key, "baseURL": f"{gateway.url}/v1"}
    assert node("chat", "openai", options, model=f"@{azure_slug}/chat-two")["ok"]["text"] == TEXT
    assert upstream.last.path == "/openai/deployments/chat-two/chat/completions"


def test_azure_client_names_the_virtual_key_in_its_model(node, gateway, azure_slug, upstream):
    options = {"apiKey": gateway.key, "endpoint": gateway.url, "apiVersion": VERSION}
    assert node("chat", "azure", options, model=f"@{azure_slug}/chat-two")["ok"]["text"] == TEXT
    assert upstream.last.path == "/openai/deployments/chat-two/chat/completions"


def test_a_base_url_with_a_slash_at_its_end(node, gateway, azure_slug):
    options = {"apiKey": gateway.key, "virtualKey": azure_slug, "baseURL": f"{gateway.url}/v1/"}
    assert node("chat", "portkey", options)["ok"]["text"] == TEXT


def test_response_headers_reach_the_user(node, gateway, azure_slug):
    options = {"apiKey": gateway.key, "virtualKey": azure_slug, "baseURL": f"{gateway.url}/v1"}
    headers = node("chat", "portkey", {**options, "traceID": "trace-9"})["ok"]["headers"]
    assert headers["trace-id"] == "trace-9"
    assert headers["provider"] == "azure-openai"
    assert headers["retry-attempt-count"] == "0"
    assert headers["cache-status"] == "DISABLED"
    assert headers["last-used-option-index"] == "config"


def test_a_virtual_key_for_one_call(node, gateway, azure_slug, upstream):
    options = {"apiKey": gateway.key, "virtualKey": "nowhere", "baseURL": f"{gateway.url}/v1"}
    assert node("override", "portkey", options, virtualKey=azure_slug)["ok"]["text"] == TEXT


def test_an_inline_config(node, gateway, azure_slug, upstream):
    config = {"virtual_key": azure_slug, "override_params": {"model": "chat-two"}}
    options = {"apiKey": gateway.key, "config": config, "baseURL": f"{gateway.url}/v1"}
    assert node("stream", "portkey", options)["ok"]["text"] == TEXT
    assert upstream.last.path == "/openai/deployments/chat-two/chat/completions"


# --- direct credentials


@pytest.mark.parametrize(
    ("sdk", "deployment", "authorization"),
    [
        ("portkey", "azureDeploymendId", "authorization"),  # as Portkey's page has it
        ("portkey", "azureDeploymentId", "Authorization"),
        ("portkey-seed", "azureDeploymentId", "Authorization"),
    ],
)
@pytest.mark.parametrize("scenario", ["chat", "images"])
def test_direct_credentials(node, gateway, upstream, sdk, deployment, authorization, scenario):
    name = "pictures" if scenario == "images" else "chat"
    options = {
        "apiKey": gateway.key,
        "provider": "azure-openai",
        "customHost": upstream.url,
        deployment: name,
        "azureApiVersion": "2025-04-01-preview",
        authorization: f"Bearer {AZURE_KEY}",
        "baseURL": f"{gateway.url}/v1",
    }
    found = node(scenario, sdk, options)
    assert "ok" in found, found
    assert upstream.last.path.startswith(f"/openai/deployments/{name}/")
    assert (upstream.last.header("api-key"), upstream.last.header("authorization")) == (AZURE_KEY, None)


def test_a_forwarded_jwt(node, gateway, upstream):
    options = {
        "apiKey": gateway.key,
        "provider": "azure-openai",
        "customHost": upstream.url,
        "azureDeploymendId": "chat",
        "azureApiVersion": VERSION,
        "authorization": f"Bearer {AZURE_TOKEN}",
        "forwardHeaders": ["authorization"],
        "baseURL": f"{gateway.url}/v1",
    }
    assert node("chat", "portkey", options)["ok"]["text"] == TEXT
    authorization = [value for name, value in upstream.last.headers if name == "authorization"]
    assert authorization == [f"Bearer {AZURE_TOKEN}"]
    assert upstream.last.header("api-key") is None


def test_the_first_sdk_loses_the_credential_and_hears_which_header_is_missing(node, gateway):
    """portkey-ai 1.4.0 drops `azureDeploymendId` and lower-case `authorization` of its own sample."""
    options = {
        "apiKey": gateway.key,
        "provider": "azure-openai",
        "azureResourceName": "res",
        "azureDeploymendId": "dep",
        "azureApiVersion": VERSION,
        "authorization": f"Bearer {AZURE_KEY}",
        "baseURL": f"{gateway.url}/v1",
    }
    for scenario in ("chat", "images"):  # images carry the gateway's key as Authorization
        error = node(scenario, "portkey-seed", options)["error"]
        assert error["status"] == 400
        assert "Authorization" in error["message"]


# --- errors and virtual keys


@pytest.mark.parametrize("scenario", ["chat", "images"])
@pytest.mark.parametrize("sdk", ["portkey", "portkey-seed"])
def test_an_unknown_slug_is_a_404_whose_message_names_it(node, gateway, sdk, scenario):
    options = {"apiKey": gateway.key, "virtualKey": "azure-nowhere", "baseURL": f"{gateway.url}/v1"}
    error = node(scenario, sdk, options)["error"]
    assert (error["name"], error["status"]) == ("NotFoundError", 404)
    assert "virtual key 'azure-nowhere' does not exist" in error["message"]


def test_virtual_keys_through_the_sdk(node, gateway, upstream):
    create = {
        "name": "From Node",
        "provider": "azure-openai",
        "key": AZURE_KEY,
        "customHost": upstream.url,
        "deploymentConfig": [
            {"apiVersion": VERSION, "deploymentName": "chat-two", "alias": "quick", "is_default": True}
        ],
    }
    options = {"apiKey": gateway.key, "baseURL": f"{gateway.url}/v1"}
    found = node("virtualKeys", "portkey", options, create=create)["ok"]
    slug = found["made"]["slug"]
    assert found["made"]["data"]["slug"] == slug
    assert found["read"]["name"] == "From Node"
    assert slug in [item["slug"] for item in found["list"]["data"]]
    assert AZURE_KEY not in json.dumps(found)
    user = {**options, "virtualKey": slug}
    assert node("chat", "portkey", user, model="quick")["ok"]["text"] == TEXT
    assert upstream.last.path == "/openai/deployments/chat-two/chat/completions"


def test_api_keys_through_the_sdk(node, gateway):
    options = {"apiKey": gateway.key, "baseURL": f"{gateway.url}/v1"}
    create = {
        "type": "workspace",
        "sub-type": "service",
        "name": "made by Node",
        "scopes": ["completions.write"],
        "rateLimits": [{"type": "requests", "unit": "rpm", "value": 7}],
    }
    seen = node("apiKeys", "portkey", options, create=create)["ok"]
    assert seen["made"]["key"].startswith("gw-")
    assert (seen["read"]["name"], seen["read"]["rate_limits"]) == ("renamed", create["rateLimits"])
    assert seen["total"] == seen["left"] + 1


# --- the log


RANGE = {"time_of_generation_min": "2020-01-01T00:00:00Z", "time_of_generation_max": "2100-01-01T00:00:00Z"}


def written(gateway, trace: str, number: int) -> None:
    """Wait until the trace has that many records: they are written within a second."""
    for _ in range(1200):
        if len(gateway.api("GET", f"/v1/logs?trace_id={trace}")["data"]) >= number:
            return
        threading.Event().wait(0.05)
    pytest.fail(f"trace {trace} has not its {number} records")


def test_logs_and_exports_through_the_sdk(node, gateway):
    """The SDK writes a list of logs as an object whose keys count."""
    options = {"apiKey": gateway.key, "baseURL": f"{gateway.url}/v1"}
    first = node("logs", "portkey", options, trace="node-logs")["ok"]
    assert first["written"]["status"] == "success"
    written(gateway, "node-logs", 2)
    seen = node("logs", "portkey", options, trace="node-logs")["ok"]
    assert (seen["made"]["object"], seen["made"]["total"], seen["updated"]["total"]) == ("export", 2, 2)
    assert seen["made"]["requested_data"] == ["id", "trace_id", "cost"]
    assert seen["listed"] >= 2
    assert (seen["state"], seen["stopped"]) == ("success", "stopped")
    (row, *_) = gateway.api("GET", "/v1/logs?trace_id=node-logs")["data"]
    assert row["metadata"] == {"_user": "u-node"}


def test_feedback_through_the_sdk(node, gateway):
    """The SDK writes `trace_id`, though its user gives `traceID`."""
    options = {"apiKey": gateway.key, "baseURL": f"{gateway.url}/v1"}
    seen = node("feedback", "portkey", options, trace="node-judged")["ok"]
    assert seen["made"]["status"] == seen["updated"]["status"] == "success"
    (judged,) = gateway.api("GET", "/v1/traces/node-judged")["feedback"]
    assert (judged["value"], judged["weight"], judged["metadata"]) == (7, 1, {"by": "node"})
    assert seen["updated"]["feedback_ids"] == [judged["id"]]


def test_all_of_analytics_through_the_sdk(node, gateway, azure_slug):
    options = {"apiKey": gateway.key, "virtualKey": azure_slug, "baseURL": f"{gateway.url}/v1"}
    options |= {"traceID": "node-analytics", "metadata": json.dumps({"_user": "u-node"})}
    assert node("chat", "portkey", options)["ok"]["text"] == TEXT
    written(gateway, "node-analytics", 1)
    seen = node("analytics", "portkey", options, range=RANGE)["ok"]
    assert len(seen["graphs"]) == 17
    for name, graph in seen["graphs"].items():
        assert (graph["object"], type(graph["summary"])) == ("analytics-graph", dict), name
        assert isinstance(graph["data_points"], list), name
    for name, group in (seen["groups"] | seen["grouped"]).items():
        assert (group["object"], len(group["data"])) == ("list", min(group["total"], 50)), name
    assert "u-node" in [row["user"] for row in seen["groups"]["users"]["data"]]
    assert "u-node" in [row["metadata_value"] for row in seen["groups"]["metadata"]["data"]]
    assert {"model", "requests", "cost", "object"} == set(seen["grouped"]["model"]["data"][0])
    assert seen["cache"]["summary"]["total_requests"] >= 1
