"""The one SQLite file of the data folder: opening, migrations, and calls off the event loop."""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from gateway.core.errors import StoreUnavailable

FILE_NAME = "gateway.db"
_PATIENCE = 5.0  # seconds to wait for another process's write
_CACHE_KIB = 8 * 1024

T = TypeVar("T")

# `PRAGMA user_version` counts the scripts that have run. Append; never edit one that was released.
MIGRATIONS = (
    """
    CREATE TABLE documents (
        kind TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, value TEXT NOT NULL,
        created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
        PRIMARY KEY (kind, id)
    ) WITHOUT ROWID;

    -- Narrow, so that a filter without an index reads little. `at` is microseconds.
    CREATE TABLE records (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, id TEXT NOT NULL,
        status INTEGER, provider TEXT, model TEXT, virtual_key TEXT, config TEXT, prompt TEXT,
        caller_id TEXT, trace_id TEXT, span_id TEXT, cache_status TEXT, user TEXT, mode TEXT,
        error_class TEXT, cost REAL, total_tokens INTEGER, prompt_tokens INTEGER,
        completion_tokens INTEGER, duration_ms REAL
    );
    CREATE UNIQUE INDEX records_id ON records (id);
    -- Each index ends in `seq`, the row id, as pages are ordered by (at, seq).
    CREATE INDEX records_at ON records (at);
    CREATE INDEX records_trace_id ON records (trace_id, at);
    CREATE INDEX records_status ON records (status, at);
    CREATE INDEX records_virtual_key ON records (virtual_key, at);
    CREATE INDEX records_caller_id ON records (caller_id, at);
    CREATE INDEX records_model ON records (model, at);

    CREATE TABLE details (seq INTEGER PRIMARY KEY, doc BLOB NOT NULL, bodies BLOB);
    CREATE TABLE labels (
        name TEXT NOT NULL, value TEXT NOT NULL, at INTEGER NOT NULL, seq INTEGER NOT NULL,
        PRIMARY KEY (name, value, at, seq)
    ) WITHOUT ROWID;
    CREATE TABLE files (
        seq INTEGER NOT NULL, name TEXT NOT NULL, media_type TEXT NOT NULL, data BLOB NOT NULL,
        PRIMARY KEY (seq, name)
    );

    CREATE TABLE totals (
        seconds INTEGER NOT NULL, start INTEGER NOT NULL, part TEXT NOT NULL, data BLOB NOT NULL,
        PRIMARY KEY (seconds, start, part)
    ) WITHOUT ROWID;
    CREATE TABLE feedback (
        id TEXT PRIMARY KEY, trace_id TEXT NOT NULL, created_at REAL NOT NULL,
        value INTEGER NOT NULL, weight REAL NOT NULL, metadata TEXT NOT NULL
    );
    CREATE INDEX feedback_trace ON feedback (trace_id);
    CREATE INDEX feedback_at ON feedback (created_at);
    """,
)


def connect(folder: Path) -> sqlite3.Connection:
    """A connection to the folder's file, made and migrated where needed. It may change threads."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / FILE_NAME
    # Records hold what users said: the file is its owner's alone. One that is there is not opened besides
    # SQLite: closing it would take this process's locks away, and another process that closes the file
    # last would then delete the log under our connections. Source: https://sqlite.org/howtocorrupt.html
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    # In WAL mode NORMAL loses nothing when the process dies; a power cut may cost the last commits.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    _migrate(connection)
    return connection


def _migrate(connection: sqlite3.Connection) -> None:
    if _version(connection) >= len(MIGRATIONS):
        return
    with transaction(connection):  # another process may be at it: look again inside
        for number, script in enumerate(MIGRATIONS[_version(connection) :], _version(connection) + 1):
            for statement in script.split(";\n"):
                if statement.strip():
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


class transaction:
    """All or nothing; waits for other writers before it reads anything."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._connection.execute("COMMIT")
        elif self._connection.in_transaction:  # a full disk may have rolled it back already
            self._connection.execute("ROLLBACK")


class SqliteThread:
    """Runs calls with a connection in a thread of its own, so that they hold up nobody else's."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    async def run(self, call: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self.call, call)

    def call(self, call: Callable[[sqlite3.Connection], T]) -> T:
        """The same from a thread; raises `StoreUnavailable` for what SQLite raises."""
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = connect(self._folder)
                return call(self._connection)
            except (sqlite3.Error, OSError) as error:
                self._drop()
                raise StoreUnavailable(f"the store in {self._folder} failed: {error}") from error

    def _drop(self) -> None:
        """Forget the connection: the next call opens a fresh one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    async def aclose(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._pool, self.close)
        self._pool.shutdown(wait=False)

    def close(self) -> None:
        with self._lock:
            self._drop()
