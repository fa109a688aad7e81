"""What a variable is as text, and whether a section takes it for true: JavaScript's rules.

Source: measured with Portkey's engine (`@portkey-ai/mustache` 2.1.5).
"""

import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import orjson

from gateway.core.errors import TemplateInvalid

_JSON = orjson.OPT_NON_STR_KEYS  # variables that never were JSON, from a Python caller


class Missing:
    """The type of `MISSING`: no such variable, which renders as nothing."""

    def __bool__(self) -> bool:
        return False


MISSING = Missing()


def text_of(name: str, value: Any) -> str:
    """A string as it is, null as nothing, objects as JSON, an array as JSON without its brackets."""
    if isinstance(value, str):
        return value
    if value is None or value is MISSING:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _number(value)
    text = json_of(name, value)
    return text[1:-1] if isinstance(value, list) else text


def json_of(name: str, value: Any) -> str:
    """Compact JSON. Raises `TemplateInvalid` for what JSON cannot say, naming the variable."""
    try:
        return orjson.dumps(value, option=_JSON).decode()
    except TypeError:  # half of a surrogate pair, an integer past 64 bits, or no JSON
        pass
    try:
        return json.dumps(value, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise TemplateInvalid(
            f'the variable "{name}" cannot be written as JSON: {error}', param=f"variables.{name}"
        ) from error


def escape_json(name: str, text: str) -> str:
    """Text as it stands between the quotes of a JSON string."""
    return json_of(name, text)[1:-1]


def truthy(value: Any) -> bool:
    """JavaScript's truth, where an empty array counts as false too (mustache's rule)."""
    if isinstance(value, float):
        return value != 0 and not math.isnan(value)
    return bool(value) or isinstance(value, Mapping)


def step_into(value: Any, key: str) -> Any:
    """`value.key`: a member, an item by its index, or `length`; `MISSING` where there is none."""
    if isinstance(value, Mapping):
        return value.get(key, MISSING)
    if isinstance(value, list | str) and key == "length":
        return len(value)
    if isinstance(value, list) and key.isascii() and key.isdigit() and len(key) < 8 and int(key) < len(value):
        return value[int(key)]
    return MISSING


def _number(value: float) -> str:
    """As JavaScript prints it: `1`, not `1.0`; an exponent only from 1e21 and below 1e-6."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0:
        return "0"
    if 1e-6 <= abs(value) < 1e21:
        return str(int(value)) if value.is_integer() else format(Decimal(repr(value)), "f")
    mantissa, _, exponent = repr(value).partition("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent):+d}"
