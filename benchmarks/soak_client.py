"""One client of the soak test: mixed requests over one kept-alive connection."""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.cases import post
from benchmarks.subjects import ADMIN_KEY, CHAT


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of request; `share` is its weight."""

    name: str
    share: int
    wanted: str
    status: int = 200
    holds: bytes = b""  # what a good answer's body holds
    key: str = ADMIN_KEY
    leaves: bool = False  # closes the connection after the first bytes of the body

    def raw(self) -> bytes:
        """The request's bytes."""
        body = {
            "model": "gpt4",
            "messages": [{"role": "user", "content": "Tell me a story."}],
            "user": self.wanted,
            "stream": "stream" in self.wanted or "cut" in self.wanted,
        }
        return post(CHAT, {"x-portkey-api-key": self.key, "x-portkey-virtual-key": "bench"}, body)


KINDS = (
    Kind("json", 50, "bench-json", holds=b"chat.completion"),
    Kind("stream", 25, "bench-stream-20-0", holds=b"[DONE]"),
    Kind("slow stream", 5, "bench-stream-10-2", holds=b"[DONE]"),
    Kind("429", 5, "bench-429", 429, b"error"),
    Kind("broken stream", 5, "bench-cut-20", holds=b"event: error"),
    Kind("client leaves", 6, "bench-stream-50-5", leaves=True),
    Kind("wrong key", 4, "bench-json", 401, b"error", key="gw-wrong"),
)


class Soaker:
    """Sends what it is told; remembers the connection."""

    def __init__(self, port: int, dice: random.Random) -> None:
        self.port = port
        self.dice = dice
        self.requests: Mapping[str, bytes] = {kind.name: kind.raw() for kind in KINDS}
        self.writer: asyncio.StreamWriter | None = None

    async def send(self) -> str:
        """One random request; its kind's name. Raises AssertionError on a wrong answer."""
        kind = self.dice.choices(KINDS, [kind.share for kind in KINDS])[0]
        async with asyncio.timeout(60):
            await self.ask(kind)
        return kind.name

    async def ask(self, kind: Kind) -> None:
        """Send a request of this kind and judge the answer."""
        if self.writer is None or self.writer.is_closing():
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writer.write(self.requests[kind.name])
        head = await self.reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        if kind.leaves:
            await self.reader.read(1024)
            await self.leave()
            body = b""
        else:
            body = await self.body(head.lower())
        assert status == kind.status, f"{kind.name}: status {status}: {body[:300]!r}"
        assert kind.leaves or kind.holds in body, f"{kind.name}: {body[-300:]!r}"

    async def body(self, head: bytes) -> bytes:
        """The whole body, chunked framing left in."""
        start = head.find(b"\r\ncontent-length:")
        if start >= 0:
            return await self.reader.readexactly(int(head[start + 17 :].split(b"\r\n", 1)[0]))
        body = b""
        while not body.endswith(b"0\r\n\r\n"):
            data = await self.reader.read(65_536)
            assert data, f"the connection ended in the body: {body[-200:]!r}"
            body += data
        return body

    async def leave(self) -> None:
        """Close the connection without a word."""
        if self.writer is not None:
            self.writer.transport.abort()
            self.writer = None
