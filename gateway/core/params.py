"""What a config does to the body: default < body < override, then drop."""

from collections.abc import Mapping
from typing import Any

from gateway.core.targets import ParamRules

Path = tuple[str | int, ...]
ANY = "*"
_MAX_STEPS = 32  # deeper than any API's body; a path is the operator's, but may come with the request
_MAX_INDEX = 1_000_000


def apply_params(rules: ParamRules, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The body under the rules. The very object when nothing changes, else a new one.

    The caller's body is never edited: what it shares with the result is not written to.
    """
    result = body
    if rules.default or rules.override:
        merged = {**rules.default, **body, **rules.override}
        if len(merged) != len(body) or any(body[key] is not value for key, value in rules.override.items()):
            result = merged
    for path in rules.drop:
        result = _drop(result, path)
    return result


def _drop(node: Any, path: Path) -> Any:
    """`node` without what is at `path`; the same object when there is nothing there."""
    step, rest = path[0], path[1:]
    if isinstance(node, list):
        return _drop_item(node, step, rest)
    if not isinstance(node, Mapping) or not isinstance(step, str) or step not in node:
        return node
    if not rest:
        return {key: value for key, value in node.items() if key != step}
    inner = _drop(node[step], rest)
    return node if inner is node[step] else {**node, step: inner}


def _drop_item(items: list[Any], step: str | int, rest: Path) -> list[Any]:
    if step == ANY:
        return _drop_all(items, rest)
    if not isinstance(step, int) or step >= len(items):
        return items
    if not rest:
        return items[:step] + items[step + 1 :]
    inner = _drop(items[step], rest)
    return items if inner is items[step] else [*items[:step], inner, *items[step + 1 :]]


def _drop_all(items: list[Any], rest: Path) -> list[Any]:
    if not rest:
        return [] if items else items
    dropped = [_drop(item, rest) for item in items]
    same = all(new is old for new, old in zip(dropped, items, strict=True))
    return items if same else dropped


def parse_path(text: str) -> Path:
    """`messages[*].name` as ("messages", "*", "name"). `ValueError` says what is wrong."""
    steps: list[str | int] = []
    for part in text.split("."):
        name, *indices = part.split("[")
        if name or not indices or not steps:
            steps.append(_name(name))
        steps.extend(_index(index) for index in indices)
    if len(steps) > _MAX_STEPS:
        raise ValueError(f"must have at most {_MAX_STEPS} steps")
    return tuple(steps)


def _name(text: str) -> str:
    if not text or "]" in text:
        raise ValueError("must be a path such as user, response_format.schema, x[0] or messages[*].name")
    return text


def _index(text: str) -> str | int:
    inner = text.removesuffix("]")
    if inner == text or not (inner == ANY or (inner.isascii() and inner.isdigit())):
        raise ValueError("must have [0], [1], ... or [*] in brackets")
    if inner == ANY:
        return ANY
    if len(inner) > 7 or int(inner) > _MAX_INDEX:
        raise ValueError(f"must have an index of at most {_MAX_INDEX}")
    return int(inner)
