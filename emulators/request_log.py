"""What an emulator received, in order, as the bytes came in."""

import base64
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import orjson

Headers = list[tuple[str, str]]


@dataclass(slots=True)
class Received:
    """One request. `target` is the raw path with its query; `client_left` may be set later."""

    method: str
    path: str  # decoded, without the query
    target: str
    headers: Headers  # names in lower case, order and duplicates kept
    body: bytes = field(repr=False)
    scheme: str = "http"
    number: int = 0  # from 1, in order of arrival
    client_left: bool = False  # the client closed the connection before the answer was complete

    def header(self, name: str) -> str | None:
        """The first value of that name (lower case), or None."""
        return next((value for key, value in self.headers if key == name), None)

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))

    def json(self) -> Any:
        """The body as JSON; raises orjson.JSONDecodeError (a ValueError)."""
        return orjson.loads(self.body)

    def as_json(self) -> dict[str, Any]:
        """For `GET /emulator/requests`: the body as `body_base64`, and as `body` where it is text."""
        try:
            text: str | None = self.body.decode()
        except UnicodeDecodeError:
            text = None
        return {
            "number": self.number,
            "method": self.method,
            "path": self.path,
            "target": self.target,
            "headers": self.headers,
            "body": text,
            "body_base64": base64.b64encode(self.body).decode(),
            "client_left": self.client_left,
        }


class RequestLog:
    """The newest requests, within a number and a sum of body bytes. Safe to read from another thread."""

    def __init__(self, keep: int = 10_000, keep_bytes: int = 64 * 2**20) -> None:
        self._keep, self._keep_bytes = keep, keep_bytes
        self._entries: deque[Received] = deque()
        self._bytes = 0
        self._count = 0
        self._changed = threading.Condition()

    def add(self, received: Received) -> None:
        with self._changed:
            self._count += 1
            received.number = self._count
            self._entries.append(received)
            self._bytes += len(received.body)
            # The newest entry always stays, however large it is.
            while len(self._entries) > 1 and self._is_full():
                self._bytes -= len(self._entries.popleft().body)
            self._changed.notify_all()

    def mark_left(self, received: Received) -> None:
        with self._changed:
            received.client_left = True
            self._changed.notify_all()

    def entries(self) -> list[Received]:
        with self._changed:
            return list(self._entries)

    def clear(self) -> None:
        with self._changed:
            self._entries.clear()
            self._bytes = 0

    def wait_until(self, holds: Callable[[list[Received]], bool], timeout_s: float = 10) -> bool:
        """Blocks until `holds(entries)`; False if it does not within `timeout_s`. Await it by `to_thread`."""
        with self._changed:
            return self._changed.wait_for(lambda: holds(list(self._entries)), timeout_s)

    def _is_full(self) -> bool:
        return len(self._entries) > self._keep or self._bytes > self._keep_bytes
