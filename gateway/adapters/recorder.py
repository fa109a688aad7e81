"""Takes finished records off the event loop's hands and writes them in a thread of its own.

`put` appends to a queue and returns. The thread encodes what arrives, and commits at most every
second. When the store is down the records wait, up to a bound: bodies go first, then records, each
counted. Only the thread that puts and the writer's own thread touch the queue, through operations
that CPython makes atomic, so no lock is taken on a request's path.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import count

from gateway.core.errors import StoreUnavailable
from gateway.core.log_entry import Encoder, plain_entry
from gateway.core.ports import LogEntry, RecordStore, Totals
from gateway.core.record import Record
from gateway.core.totals import HOUR, MINUTE, Tally

log = logging.getLogger("gateway.records")

_GATHER = 0.1  # seconds after waking: records that come together cost less, one by one
_STRETCH = 0.001  # seconds of encoding, after which the encoder makes room for the event loop
_PACE = 0.0002  # seconds it then lets go of the interpreter; the pause itself costs 20 microseconds
_HURRY = 200  # records waiting: with more, the encoder stops making room for the event loop
_OLD = 300  # seconds; counts are let go of this long after their time, as records come in late


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may wait, and for how long."""

    records: int = 10_000
    body_bytes: int = 32 * 1024 * 1024  # of bodies that wait
    flush_seconds: float = 1.0  # what a killed process may lose
    flush_records: int = 500
    retry_seconds: float = 1.0  # after a failure of the store
    totals_seconds: float = 1.0  # between writes of the running minute's counts


@dataclass(slots=True)
class Counters:
    """What became of the records put. `dropped_bodies` were written without their bodies."""

    put: int = 0
    written: int = 0
    dropped_bodies: int = 0
    dropped_records: int = 0
    failed_writes: int = 0
    unreadable: int = 0  # written without bodies, as encoding them failed


@dataclass(slots=True)
class _Pending:
    """What the thread holds between two commits."""

    entries: list[LogEntry] = field(default_factory=list)
    body_bytes: int = 0
    since: float = 0.0  # when the oldest came, on the monotonic clock


