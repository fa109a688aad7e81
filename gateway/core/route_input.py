"""What routing may know of a call."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orjson import JSONDecodeError, loads

from gateway.core.conditions import ABSENT, Path
from gateway.core.headers import metadata_text

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
            return _of_metadata(self.metadata, rest)
        if root == "params":
            return _walk(self.params(), rest)
        return self.pathname if path == ("url", "pathname") else ABSENT


def _of_metadata(metadata: Mapping[str, str], steps: Sequence[str]) -> Any:
    """A name may have dots; if there is none such, what is inside a value that was sent as an object."""
    text = metadata.get(".".join(steps))
    if text is None and len(steps) > 1 and (outer := metadata.get(steps[0], "")).startswith(("{", "[")):
        try:
            text = metadata_text(_walk(loads(outer), steps[1:], None))
        except JSONDecodeError:  # it was cut, or never was JSON
            return ABSENT
    return ABSENT if text is None else text


def _walk(value: Any, steps: Sequence[str], absent: Any = ABSENT) -> Any:
    for step in steps:
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and len(step) < 8 and int(step) < len(value):
            value = value[int(step)]
        else:
            return absent
    return value
