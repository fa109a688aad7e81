"""An answer passed on as it arrives: events one by one, bytes and order unchanged."""

import asyncio
from collections.abc import Callable

import httpx
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.call import Answer, Call
from gateway.core.jsontext import dumps
from gateway.core.record import Record
from gateway.core.tally import Tally
from gateway.departure import Departure

PING_SECONDS = 15.0  # the load balancer in front drops a connection that is quiet for minutes
PING = b": ping\n\n"
MAX_KEPT_BYTES = 16 * 1024 * 1024  # of a stream, for its record


class RelayedStream(Response):
    """An answer passed on as it arrives. Its record is put away when the last byte is sent, the
    upstream breaks off, or the client leaves, whichever comes first.

    Everything needed at the end is synchronous: in the Functions worker an `await` after the client
    left may never come back.
    """

    def __init__(
        self,
        call: Call,
        answer: Answer,
        headers: list[tuple[bytes, bytes]],
        *,
        timer: Callable[[], float],
        begun: float,
        finish: Callable[[Record, float], None],
        ping_seconds: float = PING_SECONDS,
    ) -> None:
        content_type = answer.headers.get("content-type", "application/octet-stream")
        self._events = content_type.lower().startswith("text/event-stream")
        self.status_code = answer.outcome.status
        self.background = None
        self.body = b""
        self.raw_headers = [*headers, (b"content-type", content_type.encode("latin-1"))]
        self._add_headers(answer)
        self._call, self._answer = call, answer
        self._timer, self._begun, self._finish = timer, begun, finish
        self._ping_seconds = ping_seconds
        self._tally = Tally(call.record, strip=answer.asked_usage) if self._events else None
        self._boundary = True  # no event is half sent
        self._reading = False  # waiting for the upstream, so nothing else is being sent
        self._sent_at = 0.0
        self._ping: asyncio.Task[None] | None = None
        self._tick_handle: asyncio.TimerHandle | None = None

    def _add_headers(self, answer: Answer) -> None:
        names = ["content-encoding"]
        if self._events:
            # Proxies in front must not gather events.
            self.raw_headers += [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
        else:
            names.append("content-length")
        for name in names:
            if value := answer.headers.get(name):
                self.raw_headers.append((name.encode(), value.encode("latin-1")))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        record = self._call.record
        record.stream, record.response_headers = self._events, self.raw_headers
        pump = asyncio.current_task()
        assert pump is not None
        departure = Departure(receive, pump)
        departure.watch()
        try:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            if self._events:
                self._sent_at = self._timer()
                self._tick(send)
            await self._pump(send)
        except asyncio.CancelledError:
            if not departure.left:
                self._broken("cancelled", "the server stopped the stream")
                raise
            pump.uncancel()
            self._broken("client_left", "the client left before the stream ended")
        finally:
            departure.stop()
            if self._tick_handle is not None:
                self._tick_handle.cancel()
            self._answer.drop()
            self._finish(record, self._begun)

    async def _pump(self, send: Send) -> None:
        try:
            for chunk in self._answer.head:
                await self._pass(chunk, send)
            while chunk := await self._next():
                await self._pass(chunk, send)
        except httpx.TransportError:
            await self._break(send)
        else:
            await self._end(send)

    async def _next(self) -> bytes:
        """The next bytes, empty at the end."""
        self._reading = True
        try:
            return await self._answer.next_chunk()
        finally:
            self._reading = False

    async def _pass(self, chunk: bytes, send: Send) -> None:
        record = self._call.record
        if record.ttfb_ms is None:
            record.ttfb_ms = (self._timer() - self._begun) * 1000
        record.response_bytes += len(chunk)
        if record.keep_bodies and record.response_bytes <= MAX_KEPT_BYTES:
            record.response_body.append(chunk)
        if self._tally is not None:
            chunk = self._tally.feed(chunk)
        if not chunk:
            return
        await self._pinged()
        self._boundary = chunk.endswith((b"\n\n", b"\r\n\r\n", b"\r\r"))
        self._sent_at = self._timer()
        await send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def _end(self, send: Send) -> None:
        rest = self._tally.rest() if self._tally is not None else b""
        if self._tally is not None and self._ends_with_done() and not self._tally.done:
            self._broken("stream_cut_short", "the upstream's stream ended without [DONE]")
        await self._pinged()
        await send({"type": "http.response.body", "body": rest, "more_body": False})

    def _ends_with_done(self) -> bool:
        """Azure ends its chat streams with [DONE]; without it something was lost."""
        chat = self._call.operation.path in ("/chat/completions", "/completions")
        return chat and self._call.record.provider == "azure-openai"

    async def _break(self, send: Send) -> None:
        """The upstream broke off: events get an error event, bytes a broken connection."""
        message = "the upstream broke off in mid-stream; what came so far is not the whole answer"
        self._broken("upstream_broken", message)
        if not self._events:
            raise ConnectionResetError(message)  # the server cuts the connection: no false end
        await self._pinged()
        error = {"message": message, "type": "gateway_error", "param": None, "code": "upstream_broken"}
        event = b"event: error\ndata: " + dumps({"error": error, "message": message}) + b"\n\n"
        # Half an event that waits for its end is let go of: a client would fail on it, not on the error.
        separator = b"" if self._boundary else b"\n\n"
        await send({"type": "http.response.body", "body": separator + event, "more_body": False})

    def _broken(self, error_class: str, message: str) -> None:
        record = self._call.record
        record.complete, record.error_class, record.error_message = False, error_class, message

    def _tick(self, send: Send) -> None:
        """Ping when all is quiet, between events only, and never beside another send."""
        loop = asyncio.get_running_loop()
        idle = self._timer() - self._sent_at
        if idle >= self._ping_seconds and self._reading and self._boundary and self._ping is None:
            self._sent_at, idle = self._timer(), 0.0
            self._ping = loop.create_task(self._send_ping(send))
        elif self._ping is not None and self._ping.done():
            self._ping = None
        wait = max(self._ping_seconds - idle, self._ping_seconds / 30)
        self._tick_handle = loop.call_later(wait, self._tick, send)

    async def _pinged(self) -> None:
        """Let a ping that is on its way go first: a server takes one message at a time."""
        if self._ping is not None:
            ping, self._ping = self._ping, None
            await ping

    @staticmethod
    async def _send_ping(send: Send) -> None:
        await send({"type": "http.response.body", "body": PING, "more_body": True})
