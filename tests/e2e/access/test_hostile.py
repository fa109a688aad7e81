"""What callers may try: guessing, injecting, smuggling, and looking for keys where none may stand."""

import hmac
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gateway.auth
from gateway.adapters.secret_cache import SecretCache
from gateway.auth import Authenticator
from gateway.core.errors import Unauthenticated
from gateway.core.headers import RequestHeaders

ADMIN = "gw-" + "a" * 43
MESSAGES = [{"role": "user", "content": "hi"}]


async def test_keys_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is sent, it is digests that are compared, by the function made for it."""
    compared: list[tuple[int, int]] = []
    real = hmac.compare_digest

    def spy(known: bytes, given: bytes) -> bool:
        compared.append((len(known), len(given)))
        return real(known, given)

    monkeypatch.setattr(gateway.auth.hmac, "compare_digest", spy)
    teller = Authenticator(SecretCache.__new__(SecretCache), admin_key=ADMIN)
    for token in ("gw-" + "a" * 42 + "b", "b", "gw-" + "a" * 42, "é" * 40):
        before = len(compared)
        with pytest.raises(Unauthenticated):
            await teller.identify(RequestHeaders([(b"x-portkey-api-key", token.encode())]))
        assert compared[before:] == [(32, 32)]
    assert (await teller.identify(RequestHeaders([(b"api-key", ADMIN.encode())]))).caller.id == "admin"


def test_a_wrong_key_says_nothing_of_why(world: Any) -> None:
    expired = world.make_key(expires_at="2001-01-01T00:00:00Z")["key"]
    revoked = world.make_key()
    world.call("DELETE", f"/api-keys/{revoked['id']}")
    answers = [world.chat(key) for key in (expired, revoked["key"], "gw-" + "b" * 43, "gw-short", "a.b.c")]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.json()["message"] for answer in answers}) == 1


def test_keys_stand_nowhere(world: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Not in logs, answers, records, documents: good ones, wrong ones and upstream ones."""
    with caplog.at_level(logging.DEBUG):
        made = world.make_key(name="searched for")
        wrong = "gw-" + "w" * 43
        texts = [
            world.chat(made["key"]).text,
            world.chat(wrong).text,
            world.chat(made["key"], slug="nothing").text,
            world.chat(made["key"], messages=[{"role": "user", "content": f"my key is {made['key']}"}]).text,
            world.call("GET", "/virtual-keys", key=made["key"]).text,
            world.call("GET", "/api-keys").text,
            world.call("GET", f"/api-keys/{made['id']}").text,
            world.call("GET", f"/api-keys/{made['key']}").text.replace(made["key"], ""),
        ]
        broken = world.http.post(
            f"{world.url}/v1/chat/completions",
            headers={"authorization": f"Bearer {made['key']}", "x-portkey-virtual-key": "up"},
            content=b'{"model": "chat", ' + made["key"].encode(),
        )
        texts.append(broken.text)
        world.server.stop()  # everything is written
    logged = "\n".join(
        f"{record.getMessage()} {record.__dict__}" for record in caplog.records if record.name != "httpx"
    )
    stored = [
        path.read_bytes() for path in Path(world.environ["GATEWAY_DATA_DIR"]).rglob("*") if path.is_file()
    ]
    for key in (made["key"], wrong, ADMIN, "upstream-key-0123456789"):
        # The last of these quotes what the caller put into the message itself.
        assert not [text for text in texts[:3] + texts[4:] if key in text]
        assert key not in logged
        assert not [data for data in stored if key.encode() in data]
    world.server = type(world.server)(world.door)  # for the fixture to stop


@pytest.mark.parametrize("name", ["x-portkey-metadata", "x-portkey-trace-id", "x-portkey-virtual-key"])
def test_a_line_break_in_a_header_injects_nothing(world: Any, name: str) -> None:
    """Escaped in JSON, or in a slug: it reaches neither the upstream's headers nor the answer's."""
    value = (
        json.dumps({"team": "a\r\nx-evil: 1", "b\r\nx-evil: 2": "c"})
        if "meta" in name
        else "up%0d%0ax-evil: 1"
    )
    answer = world.chat(ADMIN, headers={name: value})
    assert answer.status_code in (200, 404)
    assert "x-evil" not in answer.headers
    for request in world.upstream.requests:
        assert not [header for header, _ in request.headers if header.lower() == "x-evil"]


