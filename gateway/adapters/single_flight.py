"""One call in flight for each key, however many wait for it."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """A waiter that is cancelled leaves the others' call alone."""

    def __init__(self) -> None:
        self._flights: dict[K, asyncio.Task[V]] = {}

    def start(self, key: K, call: Callable[[], Awaitable[V]]) -> asyncio.Task[V]:
        """The running task for the key, or a new one."""
        task = self._flights.get(key)
        if task is None:
            task = asyncio.ensure_future(self._run(call))
            self._flights[key] = task
            task.add_done_callback(lambda done: self._landed(key, done))
        return task

    async def run(self, key: K, call: Callable[[], Awaitable[V]]) -> V:
        return await asyncio.shield(self.start(key, call))

    @staticmethod
    async def _run(call: Callable[[], Awaitable[V]]) -> V:
        return await call()

    def _landed(self, key: K, task: asyncio.Task[V]) -> None:
        self._flights.pop(key, None)
        if not task.cancelled():
            task.exception()  # seen: a background refresh has nobody else to look at it

    async def aclose(self) -> None:
        tasks = list(self._flights.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
