"""Analytics over HTTP: graphs, groups, the summary of the cache. All paths in both SDKs' spellings."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from gateway.api.routing import ApiRequest, Route, listing
from gateway.core import analytics
from gateway.core.analytics import Span, Sums
from gateway.core.analytics_graphs import ALIASES, GRAPHS, Graph, Source, cache_summary, feedback_graph, users
from gateway.core.errors import InvalidRequest, NotFound
from gateway.core.log_query import MAX_PAGE_SIZE, LogQuery, inside, parse_query
from gateway.core.log_view import iso
from gateway.core.ports import Feedback, RecordStore, Totals

T = TypeVar("T")

_MOST_RECORDS = 50_000  # read for a query that totals cannot answer; the newest, and it is said
_MOST_TRACES = 1000  # with feedback, whose records are looked up
_TRACES_AT_ONCE = 20

# The last of a path under `/analytics/groups/` -> the dimension, and what a row calls its value.
_GROUPS = {
    "ai-models": ("model", "ai_model"),
    "models": ("model", "ai_model"),
    "provider": ("provider", "provider"),
    "providers": ("provider", "provider"),
    "virtual-keys": ("virtual_key", "virtual_key"),
    "configs": ("config", "config"),
    "prompts": ("prompt", "prompt_slug"),
    "api-keys": ("caller_id", "api_key_id"),
    "status-codes": ("status", "status_code"),
    "status-code": ("status", "status_code"),
    "cache-status": ("cache_status", "cache_status"),
    # As the SDKs spell what `group_by` and `groupedData` take.
    "ai_service": ("provider", "ai_service"),
    "model": ("model", "model"),
    "status_code": ("status", "status_code"),
    "api_key": ("caller_id", "api_key"),
    "config": ("config", "config"),
    "prompt": ("prompt", "prompt"),
    "virtual_key": ("virtual_key", "virtual_key"),
}
_LONGEST_COLUMNS = 1000  # characters of the parameter


@dataclass(frozen=True, slots=True)
class _Read:
    """What a query looks at: totals where they do, else the records themselves."""

    query: LogQuery
    span: Span
    totals: Sequence[Totals]
    docs: Sequence[Mapping[str, Any]]
    partial: bool

    def source(self) -> Source:
        found = analytics.samples_of_totals(self.totals, self.query) if self.totals else ()
        return Source(self.span, [*found, *analytics.samples_of_records(self.docs)])

    def names(self, label: str | None) -> Iterable[tuple[float, str, Sequence[float]]]:
        yield from analytics.names_of_totals(self.totals, label)
        yield from analytics.names_of_records(self.docs, label)


class AnalyticsApi:
    """Handlers of `/v1/analytics`. `clock` gives unix seconds."""

    def __init__(self, records: RecordStore, clock: Callable[[], float]) -> None:
        self._records, self._clock = records, clock
        # Adding up may take a while: not on the event loop, nor on a pool that others wait for.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="analytics")

    def routes(self) -> Sequence[Route]:
        scope, paths = "analytics.view", [*GRAPHS, *ALIASES, "users", "users/requests"]
        paths += ["feedbacks", "feedbacks/scores", "feedbacks/weighted", "feedbacks/ai-models"]
        graphs = [
            Route("GET", f"/analytics/graphs/{path}", scope, partial(self.graph, ALIASES.get(path, path)))
            for path in paths
        ]
        return (
            *graphs,
            Route("GET", "/analytics/summary/cache", scope, self.summary),
            Route("GET", "/analytics/groups/users", scope, partial(self.names, None)),
            Route("GET", "/analytics/groups/workspaces", scope, partial(self.workspaces, "workspace_slug")),
            Route("GET", "/analytics/groups/workspace", scope, partial(self.workspaces, "workspace")),
            Route("GET", "/analytics/groups/metadata/{key}", scope, self.metadata),
            Route("GET", "/analytics/groups/{name}", scope, self.group),
        )

    async def graph(self, path: str, request: ApiRequest) -> dict[str, Any]:
        query = parse_query(request.query)
        if path.startswith("feedbacks"):
            return _graph(await self._feedback_graph(path, query), False)
        read = await self._read(query, names=path.startswith("users"))
        if path.startswith("users"):
            both = await self._run(lambda: users(read.span, read.names(None)))
            return _graph(both[path == "users/requests"], read.partial)
        return _graph(await self._run(lambda: GRAPHS[path](read.source())), read.partial)

    async def summary(self, request: ApiRequest) -> dict[str, Any]:
        read = await self._read(parse_query(request.query))
        summary = await self._run(lambda: cache_summary(read.source()))
        # The Python SDK reads `data`, Portkey's API has `summary`.
        return {"summary": summary, "data": summary, "object": "analytics-summary"}

    async def group(self, request: ApiRequest) -> dict[str, Any]:
        name = request.params["name"]
        if name not in _GROUPS:
            raise NotFound(
                f"no group {name!r:.60}; known are users, workspaces, metadata/KEY, {', '.join(_GROUPS)}"
            )
        dimension, shown = _GROUPS[name]
        read = await self._read(parse_query(request.query))
        sums = await self._run(lambda: analytics.group(read.source().samples, dimension))
        return await self._rows(request, read, sums, shown, lambda doc: doc.get(dimension))

    async def workspaces(self, shown: str, request: ApiRequest) -> dict[str, Any]:
        """One row: a gateway is one workspace."""
        read = await self._read(parse_query(request.query))
        sums = await self._run(lambda: analytics.fold(read.source().samples, lambda at, key: "default"))
        return await self._rows(request, read, sums, shown, lambda doc: "default")

    async def metadata(self, request: ApiRequest) -> dict[str, Any]:
        return await self.names(request.params["key"], request)

    async def names(self, label: str | None, request: ApiRequest) -> dict[str, Any]:
        """The group of users (`label` None) or of a metadata key's values."""
        read = await self._read(parse_query(request.query), names=True)

        def add_up() -> dict[str, Sums]:
            sums: dict[str, Sums] = {}
            for _, name, counts in read.names(label):
                sums.setdefault(name, Sums()).add(list(counts), {})
            return sums

        shown = "user" if label is None else "metadata_value"

        def value(doc: Mapping[str, Any]) -> Any:
            return doc.get("user") if label is None else (doc.get("metadata") or {}).get(label)

        return await self._rows(request, read, await self._run(add_up), shown, value)

    async def _rows(
        self,
        request: ApiRequest,
        read: _Read,
        sums: Mapping[Any, Sums],
        shown: str,
        value: Callable[[Mapping[str, Any]], Any],
    ) -> dict[str, Any]:
        weights = await self._weights(read, value)
        rows = _ordered(analytics.group_rows(sums, shown, weights), request.query)
        start = read.query.current_page * read.query.page_size
        page = rows[start : start + read.query.page_size]
        for row in page:
            row["last_seen"] = iso(row["last_seen"])
        return listing(_only(page, request.query, shown), len(rows)) | (
            {"partial": True} if read.partial else {}
        )

    async def _read(self, query: LogQuery, *, names: bool = False) -> _Read:
        span = analytics.span_of(query, self._clock())
        if analytics.by_totals(query) and not (names and (query.one_of or query.provider_models)):
            totals: list[Totals] = []
            for seconds, since, until in analytics.reads(span):
                totals += await self._records.totals(seconds, since, until)
            return _Read(query, span, totals, (), False)
        docs, more = await self._docs(replace(query, since=span.since, until=span.until))
        return _Read(query, span, (), docs, more)

    async def _docs(self, query: LogQuery) -> tuple[list[Mapping[str, Any]], bool]:
        docs: list[Mapping[str, Any]] = []
        query = replace(query, page_size=MAX_PAGE_SIZE, cursor=None)
        while True:
            page = await self._records.page(query)
            docs += page.rows
            if page.next_cursor is None or len(docs) >= _MOST_RECORDS:
                return docs, page.next_cursor is not None
            query = replace(query, cursor=page.next_cursor)

    async def _feedback_graph(self, path: str, query: LogQuery) -> Graph:
        span = analytics.span_of(query, self._clock())
        items = await self._feedback(query, span)
        models: dict[str, str] = {}
        if path == "feedbacks/ai-models":
            models = {doc["trace_id"]: doc.get("model") or "unknown" for doc in await self._of_traces(items)}
        return feedback_graph(path, span, items, models)

    async def _feedback(self, query: LogQuery, span: Span) -> list[Feedback]:
        """What was given in the range, to the traces that the query lets through."""
        items = await self._records.feedback(since=span.since, until=span.until)
        if query.feedback is not None:
            limits = query.feedback
            items = [item for item in items if inside(item.value * item.weight, limits)]
        filters = replace(query, since=None, until=None, feedback=None)
        if filters.one_of or filters.within or filters.metadata or filters.provider_models:
            traces = {doc["trace_id"] for doc in await self._of_traces(items, filters)}
            items = [item for item in items if item.trace_id in traces]
        return items

    async def _weights(
        self, read: _Read, value: Callable[[Mapping[str, Any]], Any]
    ) -> dict[Any, list[float]]:
        """The weighted feedback of each value of a group."""
        # A judgement may come long after the request: all that came since then count.
        items = await self._records.feedback(since=read.span.since)
        within = LogQuery(since=read.span.since, until=read.span.until)
        values = {doc["trace_id"]: value(doc) for doc in await self._of_traces(items, within)}
        weights: dict[Any, list[float]] = {}
        for item in items:
            if (found := values.get(item.trace_id)) is not None:
                weights.setdefault(found, []).append(item.value * item.weight)
        return weights

    async def _of_traces(
        self, items: Sequence[Feedback], query: LogQuery | None = None
    ) -> list[Mapping[str, Any]]:
        """The records of the traces that were judged, oldest first, so that the newest has the last word."""
        traces = list(dict.fromkeys(item.trace_id for item in items))[:_MOST_TRACES]
        base = query or LogQuery()
        asked = base.one_of.get("trace_id")
        docs: list[Mapping[str, Any]] = []
        for start in range(0, len(traces), _TRACES_AT_ONCE):
            some = frozenset[str | int](traces[start : start + _TRACES_AT_ONCE])
            wanted = some & asked if asked is not None else some
            if wanted:
                docs += (await self._docs(replace(base, one_of={**base.one_of, "trace_id": wanted})))[0]
        return docs[::-1]

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)


