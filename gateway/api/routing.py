"""The management API's routes: which handler, and which scope it needs."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from gateway.core.caller import Caller
from gateway.core.errors import InvalidRequest, MethodNotAllowed
from gateway.core.headers import RequestHeaders
from gateway.core.jsontext import loads

_MAX_QUERY_FIELDS = 100


@dataclass(slots=True)
class ApiRequest:
    """A management call. `params` are the path's, unescaped; `raw_body` is bounded already."""

    method: str
    path: str
    params: Mapping[str, str]
    query_string: str
    headers: RequestHeaders
    caller: Caller
    raw_body: bytes = b""
    base_url: str = ""  # as the client spelt it, for links
    client_ip: str | None = None
    note: dict[str, Any] = field(default_factory=dict)  # for the audit: {"before": ..., "after": ...}

    @property
    def query(self) -> dict[str, str]:
        """The query's fields, empty ones left out; of a repeated one the last."""
        try:
            pairs = parse_qsl(self.query_string, max_num_fields=_MAX_QUERY_FIELDS)
        except ValueError:
            raise InvalidRequest(f"the query has more than {_MAX_QUERY_FIELDS} fields") from None
        return dict(pairs)

    def json(self) -> Any:
        """The body's JSON; an empty body is an empty object."""
        return loads(self.raw_body) if self.raw_body.strip() else {}

    def object(self) -> dict[str, Any]:
        """The body, which must be a JSON object."""
        value = self.json()
        if not isinstance(value, dict):
            raise InvalidRequest("the request body must be a JSON object", code="invalid_json")
        return value

    def page(self, default: int = 100, most: int = 1000) -> tuple[int, int]:
        """(page from 0, size), in either spelling that Portkey's SDKs use."""
        query = self.query
        number = _count(query, ("current_page", "currentPage"), 0, 1_000_000)
        return number, max(1, _count(query, ("page_size", "pageSize"), default, most))


@dataclass(slots=True)
class ApiResponse:
    """For what is not plain 200 JSON. `body` is JSON unless `content_type` says otherwise."""

    body: Any
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[ApiRequest], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Route:
    """`path` is after `/v1`, with `{name}` for a segment.

    `scope` is what the caller needs; of several, one. None: open to all, nobody is asked who they are.
    """

    method: str
    path: str
    scope: str | tuple[str, ...] | None
    handler: Handler

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes of which a caller needs one."""
        if self.scope is None:
            return ()
        return (self.scope,) if isinstance(self.scope, str) else self.scope


class Router:
    """Finds a route: literal segments before `{name}`s, segment by segment."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes = tuple(routes)
        self._patterns = sorted(
            {route.path for route in routes},
            key=lambda path: [part.startswith("{") for part in path.split("/")],
        )
        self._compiled = [(re.compile(_pattern(path)), path) for path in self._patterns]
        self._roots = frozenset(path.split("/")[1] for path in self._patterns)
        self._by_path: dict[str, dict[str, Route]] = {}
        for route in routes:
            self._by_path.setdefault(route.path, {})[route.method] = route

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        """The route and its params; None when no path fits; `MethodNotAllowed` when only the verb does not."""
        if path.split("/", 2)[1] not in self._roots:
            return None
        verbs: set[str] = set()
        for pattern, template in self._compiled:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            route = self._by_path[template].get(method)
            if route is not None:
                return route, {name: unquote(value) for name, value in match.groupdict().items()}
            verbs.update(self._by_path[template])
        if verbs:
            allowed = ", ".join(sorted(verbs))
            raise MethodNotAllowed(
                f"{method} is not allowed on {path}: use {allowed}", headers={"allow": allowed}
            )
        return None


def listing(items: Sequence[Any], total: int | None = None) -> dict[str, Any]:
    """A list as Portkey's SDKs read it: never a bare array."""
    return {"object": "list", "total": len(items) if total is None else total, "data": list(items)}


def created(kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """A creation in both shapes: Portkey's API wraps it in `data`, its Python SDK reads the top."""
    flat = {**values, "object": kind}
    return {"success": True, **flat, "data": flat}


def _pattern(path: str) -> str:
    return re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(path))


def _count(query: Mapping[str, str], names: Sequence[str], default: int, most: int) -> int:
    for name in names:
        if (text := query.get(name)) is not None:
            if not text.isascii() or not text.isdigit() or len(text) > 9:
                raise InvalidRequest(f"{name}: must be a whole number from 0, got {text[:20]!r}", param=name)
            return min(int(text), most)
    return default
