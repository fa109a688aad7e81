"""Records past their time go, others stay."""

import time
from pathlib import Path

from gateway.adapters.records_sqlite import SqliteRecords
from gateway.core.log_query import LogQuery
from gateway.core.ports import LogEntry
from gateway.front_door import FrontDoor

DAY = 86_400


async def test_a_purge_deletes_records_past_the_days_that_are_set(tmp_path: Path) -> None:
    now = time.time()
    store = SqliteRecords(tmp_path)
    ages = {"old": 3 * DAY, "young": DAY}
    store.append([LogEntry({"id": id, "created_at": now - age, "trace_id": id}) for id, age in ages.items()])
    door = FrontDoor({"GATEWAY_DATA_DIR": str(tmp_path), "GATEWAY_LOG_RETENTION_DAYS": "2"})
    assert await door.purge() == 1
    assert [row["id"] for row in (await store.page(LogQuery())).rows] == ["young"]
    await door.aclose()
    await store.aclose()


async def test_a_purge_with_bad_settings_does_nothing() -> None:
    assert await FrontDoor({"GATEWAY_LOG_RETENTION_DAYS": "soon"}).purge() == 0
