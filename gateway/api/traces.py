"""Traces over HTTP."""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.api.routing import ApiRequest, Route
from gateway.core.errors import NotFound
from gateway.core.log_query import MAX_PAGE_SIZE, LogQuery
from gateway.core.ports import RecordStore
from gateway.core.traces import span_tree

_MOST_SPANS = 5000


class TraceApi:
    """Handlers of `/v1/traces`."""

    def __init__(self, records: RecordStore) -> None:
        self._records = records

    def routes(self) -> Sequence[Route]:
        return (Route("GET", "/traces/{trace_id}", "logs.view", self.read),)

    async def read(self, request: ApiRequest) -> dict[str, Any]:
        trace_id = request.params["trace_id"]
        docs: list[Mapping[str, Any]] = []
        cursor = None
        while len(docs) < _MOST_SPANS:
            query = LogQuery(
                one_of={"trace_id": frozenset([trace_id])}, page_size=MAX_PAGE_SIZE, cursor=cursor
            )
            page = await self._records.page(query)
            docs += page.rows
            cursor = page.next_cursor
            if cursor is None:
                break
        feedback = await self._records.feedback(trace_id=trace_id)
        if not docs and not feedback:
            raise NotFound(f"no trace {trace_id!r:.80}", param="trace_id")
        return span_tree(trace_id, docs, feedback) | {"truncated": cursor is not None}
