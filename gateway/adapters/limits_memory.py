"""Counters in this process's memory: exact for one instance, each for itself where there are more."""

from collections import OrderedDict
from collections.abc import Callable, Sequence

from gateway.core.ports import Claim, Refused, Settlement, Taken
from gateway.core.windows import Window

_MOST = 100_000  # counters kept; the one unused for the longest time goes first


class MemoryCounters:
    """A `Counters`. Nothing is awaited between looking and counting, so it is atomic."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock  # unix seconds
        self._windows: OrderedDict[str, Window] = OrderedDict()
        self._held: dict[str, int] = {}  # of budgets: claimed by calls in flight

    async def take(self, claims: Sequence[Claim]) -> Taken | Refused:
        now = self._clock()
        for index, claim in enumerate(claims):
            if claim.window:
                used = self._window(claim).used(now)
                if used + claim.amount > claim.limit:
                    wait = self._window(claim).wait(now, used + claim.amount - claim.limit)
                    return Refused(index, used, wait)
            else:
                used = claim.spent + self._held.get(claim.key, 0)
                if used >= claim.limit or used + claim.amount > claim.limit:
                    return Refused(index, used)
        return Taken([self._count(claim, now) for claim in claims])

    def settle(self, settlements: Sequence[Settlement]) -> None:
        for settlement in settlements:
            claim = settlement.claim
            if claim.window:
                window = self._windows.get(claim.key)
                if window is not None:
                    window.adjust(settlement.mark, settlement.real - claim.amount)
            elif claim.amount:
                rest = self._held.get(claim.key, 0) - claim.amount
                if rest > 0:
                    self._held[claim.key] = rest
                else:
                    self._held.pop(claim.key, None)

    async def adjust(self, key: str, change: int) -> None:
        """Nothing: each claim says what is spent."""

    async def forget(self, key: str) -> None:
        """Nothing, for the same reason; what calls in flight claimed goes on counting."""

    async def aclose(self) -> None:
        """Nothing to let go of."""

    def _window(self, claim: Claim) -> Window:
        window = self._windows.get(claim.key)
        if window is None:
            window = self._windows[claim.key] = Window(claim.window)
            if len(self._windows) > _MOST:
                self._windows.popitem(last=False)
        else:
            self._windows.move_to_end(claim.key)
        return window

    def _count(self, claim: Claim, now: float) -> int:
        if claim.window:
            return self._window(claim).add(now, claim.amount)
        if claim.amount:
            self._held[claim.key] = self._held.get(claim.key, 0) + claim.amount
        return 0
