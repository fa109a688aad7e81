import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.adapters.budgets import KIND, Budgets
from gateway.adapters.documents_sqlite import SqliteDocuments
from gateway.core.errors import StoreUnavailable
from gateway.core.limits import Limits, parse_limits
from gateway.core.ports import Document, DocumentStore
from tests.support.clock import Clock

NOVEMBER = 1_700_000_000.0  # 2023-11-14
DOLLAR = 100_000_000


def limits(**usage: Any) -> Limits:
    made = parse_limits("key:1", "API key 'k'", None, {"credit_limit": 10, **usage})
    assert made is not None
    return made


@pytest.fixture
def clock() -> Clock:
    return Clock(NOVEMBER)


@pytest.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncIterator[SqliteDocuments]:
    documents = SqliteDocuments(tmp_path, clock)
    yield documents
    await documents.aclose()


async def never(seconds: float) -> None:
    await asyncio.Event().wait()


def budgets(store: DocumentStore, clock: Clock) -> Budgets:
    """One instance; it writes when it is told to."""
    return Budgets(store, clock=clock, sleep=never)


async def test_spending_survives_a_restart(store: SqliteDocuments, clock: Clock) -> None:
    first = budgets(store, clock)
    assert await first.load(limits()) == 0
    first.add(limits(), cost=3 * DOLLAR, tokens=50)
    assert first.peek(limits()) == 3 * DOLLAR
    await first.aclose()
    second = budgets(store, clock)
    assert second.peek(limits()) is None
    assert await second.load(limits()) == 3 * DOLLAR
    assert second.peek(limits()) == 3 * DOLLAR
    await second.aclose()


