"""Clients that break HTTP itself, over plain sockets; and a log that tells everything but secrets."""

import gzip
import json
import re
import signal
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from emulators.steps import Html, Reset, Slow, throttled
from tests.e2e.conftest import AZURE_KEY, AZURE_TOKEN, VERSION, azure_key

BODY = b'{"model": "gpt4", "messages": []}'


def raw(gateway: Any, request: bytes) -> bytes:
    """All that the gateway answers until it closes, or until it waits for more."""
    host, port = gateway.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as wire:
        wire.sendall(request)
        wire.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := wire.recv(65536):
            answer += piece
    return answer


def post(gateway: Any, *headers: bytes, body: bytes = BODY) -> bytes:
    head = [
        b"POST /v1/chat/completions HTTP/1.1",
        b"Host: gateway",
        b"Connection: close",
        b"Content-Type: application/json",
        b"x-portkey-api-key: " + gateway.key.encode(),
        *headers,
    ]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


MALFORMED = {
    "two lengths": lambda g: post(g, b"Content-Length: 5", b"Content-Length: 33"),
    "length and chunked": lambda g: post(
        g, b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"
    ),
    "a length that is no number": lambda g: post(g, b"Content-Length: five"),
    "bad chunks": lambda g: post(g, b"Transfer-Encoding: chunked", body=b"zz\r\n{}\r\n0\r\n\r\n"),
    "a line end in a header": lambda g: post(g, b"x-portkey-trace-id: a\rb", b"Content-Length: 33"),
    "a zero in a header": lambda g: post(g, b"x-portkey-trace-id: a\0b", b"Content-Length: 33"),
    "no HTTP": lambda g: b"hello\r\n\r\n",
    "a space in a header's name": lambda g: post(g, b"bad name: x", b"Content-Length: 33"),
}


@pytest.mark.parametrize("build", MALFORMED.values(), ids=MALFORMED)
def test_broken_http_is_refused_before_the_gateway_sees_it(gateway, upstream, build):
    answer = raw(gateway, build(gateway))
    assert answer.startswith(b"HTTP/1.1 400 "), answer[:200]
    assert upstream.app.requests == []
    assert httpx.get(f"{gateway.url}/health").status_code == 200


def test_a_body_that_never_comes_whole_is_no_request(gateway, upstream, azure_slug):
    raw(gateway, post(gateway, b"x-portkey-virtual-key: " + azure_slug.encode(), b"Content-Length: 9999"))
    assert upstream.app.requests == []
    assert httpx.get(f"{gateway.url}/health").status_code == 200


@pytest.mark.parametrize(
    "target", [b"*", b"/v1/../health", b"//evil.example/v1", b"http://evil.example/v1/x", b"/%"]
)
def test_odd_request_targets_get_an_answer(gateway, target):
    answer = raw(gateway, b"OPTIONS " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert re.match(rb"HTTP/1.1 (200|400|404|405) ", answer), answer[:200]


def test_a_header_cannot_be_smuggled_by_trace_id_or_metadata(gateway, azure_slug):
    """A client that escapes line ends gets its text back escaped."""
    answer = httpx.post(
        f"{gateway.url}/v1/chat/completions",
        headers={
            "x-portkey-api-key": gateway.key,
            "x-portkey-virtual-key": azure_slug,
            "x-portkey-trace-id": "a%0d%0ax-evil: 1",
            "x-portkey-metadata": '{"a\\r\\nx-evil": "1\\r\\n2"}',
        },
        json={"model": "gpt4", "messages": [{"role": "user", "content": "x"}]},
    )
    assert answer.status_code == 200
    assert "x-evil" not in answer.headers
    assert answer.headers["x-portkey-trace-id"] == "a%0d%0ax-evil: 1"


def test_no_secret_is_logged_at_any_level(start_gateway, upstream):
    gateway = start_gateway(loud=True, GATEWAY_TRUSTED_HOSTS=upstream.host)
    slug = gateway.api("POST", "/v1/virtual-keys", json=azure_key(upstream))["slug"]
    function_key, secret_prompt = "function-key-0123456789", "a prompt nobody may read"
    by_key = {"x-portkey-api-key": gateway.key, "x-portkey-virtual-key": slug}
    direct = {
        "x-portkey-api-key": gateway.key,
        "x-portkey-provider": "azure-openai",
        "x-portkey-custom-host": upstream.url,
        "x-portkey-azure-api-version": VERSION,
    }
    variants: list[dict[str, str]] = [
        by_key,
        {**direct, "api-key": AZURE_KEY},
        {**direct, "authorization": f"Bearer {AZURE_TOKEN}", "x-portkey-forward-headers": "authorization"},
        {**direct, "x-portkey-azure-ad-token": AZURE_TOKEN},
        {**direct, "api-key": "wrong-key-0123456789"},
        {"x-portkey-api-key": "gw-wrong-gateway-key-0123456789"},
        {**by_key, "x-portkey-config": json.dumps({"provider": "azure-openai", "api_key": AZURE_KEY})},
        {**by_key, "x-portkey-config": json.dumps({"api_key": AZURE_KEY, "targets": 1})},
        {**by_key, "x-functions-key": function_key},
    ]
    steps = [None, Reset(), Html(502), throttled(1), Slow(between_chunks_s=0.01)]
    for headers in variants:
        for step in steps:
            if step is not None:
                upstream.app.script("chat", [step])
            for stream in (False, True):
                httpx.post(
                    f"{gateway.url}/v1/chat/completions?code={function_key}",
                    headers=headers,
                    json={
                        "model": "chat",
                        "stream": stream,
                        "messages": [{"role": "user", "content": secret_prompt}],
                    },
                )
            upstream.app.clear_scripts()
    assert gateway.stop(signal.SIGTERM) in (0, -signal.SIGTERM)
    written = gateway.output.replace(f"shown this once: {gateway.key}", "")
    assert "DEBUG asyncio" in written  # it was loud indeed
    assert "Logging error" not in written
    secrets = [gateway.key, AZURE_KEY, AZURE_TOKEN, function_key, "wrong-key", "gw-wrong", secret_prompt]
    assert [secret for secret in secrets if secret in written] == []
    kept = stored_text(gateway.folder / "data")
    assert secret_prompt in kept  # bodies are kept, so the search does find what is there
    assert [secret for secret in secrets[:-1] if secret in kept] == []


def stored_text(folder: Path) -> str:
    """All that the records hold, unpacked."""
    texts = []
    with closing(sqlite3.connect(folder / "gateway.db")) as database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in database.execute(f"SELECT * FROM {table}"):
                texts += [_plain(value) for value in row]
    return "\n".join(texts)


def _plain(value: Any) -> str:
    if not isinstance(value, bytes):
        return str(value)
    return (gzip.decompress(value) if value.startswith(b"\x1f\x8b") else value).decode("utf-8", "replace")
