"""What is wrong with a config, as lines of path, rule and fix."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from gateway.core.errors import InvalidRequest

_MOST_SHOWN = 50  # problems in one message; the rest is counted

_RULES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "missing": lambda _: "is required",
    "greater_than_equal": lambda c: f"must be >= {c['ge']:g}",
    "greater_than": lambda c: f"must be > {c['gt']:g}",
    "less_than_equal": lambda c: f"must be <= {c['le']:g}",
    "literal_error": lambda c: f"must be {c['expected']}",
    "string_too_short": lambda _: "must not be empty",
    "string_too_long": lambda c: f"must have at most {c['max_length']} characters",
    "too_long": lambda c: f"must have at most {c['max_length']} items",
    "value_error": lambda c: str(c["error"]),
    "finite_number": lambda _: "must be a finite number",
}
_TYPES = (
    ("int", "must be a whole number"),
    ("float", "must be a number"),
    ("bool", "must be true or false"),
    ("string", "must be text"),
    ("list", "must be a list"),
    ("dict", "must be an object"),
    ("model", "must be an object"),
)
_NAMES: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "null",
}


class InvalidConfig(InvalidRequest):
    """Every problem of a config at once, each with its path and what to write instead."""

    code = "invalid_config"

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        shown = "; ".join(problems[:_MOST_SHOWN])
        more = len(problems) - _MOST_SHOWN
        super().__init__(f"Invalid config: {shown}" + (f"; and {more} more" if more > 0 else ""))


def problems_of(error: ValidationError) -> list[str]:
    """One line for each: `config.targets[1].weight: must be >= 0, got -1`."""
    return [_line(item["loc"], item["type"], item.get("ctx") or {}, item["input"]) for item in _items(error)]


def _items(error: ValidationError) -> list[Any]:
    return list(error.errors(include_url=False))


def _line(loc: tuple[int | str, ...], kind: str, context: Mapping[str, Any], value: Any) -> str:
    return f"{path_of(loc)}: {_rule(kind, context)}{_got(kind, value)}"


def path_of(loc: tuple[int | str, ...]) -> str:
    """`config.targets[1].weight` of ("targets", 1, "weight")."""
    return "config" + "".join(f"[{step}]" if isinstance(step, int) else f".{step[:80]}" for step in loc)


def _rule(kind: str, context: Mapping[str, Any]) -> str:
    if kind in _RULES:
        return _RULES[kind](context)
    return next((text for start, text in _TYPES if kind.startswith(start)), "is not valid")


def _got(kind: str, value: Any) -> str:
    """What was found. Only where the rule is about a number or a choice is the value itself shown:
    elsewhere it may be a secret in the wrong place."""
    if kind in ("missing", "value_error", "string_too_short", "string_too_long", "too_long"):
        return ""
    if kind == "literal_error" and isinstance(value, str):
        return f", got {value[:40]!r}"
    if kind in ("greater_than_equal", "greater_than", "less_than_equal") and isinstance(value, int | float):
        return f", got {value}"
    return f", got {_NAMES.get(type(value), 'something else')}"
