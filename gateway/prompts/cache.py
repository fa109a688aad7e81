"""A small cache with a time to live that outlives a store's outage."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from gateway.core.errors import StoreUnavailable

V = TypeVar("V")


class TimedCache(Generic[V]):
    """Values by key, loaded again after `ttl` seconds; the least used one goes when it is full.

    While the store does not answer, a value that is too old is still used: a prompt that was good a
    minute ago is better than none.
    """

    def __init__(self, ttl: float, size: int, clock: Callable[[], float]) -> None:
        self._ttl = ttl
        self._size = size
        self._clock = clock
        self._entries: OrderedDict[str, tuple[float, V]] = OrderedDict()

    async def get(self, key: str, load: Callable[[str], Awaitable[V]]) -> V:
        entry = self._entries.get(key)
        now = self._clock()
        if entry is not None and now < entry[0]:
            self._entries.move_to_end(key)
            return entry[1]
        try:
            value = await load(key)
        except StoreUnavailable:
            if entry is None:
                raise
            value = entry[1]
        self._entries[key] = (now + self._ttl, value)
        self._entries.move_to_end(key)
        while len(self._entries) > self._size:
            self._entries.popitem(last=False)
        return value

    def clear(self) -> None:
        self._entries.clear()
