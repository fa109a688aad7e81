"""Scripted behaviour: what a server does instead of, or with, its ordinary answer. Pure data.

A step turns the ordinary `Answer` into a `Plan`; `playback.py` carries a plan out on the wire.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle
from typing import Any, Protocol

import orjson

from emulators.plan import JSON, Answer, End, Ordinary, Plan


class Step(Protocol):
    """One scripted behaviour. A step that replaces the answer does not call `ordinary`: nothing was done."""

    def plan(self, ordinary: Ordinary) -> Plan: ...


@dataclass(frozen=True, slots=True)
class Normal:
    """The ordinary answer; a place holder between other steps."""

    def plan(self, ordinary: Ordinary) -> Plan:
        return Plan(ordinary())


@dataclass(frozen=True, slots=True)
class Reply:
    """Answers with this. `body`: bytes or text as it stands, anything else as JSON."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = b""

    def plan(self, ordinary: Ordinary) -> Plan:
        body = self.body.encode() if isinstance(self.body, str) else self.body
        headers = tuple((name.lower(), value) for name, value in self.headers.items())
        if isinstance(body, bytes):
            return Plan(Answer(self.status, headers, (body,)))
        return Plan(
            Answer(self.status, headers, (orjson.dumps(body),)).with_headers([("content-type", JSON)])
        )


@dataclass(frozen=True, slots=True)
class Slow:
    """The ordinary answer, late and in slow pieces."""

    first_byte_s: float = 0.0
    between_chunks_s: float = 0.0

    def plan(self, ordinary: Ordinary) -> Plan:
        return Plan(ordinary(), self.first_byte_s, self.between_chunks_s)


