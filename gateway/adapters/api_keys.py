"""API keys in the document store, and who holds the one that a request brought.

A key is found by its SHA-256: a document of kind `api-key-digest` names the key's own document. What
was read is used for ten seconds, and for ten more while it is read anew: a key that was revoked
anywhere is refused everywhere within twenty.
"""

import asyncio
import hashlib
import hmac
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from gateway.adapters.single_flight import SingleFlight
from gateway.core.api_keys import KEY, ApiKey, KeyDigest, dump, load
from gateway.core.caller import Caller
from gateway.core.errors import GatewayError, StoreUnavailable
from gateway.core.ports import DocumentStore

log = logging.getLogger("gateway.keys")

V = TypeVar("V")

KEYS = "api-key"
DIGESTS = "api-key-digest"
FRESH = 10.0  # seconds
STALE = 20.0  # seconds: older than this is not used while the store answers
OUTAGE = 300.0  # seconds a known key goes on working while the store does not answer
PATIENCE = 2.0  # seconds a call with a known key waits for the store
AWAY = 5.0  # seconds without another question after a failure, so that calls do not all wait
UNKNOWN = 3.0  # seconds an unknown key is refused without another look
_MOST_KNOWN = 10_000
_MOST_UNKNOWN = 10_000
_MOST_READS = 16  # at once: guesses must not crowd out everything else from the store


@dataclass(frozen=True, slots=True)
class _Known:
    caller: Caller
    valid_until: float  # unix seconds
    read_at: float  # unix seconds


def digest_of(secret: str) -> str:
    """SHA-256 in hex. Keys are random, of 256 bits: no slow hash is needed."""
    return hashlib.sha256(secret.encode()).hexdigest()


class ApiKeys:
    """Storing and finding keys. `clock` gives unix seconds."""

    def __init__(self, store: DocumentStore, *, clock: Callable[[], float]) -> None:
        self._store, self._clock = store, clock
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._reads: SingleFlight[str, _Known | None] = SingleFlight()
        self._away_until = 0.0  # unix seconds
        self._gate = asyncio.Semaphore(_MOST_READS)

    async def lookup(self, token: str) -> Caller | None:
        """Who holds this key, or None. Raises `StoreUnavailable` for a key never seen in an outage."""
        if KEY.fullmatch(token) is None:
            return None
        digest = digest_of(token)
        known, now = self._known.get(digest), self._clock()
        if known is None:
            if (refused := self._unknown.get(digest)) is not None and 0 <= now - refused < UNKNOWN:
                return None
            known = await self._read(digest)
        else:
            age = now - known.read_at
            if age >= STALE:
                known = await self._read_or(digest, known)
            elif age >= FRESH:
                self._reads.start(digest, lambda: self._fetch(digest))
        return known.caller if known is not None and now < known.valid_until else None

    async def get(self, id: str) -> tuple[ApiKey, int] | None:
        """(the key, its document's version)."""
        document = await self._store.get(KEYS, id)
        return None if document is None else (load(document.value), document.version)

    async def list(self) -> list[ApiKey]:
        """All keys, the newest first."""
        keys = [load(document.value) for document in await self._store.list(KEYS)]
        return sorted(keys, key=lambda key: (-key.created_at, key.id))

    async def put(self, key: ApiKey, version: int) -> None:
        """Write a key that had `version`, 0 for a new one; raises `Conflict` when it was changed."""
        for known in key.digests:
            await self._store.put(DIGESTS, known.digest, {"id": key.id})
        await self._store.put(KEYS, key.id, dump(key), expect=version)
        self._forget(key)

    async def delete(self, key: ApiKey) -> None:
        """Revoke: the key's own document goes first, as it is what counts."""
        await self._store.delete(KEYS, key.id)
        self._forget(key)
        for known in key.digests:
            await self._store.delete(DIGESTS, known.digest)

    async def drop_digests(self, digests: tuple[KeyDigest, ...]) -> None:
        """Clear up after a rotation: secrets that are no longer a key's."""
        for known in digests:
            self._known.pop(known.digest, None)
            await self._store.delete(DIGESTS, known.digest)

    async def aclose(self) -> None:
        await self._reads.aclose()

    def _forget(self, key: ApiKey) -> None:
        for known in key.digests:
            self._known.pop(known.digest, None)
            self._unknown.pop(known.digest, None)

    async def _read(self, digest: str) -> _Known | None:
        return await self._reads.run(digest, lambda: self._fetch(digest))

    async def _read_or(self, digest: str, known: _Known) -> _Known | None:
        """The key read anew; while the store does not answer, what is known, up to a bound."""
        if self._clock() >= self._away_until:
            try:
                async with asyncio.timeout(PATIENCE):
                    return await self._read(digest)
            except (StoreUnavailable, TimeoutError) as error:
                self._away_until = self._clock() + AWAY
                log.warning("api_keys.unreadable", extra={"error": type(error).__name__})
        if self._clock() - known.read_at > OUTAGE:
            raise StoreUnavailable("API keys cannot be read")
        return known

    async def _fetch(self, digest: str) -> _Known | None:
        async with self._gate:
            known = await self._find(digest)
        if known is None:
            self._known.pop(digest, None)
            _remember(self._unknown, digest, self._clock(), _MOST_UNKNOWN)
        else:
            self._unknown.pop(digest, None)
            _remember(self._known, digest, known, _MOST_KNOWN)
        return known

    async def _find(self, digest: str) -> _Known | None:
        pointer = await self._store.get(DIGESTS, digest)
        if pointer is None:
            return None
        document = await self._store.get(KEYS, str(pointer.value["id"]))
        if document is None:
            return None
        key = load(document.value)
        # The pointer may outlive a rotation; the key's own list decides.
        if not any(hmac.compare_digest(known.digest, digest) for known in key.digests):
            return None
        try:
            return _Known(key.caller(), key.valid_until(digest), self._clock())
        except GatewayError as error:  # edited by hand, and wrong
            log.warning("api_key.unreadable", extra={"id": key.id, "error": error.message})
            return None


def _remember(cache: OrderedDict[str, V], name: str, value: V, most: int) -> None:
    cache[name] = value
    cache.move_to_end(name)
    while len(cache) > most:
        cache.popitem(last=False)
