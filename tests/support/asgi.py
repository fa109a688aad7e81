"""A client that calls an ASGI app in the same process: streams, and leaves when it is told to."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import orjson
from starlette.types import ASGIApp

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


@dataclass(slots=True)
class Exchange:
    """One request and what came back so far. `send_failed`: what the app raised, as a server sees it."""

    status: int = 0
    raw_headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)
    ended: bool = False  # the app said that the body is whole
    error: BaseException | None = None

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in self.raw_headers}

    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass(slots=True)
class Client:
    """Calls `app`, without a network."""

    app: ASGIApp
    headers: Mapping[str, str] = field(default_factory=dict)

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Headers = (),
        json: Any = None,
        body: bytes | Iterable[bytes] = b"",
        leave_when: Callable[[Exchange], bool] | None = None,
        leave: asyncio.Event | None = None,
    ) -> Exchange:
        """The finished exchange. The client leaves when `leave` is set or `leave_when` holds of a chunk."""
        pairs = list(self.headers.items())
        pairs += list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        if json is not None:
            body = orjson.dumps(json)
            if not any(name.lower() == "content-type" for name, _ in pairs):
                pairs.append(("content-type", "application/json"))
        exchange = Exchange()
        wire = _Wire(exchange, [body] if isinstance(body, bytes) else list(body), leave_when, leave)
        try:
            await self.app(_scope(method, path, pairs), wire.receive, wire.send)
        except Exception as error:
            exchange.error = error
        return exchange


class _Wire:
    """What a server stands for: `receive` and `send`."""

    def __init__(
        self,
        exchange: Exchange,
        pieces: list[bytes],
        leave_when: Callable[[Exchange], bool] | None,
        leave: asyncio.Event | None,
    ) -> None:
        self._exchange, self._pieces, self._leave_when = exchange, pieces, leave_when
        self._left = leave or asyncio.Event()
        self._done = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        if self._pieces:
            piece = self._pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(self._pieces)}
        waits = [asyncio.ensure_future(event.wait()) for event in (self._left, self._done)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        assert not self._exchange.ended, "the app sent more after the end"
        if message["type"] == "http.response.start":
            assert not self._exchange.status, "the app began twice"
            self._exchange.status, self._exchange.raw_headers = message["status"], list(message["headers"])
        else:
            assert self._exchange.status, "the app sent a body before the head"
            if message.get("body"):
                self._exchange.chunks.append(message["body"])
            if not message.get("more_body", False):
                self._exchange.ended = True
                self._done.set()
        if self._leave_when is not None and self._leave_when(self._exchange):
            self._left.set()
        await asyncio.sleep(0)


def _scope(method: str, path: str, pairs: list[tuple[str, str]]) -> dict[str, Any]:
    raw, _, query = path.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(raw),
        "raw_path": raw.encode("latin-1", "replace"),
        "query_string": query.encode("latin-1"),
        "root_path": "",
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in pairs],
        "client": ("127.0.0.1", 40000),
        "server": ("127.0.0.1", 7071),
    }