async def test_a_killed_instance_loses_what_it_had_not_written(store: SqliteDocuments, clock: Clock) -> None:
    """It writes every two seconds, so that is at most what came in since."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            await never(seconds)

    first = Budgets(store, clock=clock, sleep=sleep)
    first.add(limits(), cost=DOLLAR, tokens=1)
    while await store.get(KIND, "key:1") is None:
        await store.get(KIND, "none")  # lets the background write go on
    first.add(limits(), cost=DOLLAR, tokens=1)
    assert waited[0] == 2.0
    assert await budgets(store, clock).load(limits()) == DOLLAR
    await first.aclose()


async def test_instances_add_up(store: SqliteDocuments, clock: Clock) -> None:
    one, two = budgets(store, clock), budgets(store, clock)
    for instance in (one, two):
        await instance.load(limits())
    for _ in range(5):
        for instance in (one, two):
            instance.add(limits(), cost=DOLLAR // 10, tokens=7)
            assert await instance.flush()
    assert await one.load(limits()) == await two.load(limits()) == DOLLAR
    document = await store.get(KIND, "key:1")
    assert document is not None
    assert document.value["tokens"] == 70
    for instance in (one, two):
        await instance.aclose()


async def test_a_new_period_starts_from_nothing(store: SqliteDocuments, clock: Clock) -> None:
    monthly = limits(periodic_reset="monthly")
    instance = budgets(store, clock)
    instance.add(monthly, cost=9 * DOLLAR, tokens=1)
    await instance.flush()
    clock.now += 20 * 86_400
    assert instance.peek(monthly) is None
    assert await instance.load(monthly) == 0
    instance.add(monthly, cost=DOLLAR, tokens=1)
    await instance.flush()
    assert await budgets(store, clock).load(monthly) == DOLLAR
    await instance.aclose()


async def test_a_late_writer_does_not_undo_the_next_period(store: SqliteDocuments, clock: Clock) -> None:
    monthly = limits(periodic_reset="monthly")
    late, punctual = budgets(store, clock), budgets(store, clock)
    late.add(monthly, cost=9 * DOLLAR, tokens=1)
    clock.now += 20 * 86_400
    punctual.add(monthly, cost=DOLLAR, tokens=1)
    await punctual.flush()
    assert await late.flush()
    assert await punctual.load(monthly) == DOLLAR
    for instance in (late, punctual):
        await instance.aclose()


async def test_another_rhythm_starts_from_nothing(store: SqliteDocuments, clock: Clock) -> None:
    instance = budgets(store, clock)
    instance.add(limits(periodic_reset="weekly"), cost=9 * DOLLAR, tokens=1)
    await instance.flush()
    monthly = limits(periodic_reset="monthly")
    assert await instance.load(monthly) == 0
    instance.add(monthly, cost=DOLLAR, tokens=1)
    assert await instance.flush()
    assert await budgets(store, clock).load(monthly) == DOLLAR
    await instance.aclose()


async def test_alert_and_exhaustion_are_told_once_whoever_notices(
    store: SqliteDocuments, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    watched = limits(alert_threshold=8)
    one, two = budgets(store, clock), budgets(store, clock)
    with caplog.at_level(logging.WARNING, logger="gateway.limits"):
        for cost in (7, 1, 1, 1, 1):
            for instance in (one, two):
                instance.add(watched, cost=cost * DOLLAR // 2, tokens=1)
                await instance.flush()
    told = [(record.message, record.__dict__["spent"]) for record in caplog.records]
    assert told == [("budget.alert", 8.0), ("budget.exhausted", 10.0)]
    for instance in (one, two):
        await instance.aclose()


async def test_reset_forgets_what_was_spent(store: SqliteDocuments, clock: Clock) -> None:
    instance = budgets(store, clock)
    instance.add(limits(), cost=9 * DOLLAR, tokens=1)
    await instance.reset("key:1")
    assert await instance.load(limits()) == 0
    await instance.aclose()
    assert await store.get(KIND, "key:1") is None


class Away:
    """A store that is away until told otherwise."""

    def __init__(self, store: SqliteDocuments) -> None:
        self.store, self.away = store, True

    async def get(self, kind: str, id: str) -> Document | None:
        self._check()
        return await self.store.get(kind, id)

    async def put(
        self, kind: str, id: str, value: Mapping[str, Any], *, expect: int | None = None
    ) -> Document:
        self._check()
        return await self.store.put(kind, id, value, expect=expect)

    async def delete(self, kind: str, id: str) -> bool:
        self._check()
        return await self.store.delete(kind, id)

    async def list(self, kind: str, *, prefix: str = "") -> list[Document]:
        self._check()
        return await self.store.list(kind, prefix=prefix)

    async def aclose(self) -> None: ...

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable("away")


async def test_spending_waits_while_the_store_is_away(store: SqliteDocuments, clock: Clock) -> None:
    away = Away(store)
    instance = budgets(away, clock)
    instance.add(limits(), cost=DOLLAR, tokens=1)
    assert not await instance.flush()
    instance.add(limits(), cost=DOLLAR, tokens=1)
    assert instance.peek(limits()) is None  # what others spent is not known
    away.away = False
    assert await instance.flush()
    assert await budgets(store, clock).load(limits()) == 2 * DOLLAR
    await instance.aclose()


async def test_a_store_that_is_away_is_not_asked_by_every_call(store: SqliteDocuments, clock: Clock) -> None:
    away = Away(store)
    instance = budgets(away, clock)
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="cannot be read"):
            await instance.load(limits())
    away.away = False
    with pytest.raises(StoreUnavailable):
        await instance.load(limits())
    clock.now += 5
    assert await instance.load(limits()) == 0
    await instance.aclose()


class Slow(Away):
    """A store whose next answer waits until it is let go."""

    def __init__(self, store: SqliteDocuments) -> None:
        super().__init__(store)
        self.away = False
        self.reading, self.writing = asyncio.Event(), asyncio.Event()
        self.reading.set()
        self.writing.set()

    async def get(self, kind: str, id: str) -> Document | None:
        found = await super().get(kind, id)
        await self.reading.wait()
        return found

    async def put(
        self, kind: str, id: str, value: Mapping[str, Any], *, expect: int | None = None
    ) -> Document:
        written = await super().put(kind, id, value, expect=expect)
        await self.writing.wait()
        return written


async def test_a_read_that_is_overtaken_by_a_write_changes_nothing(
    store: SqliteDocuments, clock: Clock
) -> None:
    slow = Slow(store)
    instance = budgets(slow, clock)
    await instance.load(limits())
    slow.reading.clear()
    reading = asyncio.create_task(instance.load(limits()))
    await asyncio.sleep(0)
    while not await store.list(KIND):  # the read has its answer, an old one, by now
        instance.add(limits(), cost=DOLLAR, tokens=1)
        await instance.flush()
    slow.reading.set()
    await reading
    assert instance.peek(limits()) == DOLLAR
    await instance.aclose()


async def test_a_write_in_the_background_is_counted_once_when_it_stops(
    store: SqliteDocuments, clock: Clock
) -> None:
    async def at_once(seconds: float) -> None:
        await asyncio.sleep(0)

    slow = Slow(store)
    instance = Budgets(slow, clock=clock, sleep=at_once)
    slow.writing.clear()
    instance.add(limits(), cost=DOLLAR, tokens=1)
    while not await store.list(KIND):
        pass
    closing = asyncio.create_task(instance.aclose())
    await asyncio.sleep(0)
    slow.writing.set()
    await closing
    assert await budgets(store, clock).load(limits()) == DOLLAR
