"""The contract of `Counters`, held in memory and in a real Redis."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.adapters.limits_memory import MemoryCounters
from gateway.adapters.limits_redis import PREFIX, RedisCounters
from gateway.core.errors import StoreUnavailable
from gateway.core.ports import Claim, Counters, Refused, Settlement, Taken
from tests.support.clock import Clock

T = 1_700_000_040.0


@pytest.fixture
def clock() -> Clock:
    return Clock(T)


@pytest.fixture(scope="module")
def redis_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Redis of our own on a socket file: no port to collide on."""
    server = shutil.which("redis-server")
    if server is None:
        pytest.skip("redis-server is not installed (apt-get install redis-server)")
    folder = tmp_path_factory.mktemp("redis")
    socket = folder / "s"
    command = [server, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "ready to accept connections" in line.lower():
                break
        yield socket
        process.terminate()
        process.stdout.read()


@pytest.fixture(params=["memory", "redis"])
async def counters(request: pytest.FixtureRequest, clock: Clock) -> AsyncIterator[Counters]:
    if request.param == "memory":
        made: Counters = MemoryCounters(clock)
    else:
        socket = request.getfixturevalue("redis_socket")
        redis = Redis(unix_socket_path=str(socket))
        await redis.flushall()
        made = RedisCounters(redis, timer=lambda: 0.0, clock=clock)
    yield made
    await made.aclose()


async def settled(counters: Counters) -> None:
    """Wait for what is sent in the background."""
    task = getattr(counters, "_task", None)
    if task is not None:
        await task


RATE = Claim("key:1:requests:rpm", 60, 20, 1)


async def test_fifty_at_once_at_a_limit_of_twenty_let_exactly_twenty_through(counters: Counters) -> None:
    results = await asyncio.gather(*(counters.take([RATE]) for _ in range(50)))
    assert sum(isinstance(result, Taken) for result in results) == 20


async def test_a_refusal_says_which_limit_how_much_and_how_long(counters: Counters, clock: Clock) -> None:
    other = Claim("vk:a:requests:rph", 3600, 100, 1)
    for _ in range(20):
        await counters.take([other, RATE])
    clock.now += 12
    refused = await counters.take([other, RATE])
    assert isinstance(refused, Refused)
    assert (refused.index, refused.used) == (1, 20)
    assert refused.wait == pytest.approx(49, abs=0.01)


async def test_all_claims_are_counted_or_none(counters: Counters) -> None:
    full = Claim("key:2:requests:rpm", 60, 0, 1)
    for _ in range(30):
        assert isinstance(await counters.take([RATE, full]), Refused)
    assert isinstance(await counters.take([RATE._replace(amount=20)]), Taken)


async def test_the_window_slides(counters: Counters, clock: Clock) -> None:
    for second in range(20):
        clock.now = T + second
        assert isinstance(await counters.take([RATE]), Taken)
    clock.now = T + 60.9
    assert isinstance(await counters.take([RATE]), Refused)
    clock.now = T + 61
    assert isinstance(await counters.take([RATE]), Taken)
    assert isinstance(await counters.take([RATE]), Refused)
    clock.now = T + 200
    assert isinstance(await counters.take([RATE._replace(amount=20)]), Taken)


@pytest.mark.parametrize("window", [1, 60, 3600, 86_400, 604_800])
async def test_every_unit_has_its_window(counters: Counters, clock: Clock, window: int) -> None:
    claim = Claim(f"key:3:requests:{window}", window, 1, 1)
    assert isinstance(await counters.take([claim]), Taken)
    clock.now = T + window * 0.99
    assert isinstance(await counters.take([claim]), Refused)
    clock.now = T + window * 1.02
    assert isinstance(await counters.take([claim]), Taken)


async def test_tokens_are_settled_by_what_was_used(counters: Counters) -> None:
    claim = Claim("key:4:tokens:rpm", 60, 1000, 900)
    taken = await counters.take([claim])
    assert isinstance(taken, Taken)
    assert isinstance(await counters.take([claim]), Refused)
    counters.settle([Settlement(claim, taken.marks[0], 100)])
    await settled(counters)
    again = await counters.take([claim])
    assert isinstance(again, Taken)
    counters.settle([Settlement(claim, again.marks[0], 1500)])  # more than was reserved
    await settled(counters)
    refused = await counters.take([claim._replace(amount=1)])
    assert isinstance(refused, Refused)
    assert refused.used == 1600


async def test_settling_after_the_window_changes_nothing(counters: Counters, clock: Clock) -> None:
    claim = Claim("key:5:tokens:rpm", 60, 1000, 900)
    taken = await counters.take([claim])
    assert isinstance(taken, Taken)
    clock.now += 100
    assert isinstance(await counters.take([claim]), Taken)
    counters.settle([Settlement(claim, taken.marks[0], 0)])
    await settled(counters)
    assert isinstance(await counters.take([claim]), Refused)


async def test_a_budget_counts_what_is_spent_and_what_is_in_flight(counters: Counters) -> None:
    claim = Claim("key:6:tokens:0", 0, 1000, 400, spent=300)
    first = await counters.take([claim])
    assert isinstance(first, Taken)
    refused = await counters.take([claim])
    assert isinstance(refused, Refused)
    assert refused.used == 700
    counters.settle([Settlement(claim, first.marks[0], 50)])
    await settled(counters)
    assert isinstance(await counters.take([claim._replace(spent=350)]), Taken)


async def test_a_budget_that_is_spent_refuses_calls_that_reserve_nothing(counters: Counters) -> None:
    claim = Claim("key:7:cost:0", 0, 1000, 0, spent=999)
    assert isinstance(await counters.take([claim]), Taken)
    assert isinstance(await counters.take([claim._replace(key="key:8:cost:0", spent=1000)]), Refused)


# --- Redis alone


@pytest.fixture
async def redis(redis_socket: Path) -> AsyncIterator[Redis]:
    client = Redis(unix_socket_path=str(redis_socket))
    await client.flushall()
    yield client
    await client.aclose()


async def test_one_call_is_one_command(redis_socket: Path, redis: Redis) -> None:
    counters = RedisCounters(Redis(unix_socket_path=str(redis_socket)), timer=lambda: 0.0)
    claims = [RATE, Claim("vk:a:tokens:rpm", 60, 1000, 10), Claim("vk:a:cost:0", 0, 1000, 0)]
    await counters.take(claims)  # loads the script, opens the connection

    async def commands() -> int:
        return int((await redis.info("commandstats")).get("cmdstat_evalsha", {}).get("calls", 0))

    async def all_commands() -> int:
        return int((await redis.info("stats"))["total_commands_processed"])

    calls, every = await commands(), await all_commands()
    await counters.take(claims)
    assert await commands() == calls + 1
    # One for the script itself and one for each command in it; plus our own two `INFO`s.
    inside = 3 + 2 * 2 + 1
    assert await all_commands() - every <= inside + 3
    await counters.aclose()


async def test_counters_forget_what_nobody_asks_for(redis_socket: Path, redis: Redis) -> None:
    counters = RedisCounters(Redis(unix_socket_path=str(redis_socket)), timer=lambda: 0.0)
    await counters.take([RATE, Claim("key:9:cost:0", 0, 1000, 0, spent=5)])
    assert 60 < await redis.ttl(PREFIX + RATE.key) <= 63
    assert 0 < await redis.ttl(PREFIX + "key:9:cost:0") <= 300
    await counters.aclose()


async def test_a_flushed_redis_takes_budgets_from_what_the_caller_knows(
    redis_socket: Path, redis: Redis
) -> None:
    counters = RedisCounters(Redis(unix_socket_path=str(redis_socket)), timer=lambda: 0.0)
    claim = Claim("key:10:cost:0", 0, 1000, 0, spent=400)
    first = await counters.take([claim])
    assert isinstance(first, Taken)
    assert first.seeded
    second = await counters.take([claim])
    assert isinstance(second, Taken)
    assert not second.seeded
    await redis.flushall()
    third = await counters.take([claim._replace(spent=900)])
    assert isinstance(third, Taken)
    assert third.seeded
    await counters.adjust(claim.key, 100)
    assert isinstance(await counters.take([claim]), Refused)
    # A settlement of before the flush must not make a counter out of nothing.
    await redis.flushall()
    counters.settle([Settlement(claim, 0, 70)])
    await settled(counters)
    assert await redis.get(PREFIX + claim.key) is None
    await counters.aclose()


async def test_a_redis_that_is_away_is_not_asked_by_every_call(tmp_path: Path) -> None:
    now = 0.0
    counters = RedisCounters(Redis(unix_socket_path=str(tmp_path / "none")), timer=lambda: now)
    with pytest.raises(StoreUnavailable, match="does not answer"):
        await counters.take([RATE])
    with pytest.raises(StoreUnavailable, match="a moment ago"):
        await counters.take([RATE])
    now = 1.5
    with pytest.raises(StoreUnavailable, match="does not answer"):
        await counters.take([RATE])
    await counters.aclose()
