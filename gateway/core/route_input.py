"""What routing may know of a call."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.core.conditions import ABSENT, Path

_NO_PARAMS: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class RouteInput:
    """What conditions, pins and health keys look at. `params` parses the body on first need."""

    metadata: Mapping[str, str] = field(default_factory=dict)
    pathname: str = ""
    params: Callable[[], Mapping[str, Any]] = lambda: _NO_PARAMS
    model: str | None = None  # as asked for
    operation: str = ""  # "chat/completions", ...
    origin: str = "request"  # the virtual key or host the request itself brought

    def lookup(self, path: Path) -> Any:
        """The value at `metadata.x`, `params.a.b` or `url.pathname`, else `ABSENT`."""
        root, rest = path[0], path[1:]
        if root == "metadata":
            return self.metadata.get(".".join(rest), ABSENT)
        if root == "params":
            return _walk(self.params(), rest)
        return self.pathname if path == ("url", "pathname") else ABSENT


def _walk(value: Any, steps: Sequence[str]) -> Any:
    for step in steps:
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and len(step) < 8 and int(step) < len(value):
            value = value[int(step)]
        else:
            return ABSENT
    return value
