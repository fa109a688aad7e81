"""What is measured: requests as a client library sends them, and at how many connections."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

SYSTEM = "You are a helpful assistant that answers in plain words. " * 4
QUESTION = "Tell me the story of the fox and the dog, and leave nothing out. " * 12
CLIENT_HEADERS = {
    "host": "127.0.0.1",
    "accept": "application/json",
    "accept-encoding": "gzip, deflate",
    "content-type": "application/json",
    "user-agent": "OpenAI/Python 1.99.0",
    "x-stainless-lang": "python",
    "x-stainless-package-version": "1.99.0",
    "x-stainless-os": "Linux",
    "x-stainless-arch": "x64",
    "x-stainless-runtime": "CPython",
    "x-stainless-async": "false",
}


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table."""

    name: str
    wanted: str  # what the upstream is asked for, see upstream.py
    connections: int
    route: str = "key"  # "key": credentials in headers; "config": inline config; "prompt": prompt completion

    @property
    def stream(self) -> bool:
        """Whether the answer is a stream."""
        return "stream" in self.wanted

    @property
    def events(self) -> int:
        """SSE events of a good answer, [DONE] included; 0 without a stream."""
        return int(self.wanted.split("-")[2]) + 1 if self.stream else 0

    def body(self) -> dict[str, object]:
        """The chat request, about 1 KB of JSON."""
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]
        body: dict[str, object] = {"model": "gpt4", "messages": messages, "user": self.wanted}
        return body | ({"stream": True} if self.stream else {"temperature": 0.2})


CASES = (
    Case("json, 1 connection", "bench-json", 1),
    Case("json, 16 connections", "bench-json", 16),
    Case("json, 64 connections", "bench-json", 64),
    Case("stream, 16 connections", "bench-stream-100-0", 16),
    Case("stream, 16 connections, 5 ms apart", "bench-stream-100-5", 16),
    Case("first chunk, 1 connection", "bench-stream-20-5", 1),
    Case("config: fallback over loadbalance", "bench-json", 16, "config"),
    Case("prompt completion", "bench-json", 16, "prompt"),
)


def post(path: str, headers: Mapping[str, str], body: object) -> bytes:
    """The bytes of a POST of JSON."""
    content = json.dumps(body).encode()
    lines = CLIENT_HEADERS | dict(headers) | {"content-length": str(len(content))}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + content
