import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.adapters.records_sqlite import SqliteRecords
from gateway.adapters.sqlite_file import FILE_NAME, MIGRATIONS, connect, transaction
from gateway.core.errors import StoreUnavailable
from gateway.core.log_query import LogQuery
from gateway.core.ports import LogEntry

WRITER = """
import sys
from pathlib import Path
from gateway.adapters.records_sqlite import SqliteRecords
from gateway.core.ports import LogEntry

store = SqliteRecords(Path(sys.argv[1]))
for n in range(100):
    store.append([LogEntry({"id": f"{sys.argv[2]}-{n}", "created_at": 1.7e9 + n, "trace_id": "t"})])
"""


async def test_processes_share_the_file_from_its_making_on(tmp_path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), name]) for name in "abc"]  # noqa: ASYNC220
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    store = SqliteRecords(tmp_path)
    page = await store.page(LogQuery(page_size=1000))
    await store.aclose()
    assert len(page.rows) == 300


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    connect(tmp_path).close()
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600


def test_migrations_run_once_and_are_counted(tmp_path: Path) -> None:
    for _ in range(2):
        connection = connect(tmp_path)
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        connection.close()


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    connection = connect(tmp_path)
    row = "INSERT INTO totals VALUES (60, 0, 'a', x'00')"
    with pytest.raises(sqlite3.IntegrityError), transaction(connection):
        [connection.execute(row) for _ in range(2)]
    assert connection.execute("SELECT count(*) FROM totals").fetchone() == (0,)
    connection.close()


async def test_a_broken_file_is_a_store_that_is_away(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"this is no database, whatever its name says" * 100)
    store = SqliteRecords(tmp_path)
    with pytest.raises(StoreUnavailable):
        await store.page(LogQuery())
    with pytest.raises(StoreUnavailable):
        store.append([LogEntry({"id": "x", "created_at": 1.0, "trace_id": "t"})])
    (tmp_path / FILE_NAME).unlink()
    store.append([LogEntry({"id": "x", "created_at": 1.0, "trace_id": "t"})])
    assert len((await store.page(LogQuery())).rows) == 1
    await store.aclose()


def test_a_connection_sees_what_another_committed(tmp_path: Path) -> None:
    first, second = connect(tmp_path), connect(tmp_path)
    first.execute("INSERT INTO totals VALUES (60, 0, 'a', x'00')")
    assert second.execute("SELECT count(*) FROM totals").fetchone() == (1,)
    with pytest.raises(sqlite3.IntegrityError):
        second.execute("INSERT INTO totals VALUES (60, 0, 'a', x'00')")
    first.close()
    second.close()


def test_another_process_that_leaves_takes_nothing_from_under_us(tmp_path: Path) -> None:
    """Were our locks gone, the one that closes would think itself the last and delete the write-ahead log."""
    first, second = connect(tmp_path), connect(tmp_path)
    first.execute("CREATE TABLE t (x)")
    visitor = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "c.execute('INSERT INTO t VALUES (1)'); c.close()"
    )
    subprocess.run([sys.executable, "-c", visitor, str(tmp_path / "gateway.db")], check=True, timeout=60)
    first.execute("INSERT INTO t VALUES (2)")
    third = connect(tmp_path)
    for connection in (first, second, third):
        assert connection.execute("SELECT x FROM t ORDER BY x").fetchall() == [(1,), (2,)]
        connection.close()