@pytest.mark.parametrize(
    "slug", ["../up", "up/../up", "up%2e%2e", "up\u00e9", "u" * 200, "up;x", "up?x=1", "up#", "."]
)
def test_a_slug_is_a_name_and_nothing_else(world: Any, slug: str) -> None:
    body = {"model": f"@{slug}/chat", "messages": MESSAGES}
    answer = world.call("POST", "/chat/completions", json=body)
    assert answer.status_code == 404 or (slug.partition("/")[0] == "up" and answer.status_code == 200)
    assert world.call("GET", f"/virtual-keys/{slug.replace('/', '%2f')}").status_code in (404, 200, 405)
    made = world.call(
        "POST", "/virtual-keys", json={"name": "x", "slug": slug, "key": "k", "resource_name": "r"}
    )
    assert made.status_code == 400


def test_metadata_of_a_key_goes_into_no_header(world: Any) -> None:
    made = world.make_key(defaults={"metadata": {"team": "a\r\nx-evil: 1"}})
    answer = world.chat(made["key"])
    assert answer.status_code == 200
    assert "x-evil" not in answer.headers
    assert "x-evil" not in dict(world.upstream.requests[-1].headers)


# --- the server in front


@pytest.fixture
def address(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """`python -m gateway` as it is run."""
    environ = {**os.environ, "GATEWAY_ADMIN_KEY": ADMIN, "GATEWAY_DATA_DIR": str(tmp_path / "data")}
    environ["PYTHONPATH"] = os.getcwd()
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "--port", "0"],
        env=environ,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    url = next(line.split()[-1] for line in process.stdout if "Gateway on" in line)
    host, _, port = url.removeprefix("http://").partition(":")
    yield host, int(port)
    process.terminate()
    process.communicate(timeout=30)


BODY = b'{"model":"@up/chat"}'
START = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nx-portkey-api-key: " + ADMIN.encode() + b"\r\n"
)
SECOND = b"GET /v1/configs HTTP/1.1\r\nhost: gateway\r\n\r\n"

SHAPES = {
    "two lengths": START + b"content-length: 20\r\ncontent-length: 5\r\n\r\n" + BODY,
    "two lengths in one": START + b"content-length: 20, 5\r\n\r\n" + BODY,
    "a length and chunks": START
    + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    + SECOND,
    "chunks and a length": START
    + b"transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n"
    + SECOND,
    "a length that is negative": START + b"content-length: -1\r\n\r\n" + BODY,
    "a length that is no number": START + b"content-length: 0x14\r\n\r\n" + BODY,
    "a length with a sign": START + b"content-length: +20\r\n\r\n" + BODY,
    "a chunk's size that is no number": START + b"transfer-encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n",
    "a chunk longer than it says": START + b"transfer-encoding: chunked\r\n\r\n2\r\nabcdef\r\n0\r\n\r\n",
    "a space before the colon": START + b"content-length : 20\r\n\r\n" + BODY,
    "a folded header": START + b"x-a: b\r\n c\r\ncontent-length : 20\r\n\r\n" + BODY,
    "another coding": START + b"transfer-encoding: chunked, identity\r\n\r\n" + BODY,
    "a line break of its own": START + b"x-a: b\rx-b: c\r\ncontent-length: 20\r\n\r\n" + BODY,
    "a zero byte": START + b"x-a: b\0c\r\ncontent-length: 20\r\n\r\n" + BODY,
}


def exchange(address: tuple[str, int], raw: bytes) -> bytes:
    with socket.create_connection(address, timeout=10) as sock:
        sock.sendall(raw)
        sock.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := sock.recv(65536):
            received += chunk
        return received


def test_shapes_of_request_smuggling_are_refused_by_the_server(address: tuple[str, int]) -> None:
    wrong = {}
    for name, raw in SHAPES.items():
        received = exchange(address, raw)
        if not received.startswith(b"HTTP/1.1 400") or received.count(b"HTTP/1.1 ") != 1:
            wrong[name] = received[:300]
    assert wrong == {}
