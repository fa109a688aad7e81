"""Exports of the log over HTTP. The file is made while it is downloaded, page by page."""

import hashlib
import hmac
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from starlette.responses import StreamingResponse

from gateway.api.routing import ApiRequest, Route, created, listing
from gateway.core.errors import Conflict, Forbidden, NotFound
from gateway.core.exports import BODIES, export_of, line_of, most_rows
from gateway.core.log_query import MAX_PAGE_SIZE, LogQuery, parse_query
from gateway.core.log_view import iso
from gateway.core.ports import Document, DocumentStore, LogEntry, RecordStore

KIND = "log-export"
_LINK_SECONDS = 3600  # a download link is good for this long


class LogExportApi:
    """Handlers of `/v1/logs/exports`. `new_token` makes an unguessable text."""

    def __init__(
        self,
        records: RecordStore,
        documents: DocumentStore,
        clock: Callable[[], float],
        new_token: Callable[[], str],
    ) -> None:
        self._records, self._documents = records, documents
        self._clock, self._new_token = clock, new_token

    def routes(self) -> Sequence[Route]:
        scope, path = "logs.export", "/logs/exports"
        return (
            Route("POST", path, scope, self.create),
            Route("GET", path, scope, self.list),
            Route("GET", path + "/{id}", scope, self.read),
            Route("PUT", path + "/{id}", scope, self.update),
            Route("POST", path + "/{id}/start", scope, self.start),
            Route("POST", path + "/{id}/cancel", scope, self.cancel),
            Route("GET", path + "/{id}/download", scope, self.download),
            # Signed: the link itself is the right to read.
            Route("GET", path + "/{id}/data", None, self.data),
        )

    async def create(self, request: ApiRequest) -> dict[str, Any]:
        export = export_of(request.object())
        export |= {
            "status": "draft",
            "created_by": request.caller.id,
            "total": await self._total(export["filters"]),
        }
        made = await self._documents.put(KIND, self._new_token()[:32], export, expect=0)
        return created("export", _view(made))

    async def list(self, request: ApiRequest) -> dict[str, Any]:
        found = await self._documents.list(KIND)
        return listing([_view(item) for item in sorted(found, key=lambda d: d.created_at, reverse=True)])

    async def read(self, request: ApiRequest) -> dict[str, Any]:
        return _view(await self._found(request))

    async def update(self, request: ApiRequest) -> dict[str, Any]:
        old = await self._found(request)
        if old.value["status"] != "draft":
            raise Conflict("only a draft can be changed: create another export")
        body = {
            "filters": old.value["filters"],
            "requested_data": old.value["requested_data"],
        } | request.object()
        export = {**old.value, **export_of(body)}
        export["total"] = await self._total(export["filters"])
        return _view(await self._put(old, export))

    async def start(self, request: ApiRequest) -> dict[str, Any]:
        old = await self._found(request)
        if old.value["status"] == "draft":
            # Rows that come later stay out, so that each download gives the same file.
            old = await self._put(old, {**old.value, "status": "success", "until": self._clock()})
        return {"message": "export started", "object": "export", **_view(old)}

    async def cancel(self, request: ApiRequest) -> dict[str, Any]:
        old = await self._found(request)
        stopped = await self._put(old, {**old.value, "status": "stopped", "token": None})
        return {"message": "export stopped", "object": "export", **_view(stopped)}

    async def download(self, request: ApiRequest) -> dict[str, Any]:
        old = await self._found(request)
        if old.value["status"] != "success":
            raise Conflict(f"the export is {old.value['status']}: start it first")
        token = self._new_token()
        expires_at = int(self._clock()) + _LINK_SECONDS
        await self._put(old, {**old.value, "token": _hash(token), "expires_at": expires_at})
        return {
            "signed_url": f"{request.base_url}/v1/logs/exports/{old.id}/data?token={token}",
            "expires_at": iso(expires_at),
            "object": "export",
        }

    async def data(self, request: ApiRequest) -> StreamingResponse:
        token = request.query.get("token", "")
        found = (
            await self._documents.get(KIND, request.params["id"]) if _is_id(request.params["id"]) else None
        )
        right = found is not None and hmac.compare_digest(_hash(token), found.value.get("token") or "")
        if found is None or not right or found.value["expires_at"] < self._clock():
            raise Forbidden("the link is not valid, or not any more: ask for the download again")
        name = f'attachment; filename="logs-{found.id}.jsonl"'
        return StreamingResponse(
            self._lines(found.value), media_type="application/jsonl", headers={"content-disposition": name}
        )

    async def _lines(self, export: Mapping[str, Any]) -> AsyncIterator[bytes]:
        requested = export["requested_data"]
        whole = any(name in BODIES for name in requested)
        async for doc in self._rows(export["filters"], export.get("until")):
            entry = await self._records.get(doc["id"]) if whole else LogEntry(doc)
            if entry is not None:
                yield line_of(entry, requested)

    async def _rows(
        self, filters: Mapping[str, Any], until: float | None
    ) -> AsyncIterator[Mapping[str, Any]]:
        query, left = _query(filters, until), most_rows(filters)
        while left > 0:
            page = await self._records.page(query)
            for doc in page.rows[:left]:
                yield doc
            left -= len(page.rows)
            if page.next_cursor is None:
                return
            query = replace(query, cursor=page.next_cursor)

    async def _total(self, filters: Mapping[str, Any]) -> int:
        return len([None async for _ in self._rows(filters, None)])

    async def _found(self, request: ApiRequest) -> Document:
        id = request.params["id"]
        found = await self._documents.get(KIND, id) if _is_id(id) else None
        if found is None:
            raise NotFound(f"no export {id!r:.80}", param="id")
        return found

    async def _put(self, old: Document, value: Mapping[str, Any]) -> Document:
        return await self._documents.put(KIND, old.id, value, expect=old.version)


def _query(filters: Mapping[str, Any], until: float | None) -> LogQuery:
    query = parse_query(filters)
    end = min((t for t in (until, query.until) if t is not None), default=None)
    return replace(query, until=end, page_size=MAX_PAGE_SIZE, cursor=None)


def _view(export: Document) -> dict[str, Any]:
    shown = {
        name: value for name, value in export.value.items() if name not in ("token", "expires_at", "until")
    }
    times = {"created_at": iso(export.created_at), "last_updated_at": iso(export.updated_at)}
    return {"id": export.id, **shown, **times, "object": "export"}


def _is_id(id: str) -> bool:
    return 1 <= len(id) <= 64 and id.replace("-", "").replace("_", "").isalnum() and id.isascii()


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
