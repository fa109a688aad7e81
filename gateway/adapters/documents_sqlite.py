"""Documents in SQLite."""

import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from gateway.adapters.sqlite_file import SqliteThread, transaction
from gateway.core.documents import check_kind, check_names, encode_value
from gateway.core.errors import Conflict
from gateway.core.ports import Document

_COLUMNS = "kind, id, version, value, created_at, updated_at"


class SqliteDocuments:
    """A `DocumentStore` in the file of `folder`. `clock` gives unix seconds."""

    def __init__(self, folder: Path, clock: Callable[[], float]) -> None:
        self._thread = SqliteThread(folder, "documents")
        self._clock = clock

    async def get(self, kind: str, id: str) -> Document | None:
        check_names(kind, id)
        return await self._thread.run(lambda db: _get(db, kind, id))

    async def put(
        self, kind: str, id: str, value: Mapping[str, Any], *, expect: int | None = None
    ) -> Document:
        check_names(kind, id)
        text = encode_value(value).decode()
        now = int(self._clock())
        return await self._thread.run(lambda db: _put(db, kind, id, text, expect, now))

    async def delete(self, kind: str, id: str) -> bool:
        check_names(kind, id)

        def delete(db: sqlite3.Connection) -> bool:
            return db.execute("DELETE FROM documents WHERE kind = ? AND id = ?", (kind, id)).rowcount > 0

        return await self._thread.run(delete)

    async def list(self, kind: str, *, prefix: str = "") -> list[Document]:
        check_kind(kind)

        def rows(db: sqlite3.Connection) -> list[Document]:
            # Ids are ASCII, so a tilde and one more byte ends the range of a prefix.
            sql = f"SELECT {_COLUMNS} FROM documents WHERE kind = ? AND id >= ? AND id < ? ORDER BY id"  # noqa: S608
            return [_document(row) for row in db.execute(sql, (kind, prefix, prefix + "\x7f"))]

        return await self._thread.run(rows)

    async def aclose(self) -> None:
        await self._thread.aclose()


def _get(db: sqlite3.Connection, kind: str, id: str) -> Document | None:
    sql = f"SELECT {_COLUMNS} FROM documents WHERE kind = ? AND id = ?"  # noqa: S608  (constant columns)
    row = db.execute(sql, (kind, id)).fetchone()
    return None if row is None else _document(row)


def _put(db: sqlite3.Connection, kind: str, id: str, text: str, expect: int | None, now: int) -> Document:
    with transaction(db):
        old = _get(db, kind, id)
        version = old.version if old else 0
        if expect is not None and expect != version:
            raise Conflict(f"{kind} {id}: changed meanwhile: version {version}, expected {expect}")
        row = (kind, id, version + 1, text, old.created_at if old else now, now)
        db.execute(f"INSERT OR REPLACE INTO documents ({_COLUMNS}) VALUES (?,?,?,?,?,?)", row)  # noqa: S608
    return _document(row)


def _document(row: tuple[Any, ...]) -> Document:
    kind, id, version, value, created_at, updated_at = row
    return Document(kind, id, version, orjson.loads(value), created_at, updated_at)
