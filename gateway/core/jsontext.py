"""JSON from outside, read strictly, fast and bounded; and written back."""

import json
from typing import Any

import orjson

from gateway.core.errors import InvalidRequest


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def loads(data: bytes | str, what: str = "the request body") -> Any:
    """The value in `data`; raises `InvalidRequest` that says where it stops being JSON.

    orjson refuses lone surrogates (`"\\ud83d"`), which clients do send when they cut a text in an
    emoji; the standard library reads them, and the bytes go upstream as they came.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        first = error
    try:
        # By itself the standard library would guess UTF-16 and UTF-32, which no upstream takes.
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise InvalidRequest(f"{what} is not valid JSON: {first}", code="invalid_json") from None


def loads_object(data: bytes | str, what: str = "the request body") -> dict[str, Any]:
    """As `loads`, for what must be an object."""
    value = loads(data, what)
    if not isinstance(value, dict):
        raise InvalidRequest(f"{what} must be a JSON object, got {_kind(value)}", code="invalid_json")
    return value


def dumps(value: Any) -> bytes:
    """Compact UTF-8 JSON; raises `InvalidRequest` for what is nested hundreds of levels deep."""
    try:
        return orjson.dumps(value)
    except TypeError:  # lone surrogates, integers past 64 bits, more than 254 levels
        pass
    try:
        return json.dumps(value, separators=(",", ":")).encode()
    except RecursionError:
        raise InvalidRequest("the JSON is nested too deeply", code="invalid_json") from None


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    kinds = {bool: "a boolean", int: "a number", float: "a number", str: "a text", list: "an array"}
    return kinds.get(type(value), "something else")
