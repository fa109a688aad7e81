import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway.adapters.health_redis import STREAM, RedisExchange
from gateway.adapters.health_sync import HealthSync
from gateway.core.errors import StoreUnavailable
from gateway.core.health import HealthBoard
from gateway.core.retry import Outcome
from gateway.core.signals import Signal
from gateway.core.sticky import Pins
from gateway.core.targets import Leaf

LEAF = Leaf(virtual_key="a")


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


@pytest.fixture
async def redis(redis_socket: Path) -> AsyncIterator[Redis]:
    client = Redis(unix_socket_path=str(redis_socket))
    await client.flushall()
    yield client
    await client.aclose()


class Instance:
    """One instance of the gateway, as far as its health goes."""

    def __init__(self, name: str, socket: Path, now: float) -> None:
        self.board = HealthBoard(lambda: now)
        self.pins = Pins(lambda: now, self.board.publish)
        exchange = RedisExchange(Redis(unix_socket_path=str(socket)), name, lambda: now)
        self.sync = HealthSync(self.board, self.pins, exchange)

    def throttle(self, key: str, now: float) -> None:
        self.board.report(LEAF, key, Outcome(429), Signal("throttled", now + 60, "test"))

    def blocked(self, key: str) -> bool:
        return self.board.blocked(LEAF, key) is not None


@pytest.fixture
async def now(redis: Redis) -> float:
    seconds, _ = await redis.time()
    return float(seconds)


@pytest.fixture
async def instances(redis_socket: Path, now: float) -> AsyncIterator[tuple[Instance, Instance]]:
    pair = Instance("one", redis_socket, now), Instance("two", redis_socket, now)
    yield pair
    for instance in pair:
        await instance.sync.aclose()


async def test_what_one_instance_finds_the_others_know(
    instances: tuple[Instance, Instance], now: float
) -> None:
    one, two = instances
    one.throttle("k", now)
    one.pins.put("pin", 3, 60.0)
    await one.sync.step()
    await two.sync.step()
    assert two.blocked("k")
    assert two.pins.get("pin") == 3


async def test_an_instance_does_not_hear_itself(instances: tuple[Instance, Instance], now: float) -> None:
    one, two = instances
    one.board.report(LEAF, "k", Outcome(410), Signal("dead", now + 60, "test"))
    await one.sync.step()
    one.board.report(LEAF, "k", Outcome(200))
    await one.sync.step()
    assert not one.blocked("k")
    await two.sync.step()
    assert not two.blocked("k")


async def test_a_new_instance_learns_what_happened_before_it(
    instances: tuple[Instance, Instance], redis_socket: Path, now: float
) -> None:
    for index in range(520):  # more than a page
        instances[0].throttle(f"k{index}", now)
        await instances[0].sync.step()
    late = Instance("late", redis_socket, now)
    await late.sync.step()
    assert all(late.blocked(f"k{index}") for index in range(520))
    await late.sync.aclose()


async def test_the_stream_is_bounded_in_time(
    instances: tuple[Instance, Instance], redis: Redis, now: float
) -> None:
    instances[0].throttle("k", now)
    await instances[0].sync.step()
    assert 0 < await redis.ttl(STREAM) <= 86_400


async def test_foreign_entries_are_passed_over(instances: tuple[Instance, Instance], redis: Redis) -> None:
    await redis.xadd(STREAM, {"x": "y"})
    await redis.xadd(STREAM, {"by": "other", "events": 'no json\n["dead"]'})
    await instances[0].sync.step()
    assert instances[0].board.snapshot() == []


class Broken:
    """An exchange that is away until told otherwise."""

    def __init__(self) -> None:
        self.away = True
        self.taken: list[bytes] = []

    async def exchange(self, outgoing: Sequence[bytes]) -> list[bytes]:
        if self.away:
            raise StoreUnavailable("away")
        self.taken.extend(outgoing)
        return []

    async def aclose(self) -> None:
        pass


async def test_news_waits_while_the_store_is_away(caplog: pytest.LogCaptureFixture) -> None:
    board, broken = HealthBoard(lambda: 0.0), Broken()
    sync = HealthSync(board, Pins(lambda: 0.0), broken)
    board.report(LEAF, "a", Outcome(429), Signal("throttled", 60.0, "test"))
    await sync.step()
    await sync.step()
    assert [record.message for record in caplog.records] == ["health.share_failed"]
    board.report(LEAF, "b", Outcome(429), Signal("throttled", 60.0, "test"))
    broken.away = False
    await sync.step()
    assert len(broken.taken) == 2
    await sync.step()
    assert len(broken.taken) == 2


async def test_a_redis_that_is_gone_is_a_store_that_is_unavailable(tmp_path: Path) -> None:
    nowhere = Redis(unix_socket_path=str(tmp_path / "none"), retry=Retry(NoBackoff(), 0))
    exchange = RedisExchange(nowhere, "one", lambda: 0.0)
    with pytest.raises(StoreUnavailable):
        await exchange.exchange([])
    await exchange.aclose()


async def test_it_runs_until_it_is_closed() -> None:
    steps = 0
    enough = asyncio.Event()

    async def sleep(seconds: float) -> None:
        nonlocal steps
        assert seconds == 1.0
        steps += 1
        if steps == 3:
            enough.set()
        await asyncio.sleep(0)

    broken = Broken()
    broken.away = False
    sync = HealthSync(HealthBoard(lambda: 0.0), Pins(lambda: 0.0), broken, sleep)
    sync.start()
    sync.start()
    await enough.wait()
    await sync.aclose()
    assert steps >= 3
