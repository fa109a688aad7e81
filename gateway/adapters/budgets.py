"""What budgets have spent, in memory and in the document store.

Every two seconds what this instance spent is added to the store's number, under its version, so that
all instances add up there. A restart, or a Redis that lost its memory, loses no more than that.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from gateway.adapters.single_flight import SingleFlight
from gateway.core.errors import Conflict, GatewayError, StoreUnavailable
from gateway.core.limits import Budget, Limits, period
from gateway.core.ports import Document, DocumentStore

log = logging.getLogger("gateway.limits")

KIND = "budget"
FLUSH_EVERY = 2.0  # seconds: with a slow write still less than five may be lost
REFRESH_AFTER = 30.0  # seconds after which the store is read again, for what other instances spent
REREAD_AFTER = 5.0  # seconds after which a refusal looks whether the budget was reset elsewhere
PATIENCE = 2.0  # seconds a call waits for the store
AWAY = 5.0  # seconds without another question after a failure, so that calls do not all wait
_ATTEMPTS = 8  # writes, where other instances write too


@dataclass(slots=True)
class _Entry:
    """One subject's spending in one period. `known` is the store's; `pending` and `writing` are ours."""

    limits: Limits
    scheme: str
    start: int
    version: int = 0
    known: dict[str, int] = field(default_factory=lambda: {"cost": 0, "tokens": 0})
    pending: dict[str, int] = field(default_factory=lambda: {"cost": 0, "tokens": 0})
    writing: dict[str, int] = field(default_factory=lambda: {"cost": 0, "tokens": 0})
    flags: dict[str, bool] = field(default_factory=dict)  # "alerted", "exhausted": told already
    writes: int = 0  # done so far: what was read before one is older than it
    read_at: float | None = None  # unix seconds; None: what others spent is not known yet

    def spent(self, kind: str) -> int:
        return self.known[kind] + self.pending[kind] + self.writing[kind]


class Budgets:
    """Spending by subject. `clock` gives unix seconds."""

    def __init__(
        self,
        store: DocumentStore,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store, self._clock, self._sleep = store, clock, sleep
        self._entries: dict[str, _Entry] = {}
        self._periods: dict[str, tuple[Budget, str, int, float]] = {}  # with scheme, start and end
        self._dirty: set[str] = set()
        self._away_until = 0.0  # unix seconds
        self._reads: SingleFlight[str, None] = SingleFlight()
        self._task: asyncio.Task[None] | None = None
        self._flushes: set[asyncio.Task[bool]] = set()

    def period(self, limits: Limits, now: float) -> tuple[str, int]:
        """(scheme, start) of a budget's running period; worked out once a period."""
        budget = limits.budget
        assert budget is not None
        known = self._periods.get(limits.subject)
        if known is None or known[0] is not budget or not known[2] <= now < known[3]:
            start, end = period(budget, now)
            known = (budget, scheme_of(budget), start, float("inf") if end is None else end)
            self._periods[limits.subject] = known
        return known[1], known[2]

    def peek(self, limits: Limits) -> int | None:
        """What is spent of the running period; None when it must be loaded first."""
        budget = limits.budget
        assert budget is not None
        entry = self._entries.get(limits.subject)
        if entry is None or entry.read_at is None:
            return None
        now = self._clock()
        scheme, start = self.period(limits, now)
        if (entry.scheme, entry.start) != (scheme, start):
            return None
        entry.limits = limits
        if now - entry.read_at > REFRESH_AFTER:
            entry.read_at = now  # one background read, whoever asks meanwhile
            self._reads.start(limits.subject, lambda: self._read(limits))
        return entry.spent(budget.kind)

    async def load(self, limits: Limits) -> int:
        """What is spent of the running period, as the store has it now, and what is ours besides."""
        now = self._clock()
        if 0 <= now < self._away_until:
            raise _away()
        try:
            async with asyncio.timeout(PATIENCE):
                await self._reads.run(limits.subject, lambda: self._read(limits))
        except (StoreUnavailable, TimeoutError) as error:
            self._away_until = self._clock() + AWAY
            raise _away() from error
        assert limits.budget is not None
        return self._entries[limits.subject].spent(limits.budget.kind)

    async def reread(self, limits: Limits) -> int | None:
        """As `load`, for one who doubts what was known; None when it was read a moment ago."""
        entry = self._entries.get(limits.subject)
        read_at = entry.read_at if entry is not None else None
        if read_at is not None and self._clock() - read_at < REREAD_AFTER:
            return None
        return await self.load(limits)

    def add(self, limits: Limits, *, cost: int, tokens: int) -> None:
        """Count what a call came to: millionths of a cent, and tokens."""
        budget = limits.budget
        if budget is None or not (cost or tokens):
            return
        entry = self._entries.get(limits.subject)
        scheme, start = self.period(limits, self._clock())
        if entry is None or (entry.scheme, entry.start) != (scheme, start):
            entry = self._entries[limits.subject] = _Entry(limits, scheme, start)
        entry.pending["cost"] += cost
        entry.pending["tokens"] += tokens
        self._dirty.add(limits.subject)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def reset(self, subject: str) -> None:
        """Forget what was spent."""
        self._entries.pop(subject, None)
        self._periods.pop(subject, None)
        self._dirty.discard(subject)
        await self._store.delete(KIND, subject)

    async def flush(self) -> bool:
        """Write what is not written yet; False when the store did not take it, and it still waits."""
        failed: set[str] = set()
        while self._dirty:
            subject = self._dirty.pop()
            entry = self._entries.get(subject)
            if entry is None:
                continue
            try:
                await self._write(subject, entry)
            except GatewayError as error:
                failed.add(subject)
                log.warning("budgets.write_failed", extra={"subject": subject, "error": error.message})
            except BaseException:
                self._dirty.add(subject)
                raise
        self._dirty |= failed
        return not failed

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            # A write that is cut off may have been done, and would be counted twice: let it end.
            await asyncio.gather(self._task, *self._flushes, return_exceptions=True)
        await self._reads.aclose()
        await self.flush()

    async def _run(self) -> None:
        while self._dirty:
            await self._sleep(FLUSH_EVERY)
            flush = asyncio.get_running_loop().create_task(self.flush())
            self._flushes.add(flush)
            flush.add_done_callback(self._flushes.discard)
            await asyncio.shield(flush)

    async def _read(self, limits: Limits) -> None:
        before = self._entries.get(limits.subject)
        writes = before.writes if before is not None else 0
        document = await self._store.get(KIND, limits.subject)
        scheme, start = self.period(limits, self._clock())
        entry = self._entries.get(limits.subject)
        if entry is None or (entry.scheme, entry.start) != (scheme, start):
            entry = self._entries[limits.subject] = _Entry(limits, scheme, start)
        if entry.writes == writes and not any(entry.writing.values()):  # else the write's answer is newer
            _adopt(entry, document)
        entry.read_at = self._clock()

    async def _write(self, subject: str, entry: _Entry) -> None:
        entry.writing, entry.pending = entry.pending, {"cost": 0, "tokens": 0}
        try:
            for attempt in range(_ATTEMPTS):
                value, events = _value(entry)
                try:
                    written = await self._store.put(KIND, subject, value, expect=entry.version)
                    break
                except Conflict:
                    if attempt == _ATTEMPTS - 1:
                        raise
                    if not _adopt(entry, await self._store.get(KIND, subject)):
                        return  # the others are in the next period: this one's spending is past
            entry.version, entry.writes = written.version, entry.writes + 1
            entry.known = {"cost": int(value["cost"]), "tokens": int(value["tokens"])}
            entry.flags = {name: True for name in ("alerted", "exhausted") if value.get(name)}
            entry.read_at = self._clock()
            for event in events:
                _tell(event, entry)
        except BaseException:
            for name, amount in entry.writing.items():
                entry.pending[name] += amount
            raise
        finally:
            entry.writing = {"cost": 0, "tokens": 0}


