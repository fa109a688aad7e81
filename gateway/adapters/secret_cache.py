"""Secrets read once a minute, in the background, one read in flight."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from gateway.adapters.single_flight import SingleFlight
from gateway.core.errors import StoreUnavailable
from gateway.core.ports import Secret, SecretStore

TTL = 60.0  # seconds a read stays fresh; half as long again it is used while it is read anew
MISSING_TTL = 3.0  # seconds a missing name stays missing, so that guessing does not load the vault
_MOST = 2000  # names


@dataclass(slots=True)
class _Entry:
    secret: Secret | None
    read_at: float


class SecretCache:
    """Answers from memory; a vault that is down or throttles leaves known secrets working."""

    def __init__(self, store: SecretStore, *, clock: Callable[[], float], ttl: float = TTL) -> None:
        self.store = store
        self._clock = clock
        self._ttl = ttl
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._reads: SingleFlight[tuple[str, int], Secret | None] = SingleFlight()
        # Counts what was forgotten: a read that began before a write must not bring the old value back.
        self._generation = 0

    def peek(self, name: str) -> Secret | None:
        """What is in memory and fresh; None says nothing."""
        entry = self._entries.get(name)
        if entry is None or self._clock() - entry.read_at > self._ttl:
            return None
        return entry.secret

    async def get(self, name: str) -> Secret | None:
        """Raises `StoreUnavailable` only for a name that was never read."""
        entry = self._entries.get(name)
        if entry is None:
            return await self._read(name)
        age = self._clock() - entry.read_at
        if entry.secret is None:
            return None if age < min(MISSING_TTL, self._ttl) else await self._read_or(name, entry)
        if age < self._ttl:
            return entry.secret
        if age < 1.5 * self._ttl:
            generation = self._generation
            self._reads.start((name, generation), lambda: self._fetch(name, generation))
            return entry.secret
        return await self._read_or(name, entry)

    def forget(self, name: str) -> None:
        """Written here, or refused upstream: read it anew at the next use."""
        self._entries.pop(name, None)
        self._generation += 1

    async def aclose(self) -> None:
        await self._reads.aclose()
        await self.store.aclose()

    async def _read(self, name: str) -> Secret | None:
        generation = self._generation
        return await self._reads.run((name, generation), lambda: self._fetch(name, generation))

    async def _read_or(self, name: str, entry: _Entry) -> Secret | None:
        try:
            return await self._read(name)
        except StoreUnavailable:
            if entry.secret is None:
                raise
            return entry.secret

    async def _fetch(self, name: str, generation: int) -> Secret | None:
        secret = await self.store.get(name)
        if generation != self._generation:
            return secret
        self._entries[name] = _Entry(secret, self._clock())
        self._entries.move_to_end(name)
        while len(self._entries) > _MOST:
            self._entries.popitem(last=False)
        return secret
