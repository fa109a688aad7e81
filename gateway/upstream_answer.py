"""What an upstream answers, read within bounds and held to what it says it is."""

import zlib
from collections.abc import AsyncIterator

import httpx

from gateway.call import Answer, Call
from gateway.core.errors import InvalidRequest, UpstreamBroken, UpstreamFault, UpstreamUnreachable
from gateway.core.jsontext import loads
from gateway.core.retry import Outcome

MAX_ANSWER_BYTES = 256 * 1024 * 1024  # ten large images in base64 are 100 MiB
MAX_ERROR_BYTES = 1024 * 1024  # of an error answer; no upstream says more
_PACKED = frozenset({"gzip", "deflate", "x-gzip"})
_MOST_UNPACKED = 1024 * 1024  # bytes at a time: a small chunk may unpack to a huge one


def header_map(raw: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """By lower-case name; of a repeated header the values are joined, as RFC 9110 section 5.3 allows."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _kind(answer: Answer) -> str:
    return answer.headers.get("content-type", "").split(";", 1)[0].strip().lower()


def is_stream(answer: Answer) -> bool:
    return answer.body is None and _kind(answer) == "text/event-stream"


def is_whole(answer: Answer) -> bool:
    """Whether the answer is read before it is relayed: texts are, so that a broken one is no answer."""
    kind = _kind(answer)
    return kind in ("", "application/json") or kind.startswith("text/") or kind.endswith("+json")


async def read_answer(answer: Answer, call: Call) -> None:
    """Read a whole answer and hold it to what it says it is."""
    assert answer.response is not None
    body = await read_whole(answer.response, MAX_ANSWER_BYTES + 1)
    if len(body) > MAX_ANSWER_BYTES:
        raise UpstreamBroken("the upstream's answer is larger than 256 MiB", code="upstream_too_large")
    body = decoded(body, answer.headers.get("content-encoding", ""))
    kind, named = _kind(answer), call.operation.name != "proxy"
    if not body.strip():
        if named and call.operation.method == "POST":
            raise UpstreamBroken("the upstream answered with an empty body", code="upstream_empty")
        # SDKs fail on an empty body; an empty object says as much.
        answer.headers["content-type"], body, answer.outcome = "application/json", b"{}", Outcome(200)
    elif kind in ("text/html", "application/xhtml+xml") and named:
        raise UpstreamBroken("the upstream answered with a web page instead of JSON", code="upstream_html")
    if kind in ("", "application/json"):
        try:
            answer.json = loads(body, "the upstream's answer")
        except InvalidRequest as error:
            raise UpstreamBroken(error.message, code="upstream_invalid_json") from None
        if named and (answer.json is None or isinstance(answer.json, list)):  # SDKs fail on them
            raise UpstreamBroken("the upstream answered without a JSON object", code="upstream_invalid_json")
        answer.headers.setdefault("content-type", "application/json")
    answer.body = body


def unpack_stream(answer: Answer) -> None:
    """Undo a compression that nobody asked for: events in it could not be told apart."""
    if answer.headers.get("content-encoding", "").lower() in _PACKED:
        assert answer.response is not None
        answer.chunks = _unpacked(answer.response)
        del answer.headers["content-encoding"]


async def _unpacked(response: httpx.Response) -> AsyncIterator[bytes]:
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)
    async for chunk in response.stream:  # type: ignore[union-attr]
        rest = chunk
        while rest:
            try:
                plain = unpacker.decompress(rest, _MOST_UNPACKED)
            except zlib.error:
                raise httpx.ReadError("the stream does not unpack") from None
            rest = unpacker.unconsumed_tail
            if plain:
                yield plain


def decoded(body: bytes, encoding: str) -> bytes:
    """Undo a compression that nobody asked for; bounded, as a small body may unpack to a huge one."""
    if encoding.lower() not in _PACKED:
        return body
    try:
        plain = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, MAX_ANSWER_BYTES)
    except zlib.error:
        raise UpstreamBroken(
            "the upstream's answer does not unpack", code="upstream_invalid_encoding"
        ) from None
    return plain


async def read_whole(response: httpx.Response, most: int) -> bytes:
    """The body, or as much of it as is allowed; the connection is given back or dropped."""
    chunks, size = [], 0
    try:
        async for chunk in response.stream:  # type: ignore[union-attr]
            chunks.append(chunk)
            size += len(chunk)
            if size > most:
                break
    finally:
        await response.stream.aclose()  # type: ignore[union-attr]
    return b"".join(chunks)[:most]


def fault_of(error: httpx.TransportError) -> UpstreamFault:
    """The gateway's word for a broken connection. The text tells no address but the host's name."""
    if isinstance(error, httpx.ConnectTimeout | httpx.ConnectError | httpx.PoolTimeout):
        return UpstreamUnreachable("the upstream cannot be reached: connecting failed")
    if isinstance(error, httpx.ReadTimeout):
        return UpstreamBroken("the upstream went silent in its answer")
    return UpstreamBroken("the upstream broke the connection before its answer was whole")
