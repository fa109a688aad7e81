"""The log in Azure Tables and Blobs.

A batch of the recorder is one blob (bodies and files, each a piece of it) and a transaction for each 100
rows of a minute. A trace's rows are found by an index, which is left out where the trace is the record
alone. Totals and feedback have tables of their own.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from gateway.adapters import records_azure_keys as keys
from gateway.adapters.azure_storage import StorageAccount, StorageThreads, pack, quoted, unpack
from gateway.adapters.records_azure_feedback import FeedbackTable
from gateway.adapters.records_azure_purge import purge
from gateway.adapters.records_azure_query import Reader
from gateway.adapters.records_azure_tables import RECORDS, TABLES, TOTALS, TRACES, batches
from gateway.core.log_query import LogQuery
from gateway.core.ports import Feedback, LogEntry, RecordPage, StoredFile, Totals

_TEXTS = (
    *("provider", "model", "virtual_key", "config", "prompt", "caller_id", "trace_id", "span_id"),
    *("cache_status", "user", "mode", "error_class"),
)
_NUMBERS = ("cost", "total_tokens", "prompt_tokens", "completion_tokens", "duration_ms")
_LONGEST_TEXT = 1024  # characters of a property that filters look at


class AzureRecords:
    """A `RecordStore`. `prefix` keeps gateways in one account apart."""

    def __init__(self, account: StorageAccount, prefix: str = "") -> None:
        self._threads = StorageThreads(account, TABLES, prefix)
        self._feedback = FeedbackTable(self._threads)
        self._reader = Reader(self._threads, self._feedback)

    def append(self, entries: Sequence[LogEntry], totals: Sequence[Totals] = ()) -> None:
        self._threads.call(lambda: self._append(entries, totals))

    async def page(self, query: LogQuery) -> RecordPage:
        return await self._threads.run(lambda: self._reader.page(query))

    async def get(self, id: str) -> LogEntry | None:
        def read() -> LogEntry | None:
            entity = self._reader.find(id)
            if entity is None:
                return None
            bodies = self._piece(entity["blob"], entity["at"], entity["size"]) if entity.get("size") else None
            return LogEntry(orjson.loads(unpack(entity)), bodies)

        return await self._threads.run(read)

    async def file(self, id: str, name: str) -> StoredFile | None:
        def read() -> StoredFile | None:
            entity = self._reader.find(id)
            for stored, media_type, at, size in orjson.loads((entity or {}).get("files") or "[]"):
                if entity is not None and stored == name:
                    return StoredFile(stored, media_type, self._piece(entity["blob"], at, size))
            return None

        return await self._threads.run(read)

    async def totals(self, seconds: int, since: int, until: int) -> list[Totals]:
        def read() -> list[Totals]:
            first, last = (quoted(f"{seconds}-{keys.day(time)}") for time in (since, until))
            where = f"PartitionKey ge {first} and PartitionKey le {last}"
            found = []
            for entity in self._threads.table(TOTALS).query_entities(where):
                start, _, part = entity["RowKey"].partition("-")
                if since <= int(start) < until:
                    found.append(Totals(seconds, int(start), part, unpack(entity)))
            return found

        return await self._threads.run(read)

    async def put_feedback(self, items: Sequence[Feedback]) -> None:
        await self._threads.run(lambda: self._feedback.put(items))

    async def get_feedback(self, id: str) -> Feedback | None:
        return await self._threads.run(lambda: self._feedback.get(id))

    async def feedback(
        self, *, trace_id: str | None = None, since: float | None = None, until: float | None = None
    ) -> list[Feedback]:
        return await self._threads.run(lambda: self._feedback.list(trace_id, since, until))

    async def purge(self, before: float) -> int:
        return await self._threads.run(lambda: purge(self._threads, self._feedback, before))

    async def aclose(self) -> None:
        await self._threads.aclose()

    def _append(self, entries: Sequence[LogEntry], totals: Sequence[Totals]) -> None:
        rows = self._rows(entries)  # the blob comes first: a row never points to nothing
        traces = [_trace(entry) for entry in entries if entry.doc["trace_id"] != entry.doc["id"]]
        for table, entities in ((RECORDS, rows), (TRACES, traces), (TOTALS, map(_totals, totals))):
            for batch in batches(entities):
                self._threads.table(table).submit_transaction(batch)

    def _rows(self, entries: Sequence[LogEntry]) -> list[dict[str, Any]]:
        blob, pieces, size = _blob_name(entries), list[bytes](), 0
        rows = []
        for entry in entries:
            row = _row(entry)
            if entry.bodies is not None or entry.files:
                row["blob"] = blob
            if entry.bodies is not None:
                row |= {"at": size, "size": len(entry.bodies)}
                pieces.append(entry.bodies)
                size += len(entry.bodies)
            placed = []
            for file in entry.files:
                placed.append((file.name, file.media_type, size, len(file.data)))
                pieces.append(file.data)
                size += len(file.data)
            if placed:
                row["files"] = orjson.dumps(placed).decode()
            rows.append(row)
        if pieces:
            self._threads.blobs().upload_blob(blob, b"".join(pieces), overwrite=True)
        return rows

    def _piece(self, blob: str, at: int, size: int) -> bytes:
        data = self._threads.blobs().download_blob(blob, offset=at, length=size).readall() if size else b""
        return bytes(data)


def _row(entry: LogEntry) -> dict[str, Any]:
    doc = entry.doc
    partition, row = keys.keys_of(doc["created_at"], doc["id"])
    entity: dict[str, Any] = {"PartitionKey": partition, "RowKey": row, "id": doc["id"]}
    entity |= {name: doc[name][:_LONGEST_TEXT] for name in _TEXTS if doc.get(name)}
    entity |= {name: float(doc[name]) for name in _NUMBERS if name in doc}
    entity["status"] = doc.get("status", 0)
    return entity | pack(orjson.dumps(doc))


def _trace(entry: LogEntry) -> dict[str, Any]:
    _, row = keys.keys_of(entry.doc["created_at"], entry.doc["id"])
    return {"PartitionKey": keys.trace_partition(entry.doc["trace_id"]), "RowKey": row}


def _totals(totals: Totals) -> dict[str, Any]:
    partition = f"{totals.seconds}-{keys.day(totals.start)}"
    return {"PartitionKey": partition, "RowKey": f"{totals.start:010d}-{totals.part}", **pack(totals.data)}


def _blob_name(entries: Sequence[LogEntry]) -> str:
    """The same for the same batch, so that writing it twice leaves one blob. Named by its newest record."""
    newest = max((entry.doc["created_at"] for entry in entries), default=0.0)
    digest = hashlib.sha256("".join(_ids(entries)).encode()).hexdigest()[:32]
    return f"{keys.blob_folder(newest)}/{digest}"


def _ids(entries: Iterable[LogEntry]) -> Iterable[str]:
    return (entry.doc["id"] for entry in entries)