@dataclass(frozen=True, slots=True)
class Hang:
    """Nothing at all for `seconds`; it ends at once when the client leaves."""

    seconds: float = 3600.0

    def plan(self, ordinary: Ordinary) -> Plan:
        return Plan(ordinary(), self.seconds)


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is reset before a byte of the answer. `orderly`: closed instead."""

    orderly: bool = False

    def plan(self, ordinary: Ordinary) -> Plan:
        return Plan(Answer(200, ()), head=False, end=End.CLOSE if self.orderly else End.RESET)


@dataclass(frozen=True, slots=True)
class ResetMidStream:
    """The connection breaks after that many events; an answer in one piece breaks in its middle."""

    after_events: int = 3
    orderly: bool = False

    def plan(self, ordinary: Ordinary) -> Plan:
        answer = ordinary()
        if answer.streamed:
            cut = replace(answer, chunks=answer.chunks[: self.after_events])
        else:
            whole = b"".join(answer.chunks)
            promised = ("content-length", str(len(whole)))
            cut = Answer(
                answer.status, (*answer.headers, promised), (whole[: len(whole) // 2],), streamed=True
            )
        return Plan(cut, end=End.CLOSE if self.orderly else End.RESET)


@dataclass(frozen=True, slots=True)
class EndEarly:
    """The stream ends well-formed after that many events, but without what says it is complete."""

    after_events: int = 3

    def plan(self, ordinary: Ordinary) -> Plan:
        answer = ordinary()
        return Plan(replace(answer, chunks=answer.chunks[: self.after_events]))


@dataclass(frozen=True, slots=True)
class ErrorMidStream:
    """After that many events comes one with an error, and the stream ends."""

    after_events: int = 3
    code: str = "server_error"
    message: str = "The server had an error processing your request. Sorry about that!"

    def plan(self, ordinary: Ordinary) -> Plan:
        answer = ordinary()
        error = {"error": {"code": self.code, "message": self.message, "type": "server_error", "param": None}}
        event = b"data: " + orjson.dumps(error) + b"\n\n"
        return Plan(replace(answer, chunks=[*answer.chunks[: self.after_events], event]))


@dataclass(frozen=True, slots=True)
class AsyncFilter:
    """Chat chunks as the asynchronous content filter sends them: annotations follow, after the end too."""

    def plan(self, ordinary: Ordinary) -> Plan:
        answer = ordinary()
        chunks = list(answer.chunks)
        note = b"data: " + orjson.dumps(_filter_chunk(0, 44)) + b"\n\n"
        last = b"data: " + orjson.dumps(_filter_chunk(44, 506)) + b"\n\n"
        return Plan(replace(answer, chunks=[*chunks[:2], note, *chunks[2:-1], last, *chunks[-1:]]))


@dataclass(frozen=True, slots=True)
class SplitEverywhere:
    """The ordinary bytes, cut at odd places: within events, lines and characters."""

    sizes: Sequence[int] = (1, 2, 3, 5, 7, 11, 13)  # bytes, in turn

    def plan(self, ordinary: Ordinary) -> Plan:
        answer = ordinary()
        whole, pieces, start = b"".join(answer.chunks), [], 0
        for size in cycle(self.sizes):
            if start >= len(whole):
                break
            pieces.append(whole[start : start + size])
            start += size
        return Plan(replace(answer, chunks=pieces, streamed=True))


@dataclass(frozen=True, slots=True)
class Html:
    """What a proxy or gateway in front of the service answers when the service is away."""

    status: int = 502

    def plan(self, ordinary: Ordinary) -> Plan:
        title = f"{self.status} Bad Gateway" if self.status == 502 else f"{self.status} Error"
        page = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
        return Plan(Answer(self.status, (("content-type", "text/html"),), (page.encode(),)))


@dataclass(frozen=True, slots=True)
class Empty:
    """No body at all."""

    status: int = 200

    def plan(self, ordinary: Ordinary) -> Plan:
        return Plan(Answer(self.status, (("content-type", JSON),)))


@dataclass(frozen=True, slots=True)
class InvalidJson:
    """JSON that stops in the middle, with a right Content-Length."""

    status: int = 200

    def plan(self, ordinary: Ordinary) -> Plan:
        return Plan(
            Answer(self.status, (("content-type", JSON),), (b'{"id": "chatcmpl-1", "choices": [{"mess',))
        )


@dataclass(frozen=True, slots=True)
class HugeBody:
    """A JSON object of about `megabytes`, sent in pieces of 64 KiB."""

    megabytes: int = 64
    status: int = 200

    def plan(self, ordinary: Ordinary) -> Plan:
        piece = b"x" * 65536  # one object, many times: the size costs no memory here
        chunks = [b'{"padding":"', *[piece] * (self.megabytes * 16), b'"}']
        return Plan(Answer(self.status, (("content-type", JSON),), chunks, streamed=True))


def throttled(retry_after_s: float | None = None, operation: str = "ChatCompletions_Create") -> Reply:
    """Azure OpenAI's 429; without `retry_after_s` the one that names a policy and no time."""
    wait = f"Please retry after {retry_after_s:g} seconds. " if retry_after_s is not None else ""
    message = (
        f"Requests to the {operation} Operation under Azure OpenAI API version 2024-10-21 have exceeded "
        f"token rate limit of your current OpenAI S0 pricing tier. {wait}Please go here: "
        "https://aka.ms/oai/quotaincrease if you would like to further increase the default rate limit."
    )
    headers = {"policy-id": "DeploymentRatelimit-Token"}
    if retry_after_s is not None:
        headers = {"retry-after": f"{retry_after_s:g}", "retry-after-ms": f"{retry_after_s * 1000:g}"}
    return Reply(429, headers, {"error": {"code": "429", "message": message}})


_KINDS: tuple[type[Step], ...] = (
    Normal,
    Reply,
    Slow,
    Hang,
    Reset,
    ResetMidStream,
    EndEarly,
    ErrorMidStream,
    AsyncFilter,
    SplitEverywhere,
    Html,
    Empty,
    InvalidJson,
    HugeBody,
)


def parse_step(value: Any) -> Step:
    """`{"kind": "reset_mid_stream", "after_events": 3}` as a step; ValueError says what is wrong."""
    kinds = {_snake(kind.__name__): kind for kind in _KINDS}
    if not isinstance(value, dict) or value.get("kind") not in kinds:
        raise ValueError(f"steps[].kind: must be one of {', '.join(sorted(kinds))}, got {value!r}")
    given = {name: item for name, item in value.items() if name != "kind"}
    try:
        return kinds[value["kind"]](**given)
    except TypeError as error:
        raise ValueError(f"step {value['kind']}: {error}") from error


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _filter_chunk(start: int, end: int) -> dict[str, Any]:
    choice = {
        "index": 0,
        "finish_reason": None,
        "content_filter_results": {"hate": {"filtered": False, "severity": "safe"}},
        "content_filter_offsets": {"check_offset": end, "start_offset": start, "end_offset": end},
    }
    return {"id": "", "object": "", "created": 0, "model": "", "choices": [choice]}
