"""Bodies as the SDKs write them: Portkey's Python SDK sends camelCase, its Node SDK snake_case at the top only."""

import re
from collections.abc import Container
from typing import Any

_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_MAX_DEPTH = 32


def snake(name: str) -> str:
    """`deploymentConfig`, `deployment-config`, `deployment_config` are `deployment_config`."""
    return name if name.islower() and "-" not in name else _BOUNDARY.sub("_", name).replace("-", "_").lower()


def items_of(body: Any) -> list[Any] | None:
    """The items of a list; None where the body is none.

    Portkey's Node SDK writes a list as `{"0": ..., "1": ...}`.
    """
    if isinstance(body, dict) and body and list(body) == [str(n) for n in range(len(body))]:
        return list(body.values())
    return body if isinstance(body, list) else None


def snake_keys(value: Any, *, opaque: Container[str] = (), depth: int = 0) -> Any:
    """The value with all keys in snake_case, but for what stands under a key of `opaque`."""
    if depth > _MAX_DEPTH:
        return value
    if isinstance(value, dict):
        return {
            name: item if name in opaque else snake_keys(item, opaque=opaque, depth=depth + 1)
            for name, item in ((snake(str(key)), item) for key, item in value.items())
        }
    if isinstance(value, list):
        return [snake_keys(item, opaque=opaque, depth=depth + 1) for item in value]
    return value
