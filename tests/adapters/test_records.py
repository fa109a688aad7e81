"""The contract of `RecordStore`, held by every implementation."""

import random
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.adapters.records_azure import AzureRecords
from gateway.adapters.records_sqlite import SqliteRecords
from gateway.core.errors import InvalidRequest
from gateway.core.log_query import LogQuery, matches, parse_query
from gateway.core.ports import Feedback, LogEntry, RecordStore, StoredFile, Totals

START = 1_700_000_000.0
MINUTE = 1_699_999_980  # the one that START lies in


def entry(number: int, **fields: Any) -> LogEntry:
    # Ids as the gateway makes them: a UUID of version 7, which begins with the milliseconds.
    created_at = START + number
    id = f"{int(created_at * 1000):012x}-7000-8000-{number:012x}"
    id = f"{id[:8]}-{id[8:]}"
    doc = {"id": id, "created_at": created_at, "trace_id": f"t{number}", "status": 200}
    return LogEntry({**doc, **fields})


@pytest.fixture(params=["sqlite", "azure"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RecordStore]:
    records: RecordStore
    if request.param == "sqlite":
        records = SqliteRecords(tmp_path)
    else:
        records = AzureRecords(request.getfixturevalue("azurite"), "t" + secrets.token_hex(8))
    yield records
    await records.aclose()


async def everything(store: RecordStore, query: dict[str, Any]) -> list[str]:
    ids, cursor = [], None
    while True:
        page = await store.page(parse_query({**query, "cursor": cursor}))
        ids += [row["id"] for row in page.rows]
        cursor = page.next_cursor
        if cursor is None:
            return ids


async def test_the_newest_come_first_page_by_page(store: RecordStore) -> None:
    entries = [entry(n) for n in range(25)]
    store.append(entries[:10])
    store.append(entries[10:])
    page = await store.page(LogQuery(page_size=10))
    assert [row["id"] for row in page.rows] == [e.doc["id"] for e in reversed(entries[15:])]
    assert page.next_cursor is not None
    assert await everything(store, {"page_size": 10}) == [e.doc["id"] for e in reversed(entries)]
    assert await everything(store, {"page_size": 25}) == [e.doc["id"] for e in reversed(entries)]


async def test_a_cursor_stays_right_while_rows_arrive(store: RecordStore) -> None:
    old = [entry(n) for n in range(20)]
    store.append(old)
    seen, cursor, newer = [], None, 100
    while True:
        page = await store.page(LogQuery(page_size=3, cursor=cursor))
        seen += [row["id"] for row in page.rows]
        cursor = page.next_cursor
        if cursor is None:
            break
        store.append([entry(newer), entry(newer + 1)])
        newer += 2
    assert len(seen) == len(set(seen))
    assert [e.doc["id"] for e in reversed(old)] == [id for id in seen if id in {e.doc["id"] for e in old}]


async def test_records_of_the_same_instant_are_all_shown_once(store: RecordStore) -> None:
    same = [LogEntry({**entry(n).doc, "created_at": START}) for n in range(10)]
    store.append(same)
    assert sorted(await everything(store, {"page_size": 3})) == sorted(e.doc["id"] for e in same)


async def test_appending_twice_does_no_harm(store: RecordStore) -> None:
    entries = [entry(n, metadata={"team": "a"}) for n in range(3)]
    totals = [Totals(60, MINUTE, "w", b"{}")]
    store.append(entries, totals)
    store.append(entries, totals)
    assert len(await everything(store, {})) == 3
    assert len(await everything(store, {"metadata": '{"team":"a"}'})) == 3
    assert len(await store.totals(60, MINUTE, MINUTE + 60)) == 1


async def test_a_record_comes_back_with_its_bodies_and_files(store: RecordStore) -> None:
    doc = {**entry(1).doc, "metadata": {"_user": "é"}, "attempts": [{"target": "config", "status": 200}]}
    image = StoredFile("response-0.png", "image/png", b"\x89PNG" * 1000)
    store.append([LogEntry(doc, b"\x1f\x8bpacked", [image]), entry(2)])
    found = await store.get(doc["id"])
    assert found is not None
    assert (found.doc, found.bodies) == (doc, b"\x1f\x8bpacked")
    assert await store.file(doc["id"], "response-0.png") == image
    assert await store.file(doc["id"], "other.png") is None
    assert await store.file("nothing", "response-0.png") is None
    bare = await store.get(entry(2).doc["id"])
    assert bare is not None
    assert bare.bodies is None
    assert await store.get("no such id") is None
    assert await store.get("../../x'; --") is None


FILTERS: list[dict[str, Any]] = [
    {"status_code": "429"},
    {"status_code": "429,500"},
    {"status_code": "200", "virtual_keys": "vk-b"},
    {"virtual_keys": "vk-a,vk-b"},
    {"virtual_keys": "vk-'a\"; --"},
    {"trace_id": "t7"},
    {"trace_id": "t7,t8,absent"},
    {"model": "gpt-4o", "provider": "azure-openai"},
    {"ai_org_model": "azure-openai__gpt-4o,openai__o1"},
    {"configs": "pc-1"},
    {"prompt_slug": "pp-1"},
    {"api_key_ids": "k1"},
    {"cache_status": "HIT"},
    {"metadata": '{"team":"red"}'},
    {"metadata": '{"team":"red","_user":"u1"}'},
    {"metadata": '{"team":"red"}', "status_code": "200"},
    {"user": "u1"},
    {"cost_min": "0.5"},
    {"cost_min": "0.1", "cost_max": "0.6"},
    {"total_units_max": "40"},
    {"prompt_token_min": "10", "completion_token_max": "30"},
    {"time_of_generation_min": START + 20, "time_of_generation_max": START + 40},
    {"time_of_generation_min": START + 20, "status_code": "429"},
    {"mode": "fallback", "span_id": "s1"},
]


async def test_every_filter_finds_what_fits_and_nothing_else(store: RecordStore) -> None:
    entries = varied(60)
    store.append(entries)
    for query in FILTERS:
        expected = [e.doc["id"] for e in reversed(entries) if matches(parse_query(query), e.doc)]
        assert await everything(store, {**query, "page_size": 7}) == expected, query


def varied(number: int) -> list[LogEntry]:
    pick = random.Random(5).choice
    entries = []
    for n in range(number):
        fields = {
            "status": pick([200, 200, 200, 429, 500]),
            "virtual_key": pick(["vk-a", "vk-b", "vk-'a\"; --", None]),
            "model": pick(["gpt-4o", "o1"]),
            "provider": pick(["azure-openai", "openai"]),
            "config": pick(["pc-1", None]),
            "prompt": pick(["pp-1", None]),
            "caller_id": pick(["k1", "k2"]),
            "cache_status": pick(["HIT", "MISS", "DISABLED"]),
            "metadata": pick([{"team": "red", "_user": "u1"}, {"team": "blue"}, {"team": "red"}, None]),
            "user": pick(["u1", "u2", None]),
            "cost": pick([0.0, 0.25, 0.75, None]),
            "total_tokens": pick([10, 40, 90, None]),
            "prompt_tokens": pick([5, 20, None]),
            "completion_tokens": pick([5, 70, None]),
            "mode": pick(["single", "fallback"]),
            "span_id": pick(["s1", "s2"]),
        }
        entries.append(entry(n, **{name: value for name, value in fields.items() if value is not None}))
    return entries


async def test_a_foreign_cursor_is_refused(store: RecordStore) -> None:
    for cursor in ["nonsense", "eyJhIjoxfQ", "W10", "é", "A" * 5000]:
        with pytest.raises(InvalidRequest):
            await store.page(LogQuery(cursor=cursor))


async def test_totals_are_replaced_by_part_and_read_by_range(store: RecordStore) -> None:
    store.append([], [Totals(60, MINUTE, "a", b"1"), Totals(60, MINUTE, "b", b"2")])
    big = b"x" * 200_000
    store.append(
        [], [Totals(60, MINUTE, "a", b"3"), Totals(60, MINUTE + 60, "a", big), Totals(3600, 0, "a", b"4")]
    )
    assert await store.totals(60, MINUTE, MINUTE + 61) == [
        Totals(60, MINUTE, "a", b"3"),
        Totals(60, MINUTE, "b", b"2"),
        Totals(60, MINUTE + 60, "a", big),
    ]
    assert len(await store.totals(60, MINUTE, MINUTE + 60)) == 2
    assert await store.totals(60, MINUTE + 120, MINUTE + 1000) == []
    assert await store.totals(3600, 0, 1) == [Totals(3600, 0, "a", b"4")]


async def test_feedback_is_found_by_id_trace_and_time(store: RecordStore) -> None:
    items = [Feedback(f"f{n}", f"t{n % 2}", START + n, n - 1, 0.5, {"n": n}) for n in range(4)]
    await store.put_feedback(items)
    assert await store.get_feedback("f2") == items[2]
    assert await store.get_feedback("none") is None
    assert await store.feedback(trace_id="t1") == [items[1], items[3]]
    assert await store.feedback(since=START + 1, until=START + 3) == items[1:3]
    changed = Feedback("f2", "t0", START + 2, 10, 1.0, {})
    await store.put_feedback([changed])
    assert await store.feedback(trace_id="t0") == [items[0], changed]


async def test_weighted_feedback_filters_records_by_their_trace(store: RecordStore) -> None:
    entries = [entry(n) for n in range(4)]
    store.append(entries)
    await store.put_feedback([Feedback("a", "t1", START, 10), Feedback("b", "t2", START, -5, 0.5)])
    assert await everything(store, {"weighted_feedback_min": "5"}) == [entries[1].doc["id"]]
    assert await everything(store, {"weighted_feedback_max": "0"}) == [entries[2].doc["id"]]


async def test_purge_deletes_what_is_older_and_nothing_else(store: RecordStore) -> None:
    entries = [
        LogEntry({**entry(n * 60, metadata={"team": "a"}).doc, "files": [{"name": "f"}]}, b"body",
                 [StoredFile("f", "image/png", b"x")])
        for n in range(10)
    ]  # fmt: skip
    store.append(entries, [Totals(60, MINUTE + 60 * n, "a", b"{}") for n in range(10)])
    await store.put_feedback([Feedback("old", "t", START, 1), Feedback("new", "t", START + 500, 1)])
    assert await store.purge(START + 300) == 5
    kept = [e.doc["id"] for e in reversed(entries[5:])]
    assert await everything(store, {}) == kept
    assert await everything(store, {"metadata": '{"team":"a"}'}) == kept
    assert await store.get(entries[0].doc["id"]) is None
    assert await store.file(entries[0].doc["id"], "f") is None
    assert await store.file(entries[9].doc["id"], "f") is not None
    assert [f.id for f in await store.feedback(trace_id="t")] == ["new"]
    assert [t.start for t in await store.totals(60, 0, 2**40)] == [MINUTE + 60 * n for n in range(5, 10)]
    assert await store.purge(START + 300) == 0
