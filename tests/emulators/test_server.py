"""The server helper: ready when started, gone when stopped."""

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from emulators.base import Emulator
from emulators.server import Server


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


def test_app_is_started_before_and_stopped_after():
    events: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        events.append("up")
        yield
        events.append("down")

    with Server(Starlette(routes=[Route("/", hello)], lifespan=lifespan)) as server:
        assert events == ["up"]
        assert httpx.get(server.url).text == "hello"
    assert events == ["up", "down"]
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url)


def test_failing_start_is_raised():
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        raise OSError("no disk")
        yield

    with pytest.raises(RuntimeError, match="did not start"):
        Server(Starlette(lifespan=lifespan)).start()


def test_stopping_cancels_what_still_runs():
    begun, cancelled = threading.Event(), []

    async def wait(request: Request) -> PlainTextResponse:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(True)
        return PlainTextResponse("never")

    with (
        Server(Starlette(routes=[Route("/", wait)])) as server,
        socket.create_connection((server.host, server.port)) as connection,
    ):
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert begun.wait(10)
        server.stop()
    assert cancelled == [True]


def test_ipv6_and_tls(certificates):
    app = Starlette(routes=[Route("/", hello)])
    trust = ssl.create_default_context(cafile=certificates.ca)
    trust.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    with Server(app, host="::1", tls=certificates) as server:
        assert server.url.startswith("https://[::1]:")
        assert httpx.get(server.url, verify=trust).text == "hello"


def test_key_is_readable_by_its_owner_alone(certificates):
    assert certificates.key.stat().st_mode & 0o077 == 0


def test_bug_in_an_emulator_is_said_aloud():
    with Server(Emulator()) as server:
        answer = httpx.get(server.url)
    assert answer.status_code == 500
    assert "NotImplementedError" in answer.json()["error"]["message"]
