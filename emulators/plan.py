"""What goes out on the wire, as data: an answer, and the plan of how it is sent."""

import enum
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

JSON = "application/json"
EVENT_STREAM = "text/event-stream; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: `chunks` are written one by one; `streamed` means chunked, without Content-Length."""

    status: int
    headers: tuple[tuple[str, str], ...]
    chunks: Sequence[bytes] = ()
    streamed: bool = False

    def with_headers(self, more: Iterable[tuple[str, str]]) -> "Answer":
        """With those of `more` added whose name is not there yet."""
        names = {name for name, _ in self.headers}
        return replace(self, headers=(*self.headers, *(pair for pair in more if pair[0] not in names)))


class End(enum.Enum):
    DONE = "done"
    CLOSE = "close"  # the connection is closed in the middle of the answer (FIN)
    RESET = "reset"  # it is reset (RST)


@dataclass(frozen=True, slots=True)
class Plan:
    answer: Answer
    first_byte_s: float = 0.0
    between_chunks_s: float = 0.0
    head: bool = True  # False: not even a status line
    end: End = End.DONE


Ordinary = Callable[[], Answer]  # gives the ordinary answer, with all its effects


class Refused(Exception):
    """Ends a request with this answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"refused with {answer.status}")
        self.answer = answer


def json_answer(value: Any, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> Answer:
    return Answer(status, (("content-type", JSON), *headers), (orjson.dumps(value),))
