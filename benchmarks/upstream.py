"""The upstream of the benchmark: canned Azure OpenAI answers from a raw asyncio protocol.

What it answers stands in the request body, so every gateway can carry it there unchanged:
`bench-json` (one completion), `bench-stream-N-D` (N chunks, D milliseconds apart), `bench-429`,
`bench-cut-N` (the connection is dropped after N chunks). It parses no JSON and builds nothing per request.
"""

import asyncio
import json
import re
import sys
from collections.abc import Iterator
from functools import cache
from typing import ClassVar

WANTED = re.compile(rb"bench-(json|429|stream|cut)(?:-(\d+))?(?:-(\d+))?")
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
FILTERS = {
    name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")
}
USAGE = {"prompt_tokens": 21, "completion_tokens": 100, "total_tokens": 121}
TEXT = "The quick brown fox jumps over the lazy dog. " * 10


def answer(status: str, body: bytes, kind: str = "application/json", more: str = "") -> bytes:
    """A whole response with a length."""
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


def completion() -> bytes:
    """A non-stream answer of about 1.2 KB, with the headers Azure OpenAI sends."""
    body = {
        "id": "chatcmpl-BxVQ3m0bKCJyqYm7d1Pg4kTn2Zs9a",
        "object": "chat.completion",
        "created": 1754000000,
        "model": "gpt-4o-2024-11-20",
        "system_fingerprint": "fp_ee1d74bde0",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": TEXT, "refusal": None},
                "finish_reason": "stop",
                "logprobs": None,
                "content_filter_results": FILTERS,
            }
        ],
        "usage": USAGE,
        "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": FILTERS}],
    }
    more = "apim-request-id: 6d3f\r\nx-request-id: 5b1c\r\nx-ms-region: Sweden Central\r\n"
    return answer("200 OK", json.dumps(body).encode(), more=more)


def too_many() -> bytes:
    """Azure OpenAI's 429."""
    error = {"error": {"code": "429", "message": "Requests have exceeded the call rate limit."}}
    return answer("429 Too Many Requests", json.dumps(error).encode(), more="retry-after-ms: 1\r\n")


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"x-request-id: 5b1c\r\nx-ms-region: Sweden Central\r\ntransfer-encoding: chunked\r\n\r\n"
)


def http_chunk(data: bytes) -> bytes:
    """`data` in chunked transfer coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(delta: dict[str, str] | None, finish: str | None = None) -> bytes:
    """One SSE event; `delta` None gives the usage chunk."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
    body = {
        "id": "chatcmpl-BxVQ3m0bKCJyqYm7d1Pg4kTn2Zs9a",
        "object": "chat.completion.chunk",
        "created": 1754000000,
        "model": "gpt-4o-2024-11-20",
        "system_fingerprint": "fp_ee1d74bde0",
        "choices": [] if delta is None else [choice | {"content_filter_results": FILTERS if delta else {}}],
    }
    if delta is None:
        body["usage"] = USAGE
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


@cache
def stream_chunks(count: int, usage: bool) -> tuple[bytes, ...]:
    """The HTTP chunks of a stream of `count` events, the usage chunk (when asked for) and [DONE]."""
    events = [event({"role": "assistant", "content": ""})]
    events += [event({"content": f" word{n}"}) for n in range(count - 2)]
    events += [event({}, "stop")] + ([event(None)] if usage else []) + [b"data: [DONE]\n\n"]
    return (*map(http_chunk, events), b"0\r\n\r\n")


class Upstream(asyncio.Protocol):
    """One connection: whole request in, canned bytes out."""

    fixed: ClassVar = {b"json": completion(), b"429": too_many()}

    def __init__(self) -> None:
        self.buffer = b""
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the stream that ran."""
        if self.timer:
            self.timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Answer once head and body are here (no pipelining)."""
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        length = LENGTH.search(self.buffer, 0, end + 2)
        whole = (
            len(self.buffer) >= end + 4 + int(length[1])
            if length
            else b"chunked" not in self.buffer[:end].lower() or self.buffer.endswith(b"0\r\n\r\n")
        )
        if whole:
            request, self.buffer = self.buffer, b""
            self.respond(request)

    def respond(self, request: bytes) -> None:
        """Find what is wanted and send it."""
        wanted = WANTED.search(request)
        if wanted is None:
            self.transport.write(answer("404 Not Found", b'{"error":{"message":"no bench-... in the body"}}'))
        elif wanted[1] in self.fixed:
            self.transport.write(self.fixed[wanted[1]])
        else:
            chunks = stream_chunks(int(wanted[2]), b"include_usage" in request)
            cut = wanted[1] == b"cut"
            self.transport.write(STREAM_HEAD)
            self.send(iter(chunks[: len(chunks) // 2] if cut else chunks), int(wanted[3] or 0) / 1000, cut)

    def send(self, chunks: Iterator[bytes], delay: float, cut: bool) -> None:
        """Write chunk by chunk, `delay` seconds apart."""
        for chunk in chunks:
            self.transport.write(chunk)
            if delay and chunk != b"0\r\n\r\n":
                self.timer = asyncio.get_running_loop().call_later(delay, self.send, chunks, delay, cut)
                return
        if cut:
            self.transport.abort()


async def main(port: int) -> None:
    """Serve until terminated."""
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
