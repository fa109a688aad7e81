"""The log over HTTP: list, detail, files, logs that clients write themselves."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from gateway.api.routing import ApiRequest, ApiResponse, Route
from gateway.core.custom_log import records_of
from gateway.core.errors import NotFound
from gateway.core.log_query import LogQuery, parse_query
from gateway.core.log_view import list_row, log_object
from gateway.core.ports import Recorder, RecordStore
from gateway.core.traces import feedback_view

# Files come from upstreams and callers: they are shown as images or sounds, or else downloaded, never run.
_SHOWN = ("image/png", "image/jpeg", "image/webp", "image/gif", "audio/mpeg", "audio/wav", "audio/ogg")


class LogRecorder(Recorder, Protocol):
    """A recorder that tells how it does."""

    def status(self) -> dict[str, int]: ...


class LogApi:
    """Handlers of `/v1/logs`. `new_id` makes an id of a time, `clock` gives unix seconds."""

    def __init__(
        self,
        records: RecordStore,
        recorder: LogRecorder,
        clock: Callable[[], float],
        new_id: Callable[[float], str],
    ) -> None:
        self._records, self._recorder = records, recorder
        self._clock, self._new_id = clock, new_id

    def routes(self) -> Sequence[Route]:
        return (
            Route("GET", "/logs", "logs.list", self.list),
            Route("POST", "/logs", "logs.write", self.create),
            Route("GET", "/logs/recorder", "logs.list", self.counters),
            Route("GET", "/logs/{id}", "logs.view", self.read),
            Route("GET", "/logs/{id}/files/{name}", "logs.view", self.file),
        )

    async def list(self, request: ApiRequest) -> dict[str, Any]:
        query = await self._from_page(parse_query(request.query))
        page = await self._records.page(query)
        return {
            "object": "list",
            "data": [list_row(doc) for doc in page.rows],
            "next_cursor": page.next_cursor,
            "has_more": page.next_cursor is not None,
            "total": len(page.rows) if page.total is None else page.total,
        }

    async def counters(self, request: ApiRequest) -> dict[str, Any]:
        """What became of the records of the instance that answers: written, waiting, dropped."""
        return {"object": "recorder", **self._recorder.status()}

    async def read(self, request: ApiRequest) -> dict[str, Any]:
        entry = await self._records.get(request.params["id"])
        if entry is None:
            raise NotFound(f"no log {request.params['id']!r:.80}", param="id")
        feedback = await self._records.feedback(trace_id=entry.doc["trace_id"])
        shown = log_object(entry, [feedback_view(item) for item in feedback])
        return {**shown, "data": shown, "success": True}

    async def file(self, request: ApiRequest) -> ApiResponse:
        found = await self._records.file(request.params["id"], request.params["name"])
        if found is None:
            raise NotFound("no such file", param="name")
        shown = found.media_type in _SHOWN
        place = "inline" if shown else "attachment"
        headers = {
            "content-disposition": f'{place}; filename="{found.name}"',
            "x-content-type-options": "nosniff",
            "content-security-policy": "sandbox; default-src 'none'",
        }
        media_type = found.media_type if shown else "application/octet-stream"
        return ApiResponse(found.data, content_type=media_type, headers=headers)

    async def create(self, request: ApiRequest) -> dict[str, Any]:
        records = records_of(request.json(), self._clock(), self._new_id)
        for record in records:
            record.caller_id, record.caller_name = request.caller.id, request.caller.name
            self._recorder.put(record)
        return {"status": "success", "success": True, "ids": [record.id for record in records]}

    async def _from_page(self, query: LogQuery) -> LogQuery:
        """A query by page number as one by cursor, for clients that count pages."""
        skip = query.current_page if query.cursor is None else 0
        for _ in range(min(skip, 1000)):
            page = await self._records.page(query)
            if page.next_cursor is None:
                return replace(query, until=0.0, cursor=None)  # past the last page: nothing
            query = replace(query, cursor=page.next_cursor)
        return query
