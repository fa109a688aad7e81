"""Logs that clients write themselves: `POST /v1/logs`, one or many.

Each is `{request: {url, method, headers, body, provider}, response: {status, headers, body, response_time},
metadata: {trace_id, span_id, span_name, parent_span_id, ...}}`. Portkey's logger writes names in
camelCase, its SDKs in snake_case; both are read.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from gateway.core.casing import items_of, snake
from gateway.core.errors import InvalidRequest
from gateway.core.log_query import parse_time
from gateway.core.record import Record
from gateway.core.usage import usage_of

MOST = 1000  # logs of one call
_LONGEST = 128  # characters of a metadata value
_LONGEST_NAME = 256
# A credential in a URL's query: `?code=...`, `&api-key=...`, `&sig=...`.
_SECRET_FIELD = re.compile(
    r"(?i)([?&](?:[a-z_-]*key|code|sig|signature|[a-z_-]*token|password|secret)=)[^&#]*"
)
_SPAN_FIELDS = ("trace_id", "span_id", "span_name", "parent_span_id")


def records_of(body: Any, now: float, new_id: Callable[[float], str]) -> list[Record]:
    """The records a call's body asks for; `new_id` makes an id of a time (unix seconds)."""
    many = items_of(body)
    items = [body] if many is None else many
    if not 1 <= len(items) <= MOST:
        raise InvalidRequest(f"expected one log or a list of 1 to {MOST}, got {len(items)}")
    return [_record(item, "" if many is None else f"[{n}]", now, new_id) for n, item in enumerate(items)]


def _record(item: Any, where: str, now: float, new_id: Callable[[float], str]) -> Record:
    log = _section({"log": item}, "log", where)
    if not log.keys() & {"request", "response", "metadata"}:
        raise InvalidRequest(f"log{where}: expected request, response, metadata; it has none of them")
    request, response = _section(log, "request", where), _section(log, "response", where)
    metadata = _section(log, "metadata", where)
    duration = _number(response.get("response_time"), f"response{where}.response_time")
    created_at = (
        parse_time("created_at", log["created_at"]) if log.get("created_at") else now - duration / 1000
    )
    status = response.get("status", 200)
    if not isinstance(status, int) or not 100 <= status <= 599:
        raise InvalidRequest(f"response{where}.status: expected 100 to 599, got {status!r:.40}")
    spans = {name: _text(metadata.get(name)) for name in _SPAN_FIELDS}
    id = new_id(created_at)
    answer = response.get("body")
    return Record(
        id=id,
        trace_id=spans["trace_id"] or id,
        created_at=created_at,
        method=_text(request.get("method")) or "POST",
        path=_SECRET_FIELD.sub(r"\1***", _text(request.get("url"), 2000) or "/"),
        operation="custom",
        span_id=spans["span_id"] or id,
        span_name=spans["span_name"],
        parent_span_id=spans["parent_span_id"],
        metadata=_labels(metadata),
        source="custom",
        provider=_text(request.get("provider")),
        model=_model(request.get("body")),
        response_model=_model(answer),
        status=status,
        stream=bool(_field(request.get("body"), "stream")),
        duration_ms=duration,
        usage=usage_of(answer),
        request_headers=_headers(request.get("headers")),
        request_body=_body(request.get("body")),
        response_headers=_headers(response.get("headers")),
        response_body=[_body(answer) or b""],
    )


def _section(parent: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    """An object's fields by their names in snake_case; empty when it is left out."""
    value = parent.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidRequest(f"{name}{where}: expected a JSON object", param=name)
    return {snake(str(key)) if key != "_user" else key: item for key, item in value.items()}


def _number(value: Any, where: str) -> float:
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise InvalidRequest(f"{where}: expected milliseconds, got {value!r:.40}")
    return float(value)


def _text(value: Any, longest: int = _LONGEST_NAME) -> str | None:
    return value[:longest] if isinstance(value, str) and value else None


def _field(body: Any, name: str) -> Any:
    return body.get(name) if isinstance(body, Mapping) else None


def _model(body: Any) -> str | None:
    return _text(_field(body, "model"))


def _labels(metadata: Mapping[str, Any]) -> dict[str, str]:
    return {
        name[:_LONGEST]: (value if isinstance(value, str) else orjson.dumps(value).decode())[:_LONGEST]
        for name, value in metadata.items()
        if name not in _SPAN_FIELDS and value is not None
    }


def _headers(value: Any) -> list[tuple[bytes, bytes]]:
    pairs = value.items() if isinstance(value, Mapping) else ()
    return [(str(name).encode(), str(item).encode()) for name, item in pairs]


def _body(value: Any) -> bytes | None:
    if value is None:
        return None
    return value.encode(errors="replace") if isinstance(value, str) else orjson.dumps(value)
