"""The trail of management calls: who did what, when, from where, with what before and after.

Entries wait in memory and are written in the background, as documents whose ids begin with their
hour; no call waits for them or fails by them. What is older than the retention is deleted once a day.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from gateway.core.documents import MAX_VALUE_BYTES
from gateway.core.errors import GatewayError
from gateway.core.ports import Document, DocumentStore

log = logging.getLogger("gateway.audit")

KIND = "audit"
_MOST_WAITING = 10_000
_RETRY = 5.0  # seconds after a failed write
_DAY = 86_400
_LONGEST = MAX_VALUE_BYTES // 4  # bytes of an entry's before and after


class AuditTrail:
    """`clock` gives unix seconds; ids of entries must begin with their time and sort by it."""

    def __init__(
        self,
        store: DocumentStore,
        *,
        retention_days: int,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.dropped = 0  # metric: entries that were lost since the store was away too long
        self._store, self._retention, self._clock, self._sleep = store, retention_days, clock, sleep
        self._waiting: deque[Mapping[str, Any]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._purged_on: str | None = None

    def put(self, entry: Mapping[str, Any]) -> None:
        """Take an entry with `id` and `created_at` (unix seconds). Never blocks and never raises."""
        if len(self._waiting) >= _MOST_WAITING:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(entry)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def page(self, since: float, until: float, most: int) -> list[Mapping[str, Any]]:
        """Entries from `since` to `until`, newest first, `most` at most; what waits is written first."""
        await self.flush()
        found: list[Mapping[str, Any]] = []
        for prefix in _prefixes(since, until):
            documents: list[Document] = await self._store.list(KIND, prefix=prefix)
            found += [
                document.value
                for document in reversed(documents)
                if since <= document.value["created_at"] < until
            ]
            if len(found) >= most:
                break
        return found[:most]

    async def flush(self) -> bool:
        """Write what waits; False when the store did not take it, and the rest still waits."""
        while self._waiting:
            entry = self._waiting[0]
            try:
                await self._store.put(KIND, _name(entry), _bounded(entry))
            except GatewayError as error:
                if error.status == 503:
                    log.warning("audit.write_failed", extra={"waiting": len(self._waiting)})
                    return False
                self.dropped += 1
                log.exception("audit.refused", extra={"id": entry["id"]})
            if self._waiting and self._waiting[0] is entry:
                self._waiting.popleft()
        return True

    async def purge(self) -> int:
        """Delete what is older than the retention; how many entries."""
        last = datetime.fromtimestamp(self._clock(), UTC) - timedelta(days=self._retention)
        deleted = 0
        # A week back: a gateway that slept longer still clears up, day by day.
        for days in range(1, 8):
            prefix = (last - timedelta(days=days)).strftime("%Y%m%d")
            for document in await self._store.list(KIND, prefix=prefix):
                deleted += await self._store.delete(KIND, document.id)
        return deleted

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.flush()

    async def _run(self) -> None:
        while self._waiting:
            if not await self.flush():
                await self._sleep(_RETRY)
        today = datetime.fromtimestamp(self._clock(), UTC).strftime("%Y%m%d")
        if today != self._purged_on:
            self._purged_on = today
            try:
                await self.purge()
            except GatewayError as error:
                log.warning("audit.purge_failed", extra={"error": error.message})


def _name(entry: Mapping[str, Any]) -> str:
    hour = datetime.fromtimestamp(entry["created_at"], UTC).strftime("%Y%m%d%H")
    return f"{hour}-{entry['id']}"


def _prefixes(since: float, until: float) -> list[str]:
    """Prefixes of ids that cover the time, newest first: hours of up to two days, else days."""
    step, form = (3600, "%Y%m%d%H") if until - since <= 2 * _DAY else (_DAY, "%Y%m%d")
    first, last = int(since // step), int(until // step)
    return [datetime.fromtimestamp(i * step, UTC).strftime(form) for i in range(last, first - 1, -1)]


def _bounded(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """The entry, without a before or after that is too large to store."""
    large = [
        name
        for name in ("before", "after")
        if entry.get(name) is not None and len(orjson.dumps(entry[name])) > _LONGEST
    ]
    return {**entry, **dict.fromkeys(large, "left out: too large")} if large else entry
