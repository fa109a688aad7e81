"""The log in SQLite: one writer in the recorder's thread, readers beside it (WAL)."""

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson

from gateway.adapters.records_sqlite_query import select
from gateway.adapters.sqlite_file import SqliteThread, transaction
from gateway.core.log_query import LogQuery
from gateway.core.paging import encode_cursor
from gateway.core.ports import Feedback, LogEntry, RecordPage, StoredFile, Totals

COLUMNS = (
    *("status", "provider", "model", "virtual_key", "config", "prompt", "caller_id", "trace_id", "span_id"),
    *("cache_status", "user", "mode", "error_class", "cost", "total_tokens", "prompt_tokens"),
    *("completion_tokens", "duration_ms"),
)
_INSERT = f"INSERT OR IGNORE INTO records (at, id, {', '.join(COLUMNS)}) VALUES (?, ?{', ?' * len(COLUMNS)})"  # noqa: S608
_PURGE_BATCH = 5000  # records; a longer transaction would hold up the writer


class SqliteRecords:
    """A `RecordStore` in the file of `folder`."""

    def __init__(self, folder: Path) -> None:
        self._writer = SqliteThread(folder, "records-writer")
        self._reader = SqliteThread(folder, "records-reader")

    def append(self, entries: Sequence[LogEntry], totals: Sequence[Totals] = ()) -> None:
        self._writer.call(lambda db: _append(db, entries, totals))

    async def page(self, query: LogQuery) -> RecordPage:
        return await self._reader.run(lambda db: _page(db, query))

    async def get(self, id: str) -> LogEntry | None:
        return await self._reader.run(lambda db: _get(db, id))

    async def file(self, id: str, name: str) -> StoredFile | None:
        def read(db: sqlite3.Connection) -> StoredFile | None:
            row = db.execute(
                "SELECT name, media_type, data FROM files"
                " WHERE seq = (SELECT seq FROM records WHERE id = ?) AND name = ?",
                (id, name),
            ).fetchone()
            return None if row is None else StoredFile(*row)

        return await self._reader.run(read)

    async def totals(self, seconds: int, since: int, until: int) -> list[Totals]:
        def read(db: sqlite3.Connection) -> list[Totals]:
            rows = db.execute(
                "SELECT seconds, start, part, data FROM totals"
                " WHERE seconds = ? AND start >= ? AND start < ? ORDER BY start, part",
                (seconds, since, until),
            )
            return [Totals(*row) for row in rows]

        return await self._reader.run(read)

    async def put_feedback(self, items: Sequence[Feedback]) -> None:
        rows = [
            (f.id, f.trace_id, f.created_at, f.value, f.weight, orjson.dumps(f.metadata).decode())
            for f in items
        ]

        def write(db: sqlite3.Connection) -> None:
            with transaction(db):
                db.executemany("INSERT OR REPLACE INTO feedback VALUES (?, ?, ?, ?, ?, ?)", rows)

        await self._writer.run(write)

    async def get_feedback(self, id: str) -> Feedback | None:
        return next(iter(await self._reader.run(lambda db: _feedback(db, "id = ?", (id,)))), None)

    async def feedback(
        self, *, trace_id: str | None = None, since: float | None = None, until: float | None = None
    ) -> list[Feedback]:
        where, values = ["1"], list[Any]()
        for clause, value in (
            ("trace_id = ?", trace_id),
            ("created_at >= ?", since),
            ("created_at < ?", until),
        ):
            if value is not None:
                where.append(clause)
                values.append(value)
        return await self._reader.run(lambda db: _feedback(db, " AND ".join(where), values))

    async def purge(self, before: float) -> int:
        deleted = 0
        while batch := await self._writer.run(lambda db: _purge_batch(db, int(before * 1e6))):
            deleted += batch
        await self._writer.run(lambda db: _purge_rest(db, before))
        return deleted

    async def aclose(self) -> None:
        await self._reader.aclose()
        await self._writer.aclose()


