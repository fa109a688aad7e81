"""From the pipeline's answer to the client: bytes through, a tally of them, always a record."""

from collections.abc import Callable
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.call import Answer, Call
from gateway.core.errors import GatewayError, error_body
from gateway.core.jsontext import dumps
from gateway.core.ports import Recorder
from gateway.core.record import Record
from gateway.core.tally import note_model
from gateway.core.upstream_errors import normalise_error
from gateway.core.usage import usage_of
from gateway.stream import PING_SECONDS, RelayedStream

_NOT_PASSED = frozenset(
    {
        "alt-svc",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "date",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "server",
        "set-cookie",
        "strict-transport-security",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-should-retry",
    }
)


class RawResponse(Response):
    """A whole answer with headers as given: nothing is computed that is known already."""

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.status_code = status
        self.background = None
        self.body = body
        self.raw_headers = [*headers, (b"content-length", str(len(body)).encode())]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        await send(start)
        # HEAD: the same headers, no body.
        body = b"" if scope.get("method") == "HEAD" else self.body
        await send({"type": "http.response.body", "body": body})


def json_response(status: int, value: Any, headers: list[tuple[bytes, bytes]]) -> RawResponse:
    return RawResponse(status, [*headers, (b"content-type", b"application/json")], dumps(value))


def portkey_headers(record: Record) -> list[tuple[bytes, bytes]]:
    """The `x-portkey-*` headers that every response carries; SDKs read them and silence retries by them."""
    headers = [
        (b"x-portkey-trace-id", record.trace_id.encode()),
        (b"x-portkey-request-id", record.id.encode()),
        (b"x-portkey-retry-attempt-count", b"%d" % record.retry_count),
        (b"x-portkey-cache-status", record.cache_status.encode()),
        (b"x-portkey-last-used-option-index", record.option_index.encode()),
    ]
    if record.provider:
        headers.append((b"x-portkey-provider", record.provider.encode()))
    if record.retry_count < 0:  # the gateway retried for the client; once more helps nobody
        headers.append((b"x-should-retry", b"false"))
    return headers


def error_response(record: Record, error: GatewayError, *, admin: bool = False) -> RawResponse:
    """A fault of the gateway as JSON."""
    headers = portkey_headers(record)
    headers += [(name.encode(), value.encode("latin-1", "replace")) for name, value in error.headers.items()]
    if error.status == 500:
        headers.append((b"x-portkey-gateway-exception", b"true"))
    return json_response(error.status, error_body(error, provider=record.provider, admin=admin), headers)


class Relay:
    """Turns answers into responses, and puts each call's record away exactly once."""

    def __init__(
        self, recorder: Recorder, timer: Callable[[], float], *, ping_seconds: float = PING_SECONDS
    ) -> None:
        self._recorder = recorder
        self._timer = timer
        self._ping_seconds = ping_seconds

    def fail(self, record: Record, begun: float, error: GatewayError) -> RawResponse:
        """A call that ended before an upstream answered."""
        record.status, record.error_class, record.error_message = error.status, error.code, error.message
        response = error_response(record, error)
        return self._whole(record, begun, response)

    def respond(self, call: Call, begun: float, answer: Answer) -> Response:
        """The client's response. Of a stream nothing is read yet."""
        record = call.record
        _settle(call, answer)
        if answer.error is not None:
            return self.fail(record, begun, answer.error)
        headers = portkey_headers(record) + _passed(answer.headers)
        if answer.body is None:
            assert answer.response is not None
            return RelayedStream(
                call,
                answer,
                headers,
                timer=self._timer,
                begun=begun,
                finish=self.finish,
                ping_seconds=self._ping_seconds,
            )
        if answer.outcome.status >= 400:
            body = normalise_error(answer.body, answer.outcome.status, record.provider)
            record.error_class = str(body["error"].get("code") or answer.outcome.status)
            record.error_message = str(body["message"])[:1000]
            return self._whole(record, begun, json_response(answer.outcome.status, body, headers))
        if answer.json is not None:
            record.usage = usage_of(answer.json)
            note_model(record, answer.json)
        content_type = answer.headers.get("content-type", "application/json")
        headers.append((b"content-type", content_type.encode("latin-1")))
        return self._whole(record, begun, RawResponse(record.status, headers, answer.body))

    def _whole(self, record: Record, begun: float, response: RawResponse) -> RawResponse:
        record.ttfb_ms = (self._timer() - begun) * 1000
        record.response_headers = response.raw_headers
        record.response_body = [bytes(response.body)]
        record.response_bytes = len(response.body)
        self.finish(record, begun)
        return response

    def finish(self, record: Record, begun: float) -> None:
        record.duration_ms = (self._timer() - begun) * 1000
        self._recorder.put(record)


def _settle(call: Call, answer: Answer) -> None:
    """What the answer's endpoint and last try say of the call as a whole."""
    record = call.record
    record.status = answer.outcome.status
    tried = [attempt for attempt in record.attempts if attempt.skipped is None]
    if tried:
        last = tried[-1]
        record.provider, record.virtual_key = last.provider, last.virtual_key
        record.deployment, record.resource = last.deployment, last.resource
        record.api_version, record.auth_mode = last.api_version, last.auth_mode
        record.request_id, record.region = last.request_id, last.region
    if answer.endpoint is not None:
        record.price_model, record.pricing = answer.endpoint.price_model, answer.endpoint.pricing


def _passed(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    """The upstream's headers that mean something to the client, and not to the next hop alone."""
    hop = headers.get("connection")
    named = {name.strip().lower() for name in hop.split(",")} if hop is not None else ()
    return [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in headers.items()
        if name not in _NOT_PASSED and not name.startswith("x-portkey-") and name not in named
    ]