class BackgroundRecorder:
    """A `Recorder` in front of a `RecordStore`. `part` names this writer's totals: unique a process."""

    def __init__(
        self,
        store: RecordStore,
        encode: Encoder,
        part: str,
        limits: Limits = Limits(),
        observe: Callable[[LogEntry], None] | None = None,
    ) -> None:
        self.counters = Counters()
        self._store, self._encode, self._part, self._limits = store, encode, part, limits
        self._observe = observe
        self._queue: deque[tuple[Record, int]] = deque()
        # What waits is what came in less what is done; only one thread counts each up.
        self._records_in = self._records_out = 0
        self._bytes_in = self._bytes_out = 0
        self._pending = _Pending()
        # (seconds, start) -> the name of this part, and its counts.
        self._tallies: dict[tuple[int, int], tuple[str, Tally]] = {}
        self._changed: set[tuple[int, int]] = set()
        self._numbers = count()
        self._totals_at = 0.0
        self._asleep = threading.Event()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._deadline = 0.0  # of a stop, on the monotonic clock
        self._thread: threading.Thread | None = None

    def put(self, record: Record) -> None:
        """Never blocks and never raises."""
        self.counters.put += 1
        if self._records_in - self._records_out >= self._limits.records:
            self.counters.dropped_records += 1
            return
        size = len(record.request_body or b"") + (record.response_bytes if record.response_body else 0)
        size += len(record.prompt_variables or b"")
        if size and self._bytes_in - self._bytes_out + size > self._limits.body_bytes:
            _drop_bodies(record)
            self.counters.dropped_bodies += 1
            size = 0
        self._records_in += 1
        self._bytes_in += size
        self._queue.append((record, size))
        if self._asleep.is_set():
            self._wake.set()
        if self._thread is None:
            self._start()

    def status(self) -> dict[str, int]:
        """The counters, and how many records wait."""
        return {**asdict(self.counters), "waiting": self._records_in - self._records_out}

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def close(self, patience: float = 10.0) -> bool:
        """Write what is left and stop; False when `patience` seconds did not do. Blocks."""
        self._deadline = time.monotonic() + patience
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(patience)
        return self._thread is None or not (self._thread.is_alive() or self._queue or self._pending.entries)

    async def aclose(self, patience: float = 10.0) -> bool:
        """The same without holding up the event loop."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bool] = loop.create_future()

        def finish(stopped: bool) -> None:
            if not done.done():
                done.set_result(stopped)

        def wait() -> None:
            loop.call_soon_threadsafe(finish, self.close(patience))

        threading.Thread(target=wait, name="recorder-close", daemon=True).start()
        return await done

    def _run(self) -> None:
        while True:
            self._encode_waiting()
            last = self._stopping.is_set() and not self._queue
            if self._due(last) and not self._flush():
                if self._stopping.is_set() and time.monotonic() >= self._deadline:
                    return  # the store is down and the process must end
                # A stop in the meantime cuts this short once; then the store gets its next chance.
                self._wake.clear()
                self._wake.wait(self._limits.retry_seconds)
            elif last:
                return
            elif not self._queue:
                self._sleep()

    def _sleep(self) -> None:
        """Until a record comes or something is due; then a moment, so that more can come."""
        self._asleep.set()
        if not self._queue and not self._stopping.is_set():
            self._wake.wait(self._due_in())
        self._asleep.clear()
        self._wake.clear()
        if self._queue:
            self._stopping.wait(_GATHER)

    def _due_in(self) -> float | None:
        """Seconds until the next commit; None when there is nothing to commit."""
        if self._pending.entries:
            due = self._pending.since + self._limits.flush_seconds
        elif self._changed:
            due = self._totals_at + self._limits.totals_seconds
        else:
            return None
        return max(0.0, due - time.monotonic())

    def _encode_waiting(self) -> None:
        pending, limits = self._pending, self._limits
        begun = time.monotonic()
        while self._queue and len(pending.entries) < limits.flush_records:
            record, size = self._queue.popleft()
            entry = self._encoded(record)
            if not pending.entries:
                pending.since = time.monotonic()
            pending.entries.append(entry)
            pending.body_bytes += size
            self._count(entry)
            del record
            if self._due(False):
                return
            if len(self._queue) < _HURRY and time.monotonic() - begun >= _STRETCH:
                # Encoding holds the interpreter; the event loop gets it back between two records.
                time.sleep(_PACE)
                begun = time.monotonic()

    def _encoded(self, record: Record) -> LogEntry:
        try:
            entry: LogEntry = self._encode(record)
        except Exception:  # whatever a body does, the record of the call must not be lost
            self.counters.unreadable += 1
            log.exception("record.unreadable", extra={"id": record.id})
            entry = plain_entry(record)
        if self._observe is not None:
            try:
                self._observe(entry)
            except Exception:
                log.exception("record.unobserved", extra={"id": record.id})
        return entry

    def _count(self, entry: LogEntry) -> None:
        for seconds in (MINUTE, HOUR):
            key = (seconds, int(entry.doc["created_at"] // seconds) * seconds)
            if key not in self._tallies:
                self._tallies[key] = (f"{self._part}-{next(self._numbers)}", Tally())
            self._tallies[key][1].add(entry.doc)
            self._changed.add(key)

    def _due(self, stopping: bool) -> bool:
        pending, limits = self._pending, self._limits
        if not pending.entries:
            return bool(self._changed) and (stopping or self._totals_due())
        age = time.monotonic() - pending.since
        return stopping or len(pending.entries) >= limits.flush_records or age >= limits.flush_seconds

    def _totals_due(self) -> bool:
        return time.monotonic() - self._totals_at >= self._limits.totals_seconds

    def _flush(self) -> bool:
        """Commit what is pending; False when the store failed, and everything still waits."""
        pending = self._pending
        changed = self._changed if self._totals_due() or self._stopping.is_set() else set[tuple[int, int]]()
        totals = [self._totals(key) for key in sorted(changed)]
        taken = len(pending.entries)
        try:
            self._store.append(pending.entries, totals)
        except StoreUnavailable as error:
            self.counters.failed_writes += 1
            log.warning("records.write_failed", extra={"error": str(error), "waiting": len(self._queue)})
            return False
        except Exception:  # a record that no store takes must not stop the others
            log.exception("records.refused")
            pending.entries = self._append_singly(pending.entries)
        self.counters.written += len(pending.entries)
        self._records_out += taken
        self._bytes_out += pending.body_bytes
        self._pending = _Pending()
        if changed:
            self._totals_at = time.monotonic()
            self._changed = set()
            self._forget_old()
        return True

    def _append_singly(self, entries: list[LogEntry]) -> list[LogEntry]:
        """Write each by itself; those that were written."""
        written = []
        for entry in entries:
            try:
                self._store.append([entry])
                written.append(entry)
            except Exception:
                self.counters.dropped_records += 1
                log.exception("record.refused", extra={"id": entry.doc.get("id")})
        return written

    def _totals(self, key: tuple[int, int]) -> Totals:
        part, tally = self._tallies[key]
        return Totals(*key, part, tally.encode())

    def _forget_old(self) -> None:
        newest = max((start for _, start in self._tallies), default=0)
        for key in [(s, start) for s, start in self._tallies if start + s < newest - _OLD]:
            del self._tallies[key]


def _drop_bodies(record: Record) -> None:
    record.keep_bodies = False
    record.request_body = record.prompt_variables = None
    record.response_body = []
    record.warnings.append("bodies_dropped")
