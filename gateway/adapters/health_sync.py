"""Keeps this instance's health board and pins in step with the others', beside the requests."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from gateway.core.errors import StoreUnavailable
from gateway.core.health import Event, HealthBoard, decode_events
from gateway.core.ports import EventExchange
from gateway.core.sticky import Pins

INTERVAL = 1.0  # seconds
_MOST_WAITING = 10_000  # events kept while the exchange is away; the newest matter

log = logging.getLogger("gateway.health")


class HealthSync:
    """Exchanges events every second from `start` to `aclose`. No request ever waits for it."""

    def __init__(
        self,
        board: HealthBoard,
        pins: Pins,
        exchange: EventExchange,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._board = board
        self._pins = pins
        self._exchange = exchange
        self._sleep = sleep
        self._waiting: list[Event] = []
        self._away = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin in the running loop; calling it again changes nothing."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def step(self) -> None:
        """One exchange. When the store is away, events wait for the next one."""
        self._waiting = [*self._waiting, *self._board.drain()][-_MOST_WAITING:]
        sent = len(self._waiting)
        try:
            raw = await self._exchange.exchange([event.encode() for event in self._waiting])
        except StoreUnavailable as error:
            self._note_away(error)
            return
        self._away = False
        del self._waiting[:sent]
        events = decode_events(raw)
        self._board.absorb(events)
        self._pins.absorb(events)

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._exchange.aclose()

    async def _run(self) -> None:
        while True:
            await self.step()
            await self._sleep(INTERVAL)

    def _note_away(self, error: StoreUnavailable) -> None:
        # Once for each absence: a line a second would bury all else.
        if not self._away:
            log.warning("health.share_failed", extra={"reason": error.message})
        self._away = True
