import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

import orjson
import pytest

from gateway.adapters.recorder import BackgroundRecorder, Limits
from gateway.adapters.records_sqlite import SqliteRecords
from gateway.adapters.sqlite_file import connect
from gateway.core.errors import StoreUnavailable
from gateway.core.log_entry import Encoder, unpack
from gateway.core.log_query import LogQuery
from gateway.core.ports import LogEntry, Totals
from gateway.core.record import Attempt, Record, Usage

QUICK = Limits(flush_seconds=0.01, retry_seconds=0.01, totals_seconds=0.01)
SLOW = Limits(flush_seconds=3600, totals_seconds=3600)  # nothing is written before the stop


class Gate:
    """A real store behind a switch: down, up, or counting."""

    def __init__(self, store: SqliteRecords) -> None:
        self.store = store
        self.down = threading.Event()
        self.failed = threading.Event()
        self.wrote = threading.Event()
        self.refuse: Callable[[LogEntry], bool] = lambda entry: False

    def append(self, entries: Sequence[LogEntry], totals: Sequence[Totals] = ()) -> None:
        if self.down.is_set():
            self.failed.set()
            raise StoreUnavailable("down")
        if any(map(self.refuse, entries)):
            raise ValueError("no store takes this")
        self.store.append(entries, totals)
        self.wrote.set()

    def __getattr__(self, name: str) -> object:
        return getattr(self.store, name)


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gate]:
    store = SqliteRecords(tmp_path)
    yield Gate(store)
    await store.aclose()


@pytest.fixture
def make(gate: Gate) -> Iterator[Callable[[Limits], BackgroundRecorder]]:
    made: list[BackgroundRecorder] = []

    def start(limits: Limits) -> BackgroundRecorder:
        made.append(BackgroundRecorder(gate, Encoder(price=lambda record, body: 0.5), "test", limits))
        return made[-1]

    yield start
    gate.down.clear()
    for recorder in made:
        recorder.close(10)  # one that gave up on its store has nothing more to write to
    assert not [thread for thread in threading.enumerate() if thread.name == "recorder"]


def record(number: int, body: bytes = b'{"model":"gpt-4o"}') -> Record:
    return Record(
        f"id{number}",
        "t",
        1_700_000_000.0 + number,
        "POST",
        "/v1/chat/completions",
        status=200,
        usage=Usage(1, 2, 3),
        attempts=[Attempt("config", status=200)],
        request_headers=[(b"Authorization", b"Bearer secret-secret"), (b"content-type", b"application/json")],
        request_body=body,
        response_headers=[(b"content-type", b"application/json")],
        response_body=[b'{"id":"x",', b'"model":"gpt-4o-2024-08-06","note":"secret-secret"}'],
        response_bytes=60,
    )


async def ids(gate: Gate) -> list[str]:
    return [row["id"] for row in (await gate.store.page(LogQuery(page_size=1000))).rows]


async def test_a_stop_writes_everything_that_was_put(
    gate: Gate, make: Callable[..., BackgroundRecorder]
) -> None:
    recorder = make(SLOW)
    for number in range(700):
        recorder.put(record(number))
    assert await recorder.aclose(30)
    assert await ids(gate) == [f"id{n}" for n in reversed(range(700))]
    for seconds in (60, 3600):
        totals = await gate.store.totals(seconds, 0, 2**40)
        assert {t.start % seconds for t in totals} == {0}
        cells = [cell for t in totals for cell in orjson.loads(t.data)["cells"]]
        assert sum(counts[0] for _, counts, _ in cells) == 700
    assert recorder.counters.put == recorder.counters.written == 700


async def test_records_are_written_without_a_stop(
    gate: Gate, make: Callable[..., BackgroundRecorder]
) -> None:
    recorder = make(QUICK)
    recorder.put(record(1))
    assert gate.wrote.wait(10)
    gate.wrote.clear()
    recorder.put(record(2))
    assert gate.wrote.wait(10)


async def test_bodies_are_kept_with_their_secrets_masked(
    gate: Gate, make: Callable[..., BackgroundRecorder]
) -> None:
    recorder = make(QUICK)
    recorder.put(record(1))
    assert recorder.close(10)
    entry = await gate.store.get("id1")
    assert entry is not None
    bodies = unpack(entry.bodies)
    assert bodies["request"]["headers"]["authorization"] == "***"
    assert bodies["request"]["body"] == {"model": "gpt-4o"}
    assert bodies["response"]["body"] == {"id": "x", "model": "gpt-4o-2024-08-06", "note": "***"}
    assert entry.doc["model"] == "gpt-4o-2024-08-06"


async def test_records_wait_while_the_store_is_down(
    gate: Gate, make: Callable[..., BackgroundRecorder]
) -> None:
    recorder = make(QUICK)
    gate.down.set()
    for number in range(50):
        recorder.put(record(number))
    assert gate.failed.wait(10)
    assert recorder.counters.written == 0
    gate.down.clear()
    assert recorder.close(10)
    assert len(await ids(gate)) == 50
    assert recorder.counters.failed_writes > 0


