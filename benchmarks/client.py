"""The load generator: a closed loop over raw asyncio connections.

It reads just enough HTTP to know where a response ends, so that it costs far less than what it measures.
"""

import asyncio
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field

LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Request:
    """The bytes of one request and what a good answer to it holds."""

    raw: bytes
    status: bytes = b"200"
    ends_with: bytes = b""  # what the last 64 bytes of the body must hold


@dataclass(slots=True)
class Load:
    """What one run saw; times in seconds."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    first_chunks: list[float] = field(default_factory=list)  # from sending to the first byte of the body
    errors: list[str] = field(default_factory=list)


class Connection(asyncio.Protocol):
    """Sends the request again and again until `deadline` (of time.perf_counter)."""

    def __init__(self, request: Request, load: Load, deadline: float, done: Callable[[], None]) -> None:
        self.request = request
        self.load = load
        self.deadline = deadline
        self.done = done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.send()

    def send(self) -> None:
        """One request out."""
        self.head = b""
        self.missing = -1  # bytes of the body; -1: chunked, or not known yet
        self.tail = b""
        self.first = 0.0
        self.sent = time.perf_counter()
        self.transport.write(self.request.raw)

    def data_received(self, data: bytes) -> None:
        """Take the head, then look for the end of the body."""
        if self.first == 0.0:
            data = self.head = self.head + data
            end = data.find(b"\r\n\r\n")
            if end < 0:
                return
            self.head, data = data[:end], data[end + 4 :]
            self.missing = content_length(self.head)
            self.first = -1.0  # head is here, body is not
            if not data and self.missing:
                return
        if self.first < 0:
            self.first = time.perf_counter()
        self.tail = (self.tail + data)[-96:] if len(data) < 96 else data[-96:]
        if self.missing < 0:
            ended = self.tail.endswith(LAST_CHUNK)
        else:
            self.missing -= len(data)
            ended = self.missing <= 0
        if ended:
            self.finish()

    def finish(self) -> None:
        """Note the times and go on, or leave."""
        now = time.perf_counter()
        if self.head[9:12] != self.request.status or self.request.ends_with not in self.tail:
            self.load.errors.append(f"{self.head[:200]!r} ... {self.tail!r}")
        else:
            self.load.latencies.append(now - self.sent)
            self.load.first_chunks.append(self.first - self.sent)
        if now >= self.deadline or len(self.load.errors) > 10:
            self.transport.close()
        else:
            self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave; a connection lost before the deadline is an error."""
        if time.perf_counter() < self.deadline:
            self.load.errors.append(f"connection lost: {exc!r}, head {self.head[:200]!r}")
        self.done()


def content_length(head: bytes) -> int:
    """The Content-Length of a response head, or -1."""
    at = head.lower().find(b"\r\ncontent-length:")
    return -1 if at < 0 else int(head[at + 17 :].split(b"\r\n", 1)[0])


async def run(port: int, request: Request, connections: int, seconds: float) -> Load:
    """Load `port` of loopback for `seconds`, each connection one request at a time."""
    load = Load()
    left = connections
    all_done = asyncio.Event()

    def done() -> None:
        nonlocal left
        left -= 1
        if not left:
            all_done.set()

    loop = asyncio.get_running_loop()
    start = time.perf_counter()
    gc.collect()
    gc.disable()
    try:
        for _ in range(connections):
            await loop.create_connection(
                lambda: Connection(request, load, start + seconds, done), "127.0.0.1", port
            )
        async with asyncio.timeout(seconds + 30):
            await all_done.wait()
    finally:
        gc.enable()
    load.seconds = time.perf_counter() - start
    return load
