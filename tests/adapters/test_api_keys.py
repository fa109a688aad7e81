"""Keys in the store, the cache in front of it, and how soon a revoked one stops."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.adapters import api_keys as module
from gateway.adapters.api_keys import DIGESTS, FRESH, KEYS, OUTAGE, STALE, UNKNOWN, ApiKeys, digest_of
from gateway.adapters.documents_sqlite import SqliteDocuments
from gateway.core.api_keys import ApiKey, KeyDigest, fresh, rotated
from gateway.core.errors import Conflict, StoreUnavailable
from gateway.core.ports import Document
from tests.support.clock import Clock

T = 1_700_000_000.0
SECRET = "gw-" + "k" * 43


class Counted(SqliteDocuments):
    """Counts reads; away when told so."""

    reads = 0
    running = 0
    most = 0
    away = False

    async def get(self, kind: str, id: str) -> Document | None:
        self.reads += 1
        if self.away:
            raise StoreUnavailable("away")
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            return await super().get(kind, id)
        finally:
            self.running -= 1


@pytest.fixture
def clock() -> Clock:
    return Clock(T)


@pytest.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncIterator[Counted]:
    documents = Counted(tmp_path, clock)
    yield documents
    await documents.aclose()


@pytest.fixture
async def keys(store: Counted, clock: Clock) -> AsyncIterator[ApiKeys]:
    made = ApiKeys(store, clock=clock)
    yield made
    await made.aclose()


def key(secret: str = SECRET, **more: Any) -> ApiKey:
    made = fresh("key-1", "workspace", "service", int(T), "admin")
    return replace(made, name="k", digests=(KeyDigest(digest_of(secret), secret[-4:]),), **more)


async def drained(keys: ApiKeys) -> None:
    """Let reads in the background end."""
    await asyncio.gather(*keys._reads._flights.values(), return_exceptions=True)


async def test_a_key_is_found_by_its_secret_and_read_once(keys: ApiKeys, store: Counted) -> None:
    await keys.put(key(), 0)
    caller = await keys.lookup(SECRET)
    assert caller is not None
    assert (caller.id, caller.name, caller.kind) == ("key-1", "k", "api-key")
    before = store.reads
    assert await keys.lookup(SECRET) is caller
    assert store.reads == before


async def test_the_secret_is_not_in_the_store(keys: ApiKeys, store: Counted) -> None:
    await keys.put(key(), 0)
    documents = [*await store.list(KEYS), *await store.list(DIGESTS)]
    assert SECRET not in str(documents)
    assert SECRET[-4:] in str(documents)


async def test_a_key_revoked_elsewhere_stops_within_twenty_seconds(
    keys: ApiKeys, store: Counted, clock: Clock
) -> None:
    other = ApiKeys(store, clock=clock)
    await other.put(key(), 0)
    assert await keys.lookup(SECRET) is not None
    await other.delete(key())
    assert await other.lookup(SECRET) is None
    clock.now = T + STALE
    assert await keys.lookup(SECRET) is None
    await other.aclose()


async def test_a_key_in_use_is_read_anew_in_the_background(
    keys: ApiKeys, store: Counted, clock: Clock
) -> None:
    await keys.put(key(), 0)
    assert await keys.lookup(SECRET) is not None
    await store.delete(KEYS, "key-1")
    clock.now = T + FRESH
    assert await keys.lookup(SECRET) is not None  # this call does not wait
    await drained(keys)
    assert await keys.lookup(SECRET) is None


async def test_known_keys_outlive_an_outage_of_the_store(keys: ApiKeys, store: Counted, clock: Clock) -> None:
    await keys.put(key(), 0)
    assert await keys.lookup(SECRET) is not None
    store.away = True
    clock.now = T + OUTAGE
    assert await keys.lookup(SECRET) is not None
    clock.now = T + OUTAGE + 1
    with pytest.raises(StoreUnavailable):
        await keys.lookup(SECRET)
    with pytest.raises(StoreUnavailable):
        await keys.lookup("gw-" + "u" * 43)


@pytest.mark.parametrize("token", ["", "gw-", "gw-" + "a" * 42, "gw-" + "a" * 44, "gw-" + "!" * 43, "sk-abc"])
async def test_what_cannot_be_a_key_is_not_looked_up(keys: ApiKeys, store: Counted, token: str) -> None:
    assert await keys.lookup(token) is None
    assert store.reads == 0


async def test_an_unknown_key_is_looked_up_once_in_a_while(
    keys: ApiKeys, store: Counted, clock: Clock
) -> None:
    for _ in range(10):
        assert await keys.lookup(SECRET) is None
    assert store.reads == 1
    await keys.put(key(), 0)  # made here: known at once
    assert await keys.lookup(SECRET) is not None
    other = "gw-" + "o" * 43
    assert await keys.lookup(other) is None
    await ApiKeys(store, clock=clock).put(key(other, description="made elsewhere"), 1)
    clock.now += UNKNOWN
    assert await keys.lookup(other) is not None


async def test_guessing_is_bounded_in_memory_and_in_reads_at_once(
    keys: ApiKeys, store: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_UNKNOWN", 50)
    guesses = [f"gw-{number:043d}" for number in range(300)]
    assert await asyncio.gather(*map(keys.lookup, guesses)) == [None] * 300
    assert store.most <= 16
    assert len(keys._unknown) == 50


async def test_a_key_ends_when_it_expires(keys: ApiKeys, clock: Clock) -> None:
    await keys.put(key(expires_at=int(T) + 5), 0)
    assert await keys.lookup(SECRET) is not None
    clock.now = T + 5
    assert await keys.lookup(SECRET) is None


async def test_a_rotated_secret_ends_with_its_transition(keys: ApiKeys, clock: Clock) -> None:
    first = key()
    await keys.put(first, 0)
    new = "gw-" + "n" * 43
    second, ends = rotated(first, KeyDigest(digest_of(new), new[-4:]), 1_800_000, int(T))
    await keys.put(second, 1)
    assert ends == T + 1800
    clock.now = T + 1799
    assert await keys.lookup(SECRET) is not None
    assert await keys.lookup(new) is not None
    clock.now = T + 1800
    assert await keys.lookup(SECRET) is None
    assert await keys.lookup(new) is not None


async def test_of_two_writers_one_hears_that_the_key_was_changed(keys: ApiKeys) -> None:
    await keys.put(key(), 0)
    await keys.put(key(description="one"), 1)
    with pytest.raises(Conflict):
        await keys.put(key(description="two"), 1)


async def test_a_digest_that_is_not_the_keys_own_opens_nothing(keys: ApiKeys, store: Counted) -> None:
    await keys.put(key(), 0)
    stray = "gw-" + "s" * 43
    await store.put(DIGESTS, digest_of(stray), {"id": "key-1"})
    assert await keys.lookup(stray) is None


async def test_a_document_that_was_edited_wrongly_opens_nothing(keys: ApiKeys, store: Counted) -> None:
    await keys.put(key(), 0)
    document = await store.get(KEYS, "key-1")
    assert document is not None
    await store.put(KEYS, "key-1", {**document.value, "rate_limits": [{"unit": "rpy"}]})
    assert await ApiKeys(store, clock=lambda: T).lookup(SECRET) is None


async def test_a_store_that_is_away_is_not_asked_by_every_call(
    keys: ApiKeys, store: Counted, clock: Clock
) -> None:
    await keys.put(key(), 0)
    assert await keys.lookup(SECRET) is not None
    store.away = True
    clock.now = T + STALE
    before = store.reads
    for _ in range(5):
        assert await keys.lookup(SECRET) is not None
    assert store.reads == before + 1
    store.away = False
    await store.delete(KEYS, "key-1")
    clock.now += 5
    assert await keys.lookup(SECRET) is None
