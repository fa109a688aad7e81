"""Queries of conditional routing: parsed once, then asked of each call.

Operators and bare-value equality are Portkey's. Two choices differ from its open gateway and follow
its documentation: sibling keys are a conjunction, and any test of an absent key is false.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.core.headers import metadata_text

Path = tuple[str, ...]
Report = Callable[[str, str], None]  # path, problem

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "$gt": lambda a, b: a > b,
    "$gte": lambda a, b: a >= b,
    "$lt": lambda a, b: a < b,
    "$lte": lambda a, b: a <= b,
}
OPERATORS = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$regex")
_MAX_SUBJECT = 1 << 18  # characters a regular expression looks at; it takes about a millisecond


class Facts(Protocol):
    """What a query may ask about."""

    def lookup(self, path: Path) -> Any:
        """The value there, or `ABSENT`."""
        ...


class _Absent:
    __slots__ = ()


ABSENT = _Absent()


class Pattern(Protocol):
    """A compiled regular expression of a linear-time engine."""

    def search(self, text: str) -> Any: ...


@dataclass(frozen=True, slots=True)
class Test:
    """One operator on the value at one path."""

    path: Path
    operator: str
    operand: Any  # compiled for $regex

    __test__ = False  # not a test case, whatever pytest makes of the name


@dataclass(frozen=True, slots=True)
class All:
    parts: tuple["Query", ...]


@dataclass(frozen=True, slots=True)
class Either:
    parts: tuple["Query", ...]


Query = Test | All | Either


def matches(query: Query, facts: Facts) -> bool:
    """Whether the query holds."""
    if isinstance(query, All):
        return all(matches(part, facts) for part in query.parts)
    if isinstance(query, Either):
        return any(matches(part, facts) for part in query.parts)
    value = facts.lookup(query.path)
    return value is not ABSENT and _holds(query.operator, value, query.operand)


def _holds(operator: str, value: Any, operand: Any) -> bool:
    if operator == "$eq":
        return _same(value, operand)
    if operator == "$ne":
        return not _same(value, operand)
    if operator == "$in":
        return any(_same(value, item) for item in operand)
    if operator == "$nin":
        return not any(_same(value, item) for item in operand)
    if operator == "$regex":
        return isinstance(value, str) and operand.search(value[:_MAX_SUBJECT]) is not None
    left = _number(value)
    return left is not None and _COMPARE[operator](left, operand)


def _same(left: Any, right: Any) -> bool:
    # JavaScript's ===, which Portkey uses: true is not 1, "1" is not 1.
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return bool(left == right)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return None if number != number else number  # NaN compares with nothing


def parse_query(raw: Any, path: str, report: Report, depth: int) -> Query | None:
    """The query in `raw`; problems go to `report`, and then the result is None."""
    if not isinstance(raw, Mapping) or not raw:
        report(path, 'must be an object such as {"metadata.tier": {"$eq": "paid"}}')
        return None
    parts = [_parse_entry(key, value, path, report, depth) for key, value in raw.items()]
    good = tuple(part for part in parts if part is not None)
    if len(good) != len(parts):
        return None
    return good[0] if len(good) == 1 else All(good)


def _parse_entry(key: str, value: Any, path: str, report: Report, depth: int) -> Query | None:
    if key in ("$and", "$or"):
        return _parse_logic(key, value, f"{path}.{key}", report, depth)
    if key.startswith("$"):
        report(f"{path}.{key}", "is not an operator here, use $and, $or or a key such as metadata.tier")
        return None
    where = f"{path}[{key!r}]"
    steps = tuple(key.split("."))
    if steps[0] not in ("metadata", "params") and key != "url.pathname":
        report(where, "must start with metadata. or params., or be url.pathname")
        return None
    if len(steps) < 2 or not all(steps):
        report(where, "must name a value, such as metadata.tier")
        return None
    return _parse_tests(steps, value, where, report)


def _parse_logic(key: str, value: Any, path: str, report: Report, depth: int) -> Query | None:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        report(path, "must be a list of queries")
        return None
    if depth <= 0:
        report(path, "is nested too deeply, flatten the query")
        return None
    parts = [parse_query(item, f"{path}[{i}]", report, depth - 1) for i, item in enumerate(value)]
    good = tuple(part for part in parts if part is not None)
    if len(good) != len(parts):
        return None
    return All(good) if key == "$and" else Either(good)


def _parse_tests(steps: Path, value: Any, path: str, report: Report) -> Query | None:
    if not isinstance(value, Mapping):
        return Test(steps, "$eq", _operand(steps, value))
    if not value:
        report(path, f"must hold an operator: {', '.join(OPERATORS)}")
        return None
    tests = [_parse_test(steps, op, operand, f"{path}.{op}", report) for op, operand in value.items()]
    good = tuple(test for test in tests if test is not None)
    if len(good) != len(tests):
        return None
    return good[0] if len(good) == 1 else All(good)


def _parse_test(steps: Path, operator: str, operand: Any, path: str, report: Report) -> Test | None:
    if operator not in OPERATORS:
        report(path, f"is not an operator, use one of {', '.join(OPERATORS)}")
        return None
    if operator in _COMPARE:
        number = _number(operand)
        if number is None:
            report(path, "must be a number")
            return None
        return Test(steps, operator, number)
    if operator in ("$in", "$nin"):
        if not isinstance(operand, Sequence) or isinstance(operand, str):
            report(path, "must be a list of values")
            return None
        return Test(steps, operator, tuple(_operand(steps, item) for item in operand))
    if operator == "$regex":
        return _parse_regex(steps, operand, path, report)
    return Test(steps, operator, _operand(steps, operand))


def _operand(steps: Path, value: Any) -> Any:
    """The value to compare with: metadata is text, so that `true` and `5` must be met as text."""
    return metadata_text(value) if steps[0] == "metadata" else value


def _parse_regex(steps: Path, operand: Any, path: str, report: Report) -> Test | None:
    # RE2 runs in linear time, so that no pattern can run away. Imported on first need: a cold start
    # without regular expressions should not pay for it.
    import re2  # type: ignore[import-untyped]  # it ships no types

    if not isinstance(operand, str):
        report(path, "must be a regular expression as text")
        return None
    options = re2.Options()
    options.max_mem = 1 << 19  # bytes; what needs more takes longest to compile, and most often fails
    options.log_errors = False
    try:
        return Test(steps, "$regex", re2.compile(operand, options))
    except re2.error as error:
        report(path, f"is not a regular expression RE2 can run: {_text(error)}")
        return None


def _text(error: Exception) -> str:
    reason = error.args[0] if error.args else "invalid"
    return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
