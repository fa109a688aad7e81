"""curl against the gateway: the sample of Portkey's page, as written but for its quoting, and its kin."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.conftest import AZURE_KEY, AZURE_TOKEN, VERSION
from tests.support.process import base_environ

BODY = '{"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello!"}]}'


@pytest.fixture
def curl(gateway) -> Callable[..., tuple[int, dict[str, str], str]]:
    """(status, headers, body) of a call of curl."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")

    def run(path: str, *arguments: str) -> tuple[int, dict[str, str], str]:
        ran = subprocess.run(
            ["curl", "--silent", "--show-error", "--include", "--no-buffer", gateway.url + path, *arguments],
            env=base_environ(),
            capture_output=True,
            timeout=120,
            check=True,
        )
        head, _, body = ran.stdout.partition(b"\r\n\r\n")
        while head.startswith(b"HTTP/1.1 100"):
            head, _, body = body.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return int(first.split()[1]), headers, body.decode()

    return run


def direct(gateway: Any, upstream: Any, *more: str) -> list[str]:
    said = [
        "Content-Type: application/json",
        f"x-portkey-api-key: {gateway.key}",
        "x-portkey-provider: azure-openai",
        f"x-portkey-custom-host: {upstream.url}",
        f"x-portkey-azure-api-version: {VERSION}",
        *more,
    ]
    return [part for header in said for part in ("-H", header)]


@pytest.mark.parametrize("key", [f"api-key: Bearer {AZURE_KEY}", f"api-key: {AZURE_KEY}"])
def test_the_sample_of_the_page(curl, gateway, upstream, key):
    arguments = direct(gateway, upstream, key, "x-portkey-azure-deployment-id: chat")
    status, headers, body = curl("/v1/chat/completions", *arguments, "-d", BODY)
    assert (status, json.loads(body)["choices"][0]["message"]["content"]) == (200, "You said: Hello!")
    assert headers["x-portkey-trace-id"]
    assert upstream.last.target == f"/openai/deployments/chat/chat/completions?api-version={VERSION}"
    assert upstream.last.header("api-key") == AZURE_KEY
    assert upstream.last.body == BODY.encode()


def test_the_sample_with_its_empty_deployment_variable(curl, gateway, upstream):
    """curl drops a header without a value; the model then names the deployment."""
    arguments = direct(gateway, upstream, f"api-key: Bearer {AZURE_KEY}", "x-portkey-azure-deployment-id: ")
    status, _, _ = curl("/v1/chat/completions", *arguments, "-d", BODY.replace("gpt-4o", "chat"))
    assert status == 200
    assert upstream.last.path == "/openai/deployments/chat/chat/completions"


def test_a_jwt(curl, gateway, upstream):
    arguments = direct(
        gateway,
        upstream,
        f"Authorization: Bearer {AZURE_TOKEN}",
        "x-portkey-forward-headers: authorization",
        "x-portkey-azure-deployment-id: chat",
    )
    assert curl("/v1/chat/completions", *arguments, "-d", BODY)[0] == 200
    assert upstream.last.header("api-key") is None


def test_a_stream_by_virtual_key(curl, gateway, azure_slug):
    status, headers, body = curl(
        "/v1/chat/completions",
        *("-H", f"Authorization: Bearer {gateway.key}", "-H", "Content-Type: application/json"),
        *("-d", json.dumps({**json.loads(BODY), "model": f"@{azure_slug}/gpt4", "stream": True})),
    )
    assert status == 200
    assert headers["content-type"].startswith("text/event-stream")
    assert body.endswith("data: [DONE]\n\n")


def test_azures_own_url_with_a_gateway_key(curl, gateway, azure_slug, upstream):
    status, _, _ = curl(
        f"/openai/deployments/chat/chat/completions?api-version={VERSION}",
        *("-H", f"api-key: {gateway.key}", "-H", f"x-portkey-virtual-key: {azure_slug}"),
        *("-H", "Content-Type: application/json", "-d", BODY),
    )
    assert status == 200
    assert upstream.last.header("api-key") == AZURE_KEY


def test_curls_default_content_type_is_refused_with_the_fix(curl, gateway, azure_slug):
    status, _, body = curl(
        "/v1/chat/completions",
        *("-H", f"x-portkey-api-key: {gateway.key}", "-H", f"x-portkey-virtual-key: {azure_slug}"),
        *("-d", BODY),
    )
    assert status == 415
    assert "application/json" in json.loads(body)["message"]


def test_images_by_a_virtual_key(curl, gateway, azure_slug):
    status, headers, _ = curl(
        "/v1/images/generations",
        *("-H", f"x-portkey-api-key: {gateway.key}", "-H", f"x-portkey-virtual-key: {azure_slug}"),
        *("-H", "Content-Type: application/json", "-d", '{"prompt": "Lucy", "size": "1024x1024"}'),
    )
    assert status == 200
    assert headers["x-portkey-provider"] == "azure-openai"
    assert headers["x-portkey-request-id"]


def test_health_needs_no_key_and_tells_nothing_more(curl):
    status, headers, body = curl("/health", "-H", "x-portkey-trace-id: probe-1")
    assert (status, json.loads(body)) == (200, {"status": "up"})
    assert headers["x-portkey-trace-id"] == "probe-1"


def test_an_image_request_shows_in_the_log_with_its_request_and_response(curl, gateway, azure_slug):
    _, headers, _ = curl(
        "/v1/images/generations",
        *("-H", f"x-portkey-api-key: {gateway.key}", "-H", f"x-portkey-virtual-key: {azure_slug}"),
        *("-H", "Content-Type: application/json", "-d", '{"prompt": "Lucy in the sky"}'),
    )
    trace = headers["x-portkey-trace-id"]
    listed: list[Any] = []
    for _ in range(600):  # records are written in the background
        listed = gateway.api("GET", f"/v1/logs?trace_id={trace}")["data"]
        if listed:
            break
        time.sleep(0.05)
    (row,) = listed
    detail = json.dumps(gateway.api("GET", f"/v1/logs/{row['id']}"))
    assert "Lucy in the sky" in detail
    assert "azure-openai" in detail
    assert AZURE_KEY not in detail
    assert gateway.key not in detail
