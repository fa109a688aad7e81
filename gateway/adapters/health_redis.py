"""News of targets between instances, on one Redis stream of bounded length."""

from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.core.errors import StoreUnavailable

STREAM = "gateway:health"
_KEPT = 10_000  # entries; an entry is what one instance found in a second
_KEPT_SECONDS = 86_400  # with nobody left to write, nothing needs to be remembered
_BACK = 600.0  # seconds a new instance reads back: longer than a dead deployment is remembered
_PAGE = 500  # entries of one read
_PAGES = 20  # reads of one exchange: who is further behind catches up over the next seconds


class RedisExchange:
    """An `EventExchange` on a stream. Each entry has the writer and its events, one a line."""

    def __init__(self, redis: Redis, instance: str, clock: Callable[[], float]) -> None:
        self._redis = redis
        self._instance = instance.encode()
        # Ids of a stream's entries begin with their time in milliseconds.
        self._last = f"{max(0, int((clock() - _BACK) * 1000))}-0".encode()

    async def exchange(self, outgoing: Sequence[bytes]) -> list[bytes]:
        try:
            if outgoing:
                await self._publish(outgoing)
            return await self._read()
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreUnavailable("Redis did not take or give news of targets") from error

    async def aclose(self) -> None:
        await self._redis.aclose()

    async def _publish(self, outgoing: Sequence[bytes]) -> None:
        fields: dict[Any, Any] = {b"by": self._instance, b"events": b"\n".join(outgoing)}
        pipe = self._redis.pipeline(transaction=False)
        pipe.xadd(STREAM, fields, maxlen=_KEPT, approximate=True)
        pipe.expire(STREAM, _KEPT_SECONDS)
        await pipe.execute()

    async def _read(self) -> list[bytes]:
        events: list[bytes] = []
        for _ in range(_PAGES):
            entries = await self._page()
            for id, fields in entries:
                self._last = id
                if fields.get(b"by") != self._instance:
                    events.extend(fields.get(b"events", b"").split(b"\n"))
            if len(entries) < _PAGE:
                break
        return events

    async def _page(self) -> list[tuple[bytes, dict[bytes, bytes]]]:
        answer: Any = await self._redis.xrange(STREAM, min=b"(" + self._last, count=_PAGE)
        return list(answer)
