"""A client that leaves: the work done for it is cancelled at once."""

import asyncio
from typing import Any

from starlette.types import Receive


class Departure:
    """Cancels the task that serves a client once the client has left."""

    def __init__(self, receive: Receive, serving: asyncio.Task[Any]) -> None:
        self.left = False
        self._receive = receive
        self._serving = serving
        self._watcher: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, after: float = 0.0) -> None:
        """Begin after some seconds: most calls are over by then, and need no watcher."""
        if after:
            self._timer = asyncio.get_running_loop().call_later(after, self.watch)
        else:
            self._watcher = asyncio.ensure_future(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.left = True
        self._serving.cancel()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