def _away() -> StoreUnavailable:
    return StoreUnavailable("what budgets have spent cannot be read", code="limits_unavailable")


def scheme_of(budget: Budget) -> str:
    """Which resets a number belongs to: another scheme starts from nothing."""
    return f"{budget.reset or 'never'}:{budget.days}:{budget.anchor}"


def _adopt(entry: _Entry, document: Document | None) -> bool:
    """Take over the store's number; False when it belongs to a period that began later than ours."""
    entry.version = document.version if document is not None else 0
    entry.known, entry.flags = {"cost": 0, "tokens": 0}, {}
    value = document.value if document is not None else {}
    if value.get("scheme") != entry.scheme or value.get("start") != entry.start:
        return not (value.get("scheme") == entry.scheme and value.get("start", 0) > entry.start)
    entry.known = {name: int(value.get(name, 0)) for name in ("cost", "tokens")}
    entry.flags = {name: True for name in ("alerted", "exhausted") if value.get(name)}
    return True


def _value(entry: _Entry) -> tuple[dict[str, Any], list[str]]:
    """(what to write, which news it holds): each is told once a period, by whoever writes it."""
    sums = {name: entry.known[name] + entry.writing[name] for name in ("cost", "tokens")}
    value: dict[str, Any] = {"scheme": entry.scheme, "start": entry.start, **sums, **entry.flags}
    budget, events = entry.limits.budget, []
    if budget is not None:
        spent = sums[budget.kind]
        if budget.alert_at is not None and spent >= budget.alert_at and not entry.flags.get("alerted"):
            value["alerted"] = True
            events.append("budget.alert")
        if spent >= budget.limit and not entry.flags.get("exhausted"):
            value["exhausted"] = True
            events.append("budget.exhausted")
    return value, events


def _tell(event: str, entry: _Entry) -> None:
    budget = entry.limits.budget
    assert budget is not None
    fields = {
        "subject": entry.limits.subject,
        "kind": budget.kind,
        "spent": budget.shown(entry.known[budget.kind]),
        "limit": budget.shown(budget.limit),
        "alert_threshold": budget.shown(budget.alert_at) if budget.alert_at is not None else None,
    }
    log.warning(event, extra=fields)