async def test_a_full_queue_drops_bodies_first_and_then_records(
    gate: Gate, make: Callable[..., BackgroundRecorder]
) -> None:
    recorder = make(Limits(records=20, body_bytes=1000, flush_seconds=0.01, retry_seconds=0.01))
    gate.down.set()
    for number in range(30):
        recorder.put(record(number, body=b'"' + b"x" * 198 + b'"'))
    counters = recorder.counters
    assert counters.dropped_records == 10
    assert counters.dropped_bodies == 20 - 1000 // 260
    gate.down.clear()
    assert recorder.close(10)
    assert len(await ids(gate)) == 20
    last = await gate.store.get("id19")
    assert last is not None
    assert (last.doc["bodies"], last.bodies) == ("dropped", None)


async def test_after_the_store_is_back_there_is_room_again(
    gate: Gate, make: Callable[..., BackgroundRecorder]
) -> None:
    recorder = make(Limits(records=5, body_bytes=500, flush_seconds=0.01, retry_seconds=0.01))
    gate.down.set()
    for number in range(10):
        recorder.put(record(number))
    gate.down.clear()
    assert gate.wrote.wait(10)
    dropped = recorder.counters.dropped_bodies
    while recorder.counters.written < 5:
        threading.Event().wait(0.01)
    recorder.put(record(11))
    assert recorder.close(10)
    assert "id11" in await ids(gate)
    assert recorder.counters.dropped_bodies == dropped


async def test_a_stop_gives_up_on_a_store_that_stays_down(gate: Gate) -> None:
    recorder = BackgroundRecorder(gate, Encoder(price=lambda record, body: 0.5), "test", QUICK)
    gate.down.set()
    recorder.put(record(1))
    assert not recorder.close(0.05)
    assert not recorder.close(10)  # its thread ends with the record still waiting
    assert recorder.status()["waiting"] == 1


async def test_a_record_that_no_store_takes_does_not_stop_the_others(
    gate: Gate, make: Callable[..., BackgroundRecorder]
) -> None:
    recorder = make(SLOW)
    gate.refuse = lambda entry: entry.doc["id"] == "id3"
    for number in range(6):
        recorder.put(record(number))
    assert recorder.close(10)
    assert sorted(await ids(gate)) == ["id0", "id1", "id2", "id4", "id5"]
    assert recorder.counters.dropped_records == 1


async def test_a_record_whose_bodies_cannot_be_read_is_written_bare(gate: Gate) -> None:
    def price(record: Record, body: object) -> float:
        raise RuntimeError("cannot")

    recorder = BackgroundRecorder(gate, Encoder(price=price), "test", QUICK)
    recorder.put(record(1))
    assert recorder.close(10)
    entry = await gate.store.get("id1")
    assert entry is not None
    assert entry.doc["bodies"] == "dropped"
    assert recorder.counters.unreadable == 1


async def test_an_observer_that_fails_costs_the_record_nothing(gate: Gate) -> None:
    seen = []

    def observe(entry: LogEntry) -> None:
        seen.append(entry.doc["id"])
        raise RuntimeError("cannot")

    encoder = Encoder(price=lambda record, body: 0.5)
    recorder = BackgroundRecorder(gate, encoder, "test", QUICK, observe=observe)
    recorder.put(record(1))
    assert recorder.close(10)
    entry = await gate.store.get("id1")
    assert entry is not None
    assert (entry.doc["bodies"], seen) == ("kept", ["id1"])


FULL_DISK = """
import resource, sys, threading
from pathlib import Path
from gateway.adapters.recorder import BackgroundRecorder, Limits
from gateway.adapters.records_sqlite import SqliteRecords
from gateway.core.log_entry import Encoder
from gateway.core.record import Record

folder, most = Path(sys.argv[1]), 1_000_000
store = SqliteRecords(folder)
store.append([])  # the file is made while there is room
resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
limits = Limits(flush_seconds=0.01, flush_records=50, retry_seconds=0.05)
recorder = BackgroundRecorder(store, Encoder(price=lambda record, body: None), "w", limits)
for number in range(3000):
    text = b'"' + str(hash(number)).encode() * 40 + b'"'
    recorder.put(Record(f"id{number}", "t", 1.7e9 + number, "POST", "/", request_body=text))
while not recorder.counters.failed_writes:
    threading.Event().wait(0.01)
assert recorder.counters.written < 3000
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert recorder.close(60)
print(recorder.counters.written, recorder.counters.dropped_records)
"""


def test_a_full_disk_holds_records_back_until_there_is_room(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout == "3000 0\n", done.stderr[-2000:]
    connection = connect(tmp_path)
    assert connection.execute("SELECT count(*) FROM records").fetchone() == (3000,)
    connection.close()
