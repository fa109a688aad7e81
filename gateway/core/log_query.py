"""What may be asked of the log, read from a query string or a JSON object of filters."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from gateway.core.errors import InvalidRequest

MAX_PAGE_SIZE = 1000
DEFAULT_PAGE_SIZE = 50
_LONGEST_NUMBER = 9  # digits; stores take no more than 64 bits
_LONGEST_LIST = 200  # values of one filter

Range = tuple[float | None, float | None]  # least and most, both included


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Filters are joined by AND, the values of one by OR; empty means any. Times are unix seconds."""

    since: float | None = None
    until: float | None = None  # not included
    # Field of a stored record -> its allowed values.
    one_of: Mapping[str, frozenset[str | int]] = field(default_factory=dict)
    # Field of a stored record -> its least and most; a record without the field does not match.
    within: Mapping[str, Range] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    provider_models: frozenset[tuple[str, str]] = frozenset()
    feedback: Range | None = None  # of the weighted feedback of the record's trace
    page_size: int = DEFAULT_PAGE_SIZE
    cursor: str | None = None
    current_page: int = 0  # for lists without a cursor


# Names of filters in a query, the field of a stored record, and whether its values are numbers.
_LISTS: tuple[tuple[tuple[str, ...], str, bool], ...] = (
    (("status_code", "status", "response_status_code"), "status", True),
    (("provider", "ai_org", "providers"), "provider", False),
    (("model", "ai_model", "models"), "model", False),
    (("virtual_keys", "virtual_key"), "virtual_key", False),
    (("configs", "config"), "config", False),
    (("api_key_ids", "api_key_id", "api_key"), "caller_id", False),
    (("prompt_slug", "prompt", "prompt_id"), "prompt", False),
    (("trace_id", "trace_ids"), "trace_id", False),
    (("span_id", "span_ids"), "span_id", False),
    (("cache_status",), "cache_status", False),
    (("user", "users", "_user"), "user", False),
    (("mode",), "mode", False),
    (("error_class",), "error_class", False),
)
_RANGES: tuple[tuple[str, str], ...] = (
    ("cost", "cost"),
    ("total_units", "total_tokens"),
    ("prompt_token", "prompt_tokens"),
    ("completion_token", "completion_tokens"),
    ("response_time", "duration_ms"),
)


def parse_query(params: Mapping[str, Any]) -> LogQuery:
    """The query of a list, an export's `filters` or an analytics call; names in either casing.

    Values are text (comma-separated) or JSON lists and numbers. Unknown names are ignored, as Portkey
    does. Raises `InvalidRequest` that names the parameter.
    """
    given = {_snake(name): value for name, value in params.items() if value not in (None, "")}
    one_of = {}
    for names, target, number in _LISTS:
        values = [item for name in names if name in given for item in _items(name, given[name])]
        if values:
            one_of[target] = frozenset(_whole(names[0], v) for v in values) if number else frozenset(values)
    within = {}
    for name, target in _RANGES:
        if (limits := _range(given, name)) is not None:
            within[target] = limits
    return LogQuery(
        since=_time(given, "time_of_generation_min", "since", "created_at_min"),
        until=_time(given, "time_of_generation_max", "until", "created_at_max"),
        one_of=one_of,
        within=within,
        metadata=_metadata(given.get("metadata")),
        provider_models=frozenset(_pair(item) for item in _items("ai_org_model", given.get("ai_org_model"))),
        feedback=_range(given, "weighted_feedback"),
        page_size=_bounded(given, "page_size", DEFAULT_PAGE_SIZE, 1, MAX_PAGE_SIZE),
        cursor=str(given["cursor"]) if "cursor" in given else None,
        current_page=_bounded(given, "current_page", 0, 0, 10**9),
    )


def matches(query: LogQuery, doc: Mapping[str, Any]) -> bool:
    """Whether a stored record fits all filters but the feedback's."""
    created = doc["created_at"]
    if (query.since is not None and created < query.since) or (
        query.until is not None and created >= query.until
    ):
        return False
    for name, allowed in query.one_of.items():
        if doc.get(name) not in allowed:
            return False
    for name, limits in query.within.items():
        if not inside(doc.get(name), limits):
            return False
    labels = doc.get("metadata") or {}
    if any(labels.get(name) != value for name, value in query.metadata.items()):
        return False
    pair = (doc.get("provider"), doc.get("model"))
    return not query.provider_models or pair in query.provider_models


def inside(value: float | None, limits: Range) -> bool:
    """Whether a value is told and lies between the limits."""
    least, most = limits
    return value is not None and (least is None or value >= least) and (most is None or value <= most)


def parse_time(name: str, value: Any) -> float:
    """Unix seconds of an ISO 8601 text (UTC when it names no zone) or of seconds or milliseconds."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return _iso(name, value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e14:
        raise InvalidRequest(f"{name}: not a time: {value!r:.60}", param=name)
    return value / 1000 if value > 1e11 else float(value)


def _iso(name: str, value: str) -> float:
    try:
        # A plus sign in a query string arrives as a space.
        when = datetime.fromisoformat(value.strip().replace(" ", "+") if value.count("T") else value)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(
            f"{name}: not an ISO 8601 time, such as 2026-01-31T12:00:00Z: {value!r:.60}", param=name
        ) from error


def _time(given: Mapping[str, Any], *names: str) -> float | None:
    return next((parse_time(name, given[name]) for name in names if name in given), None)


def _range(given: Mapping[str, Any], name: str) -> Range | None:
    least, most = (_number(given, f"{name}_{end}") for end in ("min", "max"))
    return None if least is None and most is None else (least, most)


def _number(given: Mapping[str, Any], name: str) -> float | None:
    if name not in given:
        return None
    try:
        number = float(given[name])
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise InvalidRequest(f"{name}: not a number: {given[name]!r:.60}", param=name)
    return number


def _whole(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= _LONGEST_NUMBER):
        raise InvalidRequest(f"{name}: not a whole number: {value!r:.60}", param=name)
    return int(value)


def _bounded(given: Mapping[str, Any], name: str, default: int, least: int, most: int) -> int:
    number = _number(given, name)
    return default if number is None else max(least, min(most, int(number)))


def _items(name: str, value: Any) -> list[str]:
    if value is None:
        return []
    parts: Iterable[Any] = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list):
        parts = [parts]
    items = [text for part in parts if part is not None and (text := str(part).strip())]
    if len(items) > _LONGEST_LIST:
        raise InvalidRequest(f"{name}: at most {_LONGEST_LIST} values, got {len(items)}", param=name)
    return items


def _pair(item: str) -> tuple[str, str]:
    provider, found, model = item.partition("__")
    if not found:
        raise InvalidRequest(
            f"ai_org_model: expected provider__model, got {item!r:.60}", param="ai_org_model"
        )
    return provider, model


def _metadata(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            value = None
    if not isinstance(value, Mapping):
        raise InvalidRequest('metadata: expected a JSON object, such as {"_user":"u1"}', param="metadata")
    return {str(name): item if isinstance(item, str) else str(item) for name, item in value.items()}


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
