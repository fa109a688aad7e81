"""Feedback as callers give it: a value from -10 to 10 for a trace, with a weight from 0 to 1."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson

from gateway.core.casing import items_of, snake
from gateway.core.errors import InvalidRequest
from gateway.core.ports import Feedback

MOST = 1000  # items of one call
_LONGEST_TRACE = 512  # characters
_MOST_METADATA = 16 * 1024  # bytes; a column of Azure Tables takes 64 KiB


def feedback_of(body: Any, now: float, new_id: Callable[[], str]) -> list[Feedback]:
    """The items of a body: one object, or a list of them."""
    many = items_of(body)
    items = [body] if many is None else many
    if not 1 <= len(items) <= MOST:
        raise InvalidRequest(f"expected one feedback or a list of 1 to {MOST}, got {len(items)}")
    return [_item(item, "" if many is None else f"[{n}].", now, new_id()) for n, item in enumerate(items)]


def changed(old: Feedback, body: Any) -> Feedback:
    """The feedback with what a body tells anew: `value`, `weight`, `metadata`."""
    given = _fields(body, "")
    return replace(
        old,
        value=_value(given["value"], "value") if given.get("value") is not None else old.value,
        weight=_weight(given["weight"], "weight") if given.get("weight") is not None else old.weight,
        metadata=_metadata(given["metadata"], "metadata")
        if given.get("metadata") is not None
        else old.metadata,
    )


def _item(item: Any, where: str, now: float, id: str) -> Feedback:
    given = _fields(item, where)
    trace_id = given.get("trace_id")
    if not isinstance(trace_id, str) or not 1 <= len(trace_id) <= _LONGEST_TRACE:
        raise InvalidRequest(
            f"{where}trace_id: expected a text of 1 to {_LONGEST_TRACE} characters", param="trace_id"
        )
    return Feedback(
        id=id,
        trace_id=trace_id,
        created_at=now,
        value=_value(given.get("value"), f"{where}value"),
        weight=1.0 if given.get("weight") is None else _weight(given["weight"], f"{where}weight"),
        metadata=_metadata(given.get("metadata") or {}, f"{where}metadata"),
    )


def _fields(item: Any, where: str) -> dict[str, Any]:
    if not isinstance(item, Mapping):
        raise InvalidRequest(f"{where or 'body'}: expected a JSON object with trace_id and value")
    return {snake(str(name)): value for name, value in item.items()}


def _value(value: Any, where: str) -> int:
    number = _number(value)
    if number is None or not number.is_integer() or not -10 <= number <= 10:
        raise InvalidRequest(
            f"{where}: expected a whole number from -10 to 10, got {value!r:.40}", param="value"
        )
    return int(number)


def _weight(value: Any, where: str) -> float:
    number = _number(value)
    if number is None or not 0 <= number <= 1:
        raise InvalidRequest(f"{where}: expected a number from 0 to 1, got {value!r:.40}", param="weight")
    return number


def _number(value: Any) -> float | None:
    """A number, a text that is one included."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _metadata(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidRequest(f"{where}: expected a JSON object", param="metadata")
    metadata = {str(name): item for name, item in value.items()}
    if len(orjson.dumps(metadata)) > _MOST_METADATA:
        raise InvalidRequest(f"{where}: more than {_MOST_METADATA} bytes of JSON", param="metadata")
    return metadata
