"""Secrets from memory: fresh for a minute, refreshed behind, read once however many wait."""

import asyncio

import pytest

from gateway.adapters.secret_cache import MISSING_TTL, TTL, SecretCache
from gateway.core.errors import StoreUnavailable
from gateway.core.ports import Secret, SecretInfo
from tests.support.clock import Clock


class Vault:
    """A store that counts, waits when told to, and can be down."""

    def __init__(self) -> None:
        self.values = {"a": "one"}
        self.reads = 0
        self.down = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked, self.answered = asyncio.Event(), asyncio.Event()

    async def get(self, name: str) -> Secret | None:
        self.reads += 1
        self.asked.set()
        value = self.values.get(name)  # as it was when the question was asked
        await self.gate.wait()
        if self.down:
            raise StoreUnavailable("down")
        self.answered.set()
        return None if value is None else Secret(name, value, 0, 0)

    async def put(self, name: str, value: str) -> Secret:
        raise NotImplementedError

    async def delete(self, name: str) -> bool:
        raise NotImplementedError

    async def list(self, prefix: str) -> list[SecretInfo]:
        raise NotImplementedError

    async def aclose(self) -> None:
        return


@pytest.fixture
def clock() -> Clock:
    return Clock(0.0)


@pytest.fixture
async def vault() -> Vault:
    return Vault()


@pytest.fixture
async def cache(vault, clock) -> SecretCache:
    return SecretCache(vault, clock=clock)


async def value(cache: SecretCache, name: str = "a") -> str | None:
    secret = await cache.get(name)
    return secret.value if secret else None


async def test_a_read_is_fresh_for_its_time(cache, vault, clock):
    assert cache.peek("a") is None
    assert await value(cache) == "one"
    clock.now = TTL - 1
    assert await value(cache) == "one"
    assert cache.peek("a").value == "one"
    assert vault.reads == 1


async def test_afterwards_it_is_refreshed_behind_the_callers_back(cache, vault, clock):
    await value(cache)
    vault.values["a"] = "two"
    clock.now = TTL + 1
    assert cache.peek("a") is None
    vault.answered.clear()
    assert await value(cache) == "one"  # at once
    await vault.answered.wait()
    await asyncio.sleep(0)
    assert await value(cache) == "two"
    assert vault.reads == 2


async def test_an_old_read_is_waited_for(cache, vault, clock):
    await value(cache)
    vault.values["a"] = "two"
    clock.now = TTL * 1.5
    assert await value(cache) == "two"


async def test_many_callers_share_one_read(cache, vault):
    vault.gate.clear()
    callers = [asyncio.create_task(value(cache)) for _ in range(50)]
    await asyncio.sleep(0)
    callers[0].cancel()  # one who leaves takes nothing from the others
    await asyncio.sleep(0)
    vault.gate.set()
    assert await asyncio.gather(*callers[1:]) == ["one"] * 49
    assert vault.reads == 1


async def test_while_the_vault_is_down_what_was_read_keeps_working(cache, vault, clock):
    await value(cache)
    vault.down = True
    for age in (TTL + 1, TTL * 2, TTL * 1000):
        clock.now = age
        assert await value(cache) == "one"
    with pytest.raises(StoreUnavailable):
        await cache.get("never-read")


async def test_a_deleted_secret_is_gone_after_its_time(cache, vault, clock):
    await value(cache)
    del vault.values["a"]
    clock.now = TTL * 1.5
    assert await value(cache) is None


async def test_a_missing_name_is_not_asked_for_again_at_once(cache, vault, clock):
    assert await value(cache, "b") is None
    assert await value(cache, "b") is None
    assert vault.reads == 1
    vault.values["b"] = "made"
    clock.now = MISSING_TTL
    assert await value(cache, "b") == "made"


async def test_what_is_forgotten_is_read_anew(cache, vault):
    await value(cache)
    vault.values["a"] = "two"
    cache.forget("a")
    assert await value(cache) == "two"


async def test_a_read_that_began_before_a_write_does_not_bring_the_old_value_back(cache, vault):
    """A refresh is on its way while the secret is written here, and forgotten."""
    vault.gate.clear()
    early = asyncio.create_task(value(cache))
    await vault.asked.wait()
    cache.forget("a")
    vault.values["a"] = "two"
    late = asyncio.create_task(value(cache))
    await asyncio.sleep(0)
    vault.gate.set()
    await early
    assert await late == "two"
    assert await value(cache) == "two"
