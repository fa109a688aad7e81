"""One connection to an upstream: HTTP/1.1, one request after the other.

httptools (llhttp) reads, this file only keeps order. It stands in for a client library since it costs
a third of one: figures in `docs/decisions/002-http-stack.md`.
"""

import asyncio
import math
import re
import select
from typing import cast

import httptools
import httpx

MAX_DRY_BYTES = 128 * 1024  # of a head, of trailers, of chunk extensions: what no body comes out of
_HIGH_WATER = 256 * 1024  # bytes of body unread: then the upstream has to wait
_JOINED = 64 * 1024  # bytes of a request body that go out in one write with the head

RawHeaders = list[tuple[bytes, bytes]]


class HungUp(httpx.RemoteProtocolError):
    """The connection ended without one byte of an answer."""


class Connection(asyncio.Protocol):
    """Sends a request, gives its answer's head, then the body piece by piece.

    Faults are httpx's: `RemoteProtocolError` where no answer came (`HungUp`) or it is none, `ReadError`
    where it broke off, `ReadTimeout` where the upstream fell silent for `patience` seconds.
    """

    def __init__(self, patience: float, living: set["Connection"]) -> None:
        self.status = 0
        self.headers: RawHeaders = []
        self.idle_since = 0.0  # on the loop's clock
        self.keep_alive = math.inf  # seconds the upstream lets it be idle, as far as it says
        self._loop = asyncio.get_running_loop()
        self._patience = patience
        self._living = living  # every connection that is open
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None  # while an exchange runs
        self._bodyless = False  # the answer to HEAD has none, whatever its headers say
        self._mute = True  # not one byte of an answer came
        self._head = False  # the final head is here
        self._interim = False  # inside a 1xx answer
        self._done = False  # the answer is whole
        self._reusable = False
        self._error: httpx.TransportError | None = None
        self._chunks: list[bytes] = []
        self._waiting = 0  # bytes in `_chunks`
        self._dry = 0
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._watchdog: asyncio.TimerHandle | None = None
        self._heard = 0.0  # when the upstream last said something

    # --- what the transport calls

    @property
    def usable(self) -> bool:
        """Whether another request can be sent on it."""
        return self._reusable and self._transport is not None and not self._transport.is_closing()

    def spoke(self) -> bool:
        """Whether the idle connection has something to read: its end, that the loop has yet to see."""
        assert self._transport is not None
        connected = self._transport.get_extra_info("socket")
        if connected is None or not hasattr(select, "poll"):  # Windows: the loop will see it
            return False
        poll = select.poll()
        poll.register(connected.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    async def exchange(self, head: bytes, body: bytes, *, bodyless: bool) -> None:
        """Send a request; returns when `status` and `headers` are those of its answer."""
        if self._transport is None or self._transport.is_closing():
            raise httpx.ConnectError("the upstream hung up at once")
        self._parser = httptools.HttpResponseParser(self)
        self.status, self.headers = 0, []
        self._head = self._interim = self._done = self._reusable = False
        self._bodyless, self._mute = bodyless, True
        self._dry = 0
        self._heard = self._loop.time()
        if self._watchdog is None:
            self._watchdog = self._loop.call_later(self._patience, self._watch)
        if len(body) <= _JOINED:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)
        while not self._head:
            await self._next()

    async def read(self) -> bytes:
        """The next bytes of the body, empty at its end."""
        while not self._chunks:
            if self._done:
                return b""
            await self._next()
        chunks, self._chunks, self._waiting = self._chunks, [], 0
        if self._paused:
            self._paused = False
            if self._transport is not None:
                self._transport.resume_reading()
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    @property
    def finished(self) -> bool:
        """Whether the answer was read to its end."""
        return self._done and not self._chunks

    def close(self) -> None:
        """At once: what is under way is lost."""
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None
        if self._transport is not None:
            self._transport.abort()

    async def _next(self) -> None:
        """Wait until something happened; raises what went wrong."""
        if self._error is None:
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._error is not None and not self._chunks:
            raise self._error

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: httpx.TransportError) -> None:
        """Nothing more can come."""
        if self._parser is not None and not self._done and self._error is None:
            self._error = error
            self._wake()
        self.close()

    def _watch(self) -> None:
        """Look whether the upstream fell silent; a client that does not read is no fault of it."""
        self._watchdog = None
        if self._parser is None or self._done:
            return
        silent = 0.0 if self._paused else self._loop.time() - self._heard
        if silent >= self._patience:
            self._fail(httpx.ReadTimeout(f"the upstream said nothing for {self._patience:g} s"))
        else:
            self._watchdog = self._loop.call_later(self._patience - silent, self._watch)

    # --- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by type
        self._reusable = True
        self._living.add(self)

    def data_received(self, data: bytes) -> None:
        if self._parser is None or self._done:  # nothing was asked: such an answer belongs to nobody
            self._reusable = False
            self.close()
            return
        self._heard, self._mute = self._loop.time(), False
        self._dry += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._reusable = False
            self._fail(httpx.RemoteProtocolError(f"the upstream's answer is not HTTP: {error!s:.100}"))
            return
        if self._dry > MAX_DRY_BYTES and not self._done:
            self._fail(httpx.RemoteProtocolError("the upstream's headers are too long"))
        elif self._waiting > _HIGH_WATER and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._reusable = False
        if self._head and exc is None and _ends_with_connection(self.headers):
            self._done = True
            self._wake()
        elif self._head:
            self._fail(httpx.ReadError("the upstream broke off in its answer"))
        else:
            kind = HungUp if self._mute else httpx.RemoteProtocolError
            self._fail(kind("the upstream hung up without an answer"))
        self.close()
        self._transport = None
        self._living.discard(self)

    # --- what the parser calls

    def on_message_begin(self) -> None:
        if self._done:  # a second answer to one request
            self._reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head:  # trailers are dropped
            self.headers.append((name, value))
            if len(name) == 10 and name.lower() == b"keep-alive":
                self.keep_alive = _keep_alive(value)

    def on_headers_complete(self) -> None:
        if self._done:
            return
        assert self._parser is not None
        status = self._parser.get_status_code()
        self._dry = 0
        if 100 <= status < 200:  # 103, or 100 that nobody asked for; RFC 9110 section 15.2
            self._interim, self.headers = True, []
            return
        self.status, self._head = status, True
        if self._bodyless:
            self._done = True
        self._wake()

    def on_body(self, data: bytes) -> None:
        if self._done:
            return
        self._dry = 0
        self._chunks.append(data)
        self._waiting += len(data)
        self._wake()

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
        elif not self._done:
            assert self._parser is not None
            self._done = True
            self._reusable = self._parser.should_keep_alive()
            self._wake()


def _keep_alive(value: bytes) -> float:
    """Seconds an idle connection may be used again, one less than it is kept. As Node sends it: `timeout=5`."""
    found = re.search(rb"timeout=(\d{1,6})", value)
    return max(0.0, int(found[1]) - 1) if found else math.inf


def _ends_with_connection(headers: RawHeaders) -> bool:
    """Whether the body has no other end than the connection's. Source: RFC 9112 section 6.3."""
    return not any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in headers)