def _append(db: sqlite3.Connection, entries: Sequence[LogEntry], totals: Sequence[Totals]) -> None:
    with transaction(db):
        for entry in entries:
            doc = entry.doc
            at = round(doc["created_at"] * 1e6)
            row = db.execute(_INSERT, (at, doc["id"], *map(doc.get, COLUMNS)))
            if row.rowcount:
                _append_rest(db, row.lastrowid, at, entry)
        db.executemany(
            "INSERT OR REPLACE INTO totals VALUES (?, ?, ?, ?)",
            [(t.seconds, t.start, t.part, t.data) for t in totals],
        )


def _append_rest(db: sqlite3.Connection, seq: int | None, at: int, entry: LogEntry) -> None:
    db.execute("INSERT INTO details VALUES (?, ?, ?)", (seq, orjson.dumps(entry.doc), entry.bodies))
    if metadata := entry.doc.get("metadata"):
        db.executemany(
            "INSERT OR IGNORE INTO labels VALUES (?, ?, ?, ?)",
            [(name, value, at, seq) for name, value in metadata.items()],
        )
    if entry.files:
        db.executemany(
            "INSERT INTO files VALUES (?, ?, ?, ?)",
            [(seq, f.name, f.media_type, f.data) for f in entry.files],
        )


def _page(db: sqlite3.Connection, query: LogQuery) -> RecordPage:
    sql, values = select(query, lambda sql, values: db.execute(sql, values).fetchone()[0])
    found = db.execute(sql, values).fetchall()
    rows, more = found[: query.page_size], len(found) > query.page_size
    docs = {
        seq: orjson.loads(doc)
        for seq, doc in db.execute(
            f"SELECT seq, doc FROM details WHERE seq IN ({', '.join('?' * len(rows))})",  # noqa: S608
            [seq for _, seq in rows],
        )
    }
    return RecordPage(
        [docs[seq] for _, seq in rows if seq in docs], encode_cursor(*rows[-1]) if more else None
    )


def _get(db: sqlite3.Connection, id: str) -> LogEntry | None:
    row = db.execute(
        "SELECT doc, bodies FROM details WHERE seq = (SELECT seq FROM records WHERE id = ?)", (id,)
    ).fetchone()
    return None if row is None else LogEntry(orjson.loads(row[0]), row[1])


def _feedback(db: sqlite3.Connection, where: str, values: Iterable[Any]) -> list[Feedback]:
    sql = f"SELECT id, trace_id, created_at, value, weight, metadata FROM feedback WHERE {where}"  # noqa: S608
    rows = db.execute(sql + " ORDER BY created_at, id", list(values))
    return [Feedback(a, b, c, d, e, orjson.loads(metadata)) for a, b, c, d, e, metadata in rows]


def _purge_batch(db: sqlite3.Connection, before: int) -> int:
    with transaction(db):
        doomed = db.execute(
            "SELECT seq, at FROM records WHERE at < ? ORDER BY at LIMIT ?", (before, _PURGE_BATCH)
        ).fetchall()
        seqs = [(seq,) for seq, _ in doomed]
        _purge_labels(db, doomed)
        for table in ("files", "details", "records"):
            db.executemany(f"DELETE FROM {table} WHERE seq = ?", seqs)  # noqa: S608
    return len(doomed)


def _purge_labels(db: sqlite3.Connection, doomed: list[tuple[int, int]]) -> None:
    for seq, at in doomed:
        row = db.execute("SELECT doc FROM details WHERE seq = ?", (seq,)).fetchone()
        metadata = orjson.loads(row[0]).get("metadata") if row else None
        db.executemany(
            "DELETE FROM labels WHERE name = ? AND value = ? AND at = ? AND seq = ?",
            [(name, value, at, seq) for name, value in (metadata or {}).items()],
        )


def _purge_rest(db: sqlite3.Connection, before: float) -> None:
    with transaction(db):
        db.execute("DELETE FROM totals WHERE start + seconds <= ?", (int(before),))
        db.execute("DELETE FROM feedback WHERE created_at < ?", (before,))