def _ordered(rows: list[dict[str, Any]], query: Mapping[str, str]) -> list[dict[str, Any]]:
    """The rows by `order_by` (a column, the highest first unless `order_by_type` is asc)."""
    column, way = query.get("order_by"), query.get("order_by_type", "desc").lower()
    if way not in ("asc", "desc"):
        raise InvalidRequest(f"order_by_type: must be asc or desc, got {way!r:.40}", param="order_by_type")
    if column is None or not rows:
        return rows
    if column not in rows[0]:
        raise InvalidRequest(
            f"order_by: no column {column!r:.60}; there are {', '.join(rows[0])}", param="order_by"
        )

    def key(row: Mapping[str, Any]) -> tuple[bool, Any]:
        value = row[column]
        return value is not None, value if isinstance(value, int | float) else str(value)

    return sorted(rows, key=key, reverse=way == "desc")


def _only(rows: list[dict[str, Any]], query: Mapping[str, str], shown: str) -> list[dict[str, Any]]:
    """The rows with the columns that `columns` names, all of them where it names none."""
    asked = {part.strip() for part in query.get("columns", "")[:_LONGEST_COLUMNS].split(",") if part.strip()}
    if not asked:
        return rows
    return [{n: v for n, v in row.items() if n in asked or n in (shown, "object")} for row in rows]


def _graph(graph: Graph, cut: bool) -> dict[str, Any]:
    summary, points = graph
    shown = {"summary": summary, "data_points": points, "data": points, "object": "analytics-graph"}
    return shown | {"partial": True} if cut else shown
