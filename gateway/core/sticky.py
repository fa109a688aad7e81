"""Which target a caller is pinned to. In memory, bounded, told to other instances by events."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

import orjson

from gateway.core.health import Event


class Pins:
    """Pinned choices by key, each until its time; the least recently used go first."""

    def __init__(
        self,
        clock: Callable[[], float],
        publish: Callable[[Event], None] | None = None,
        *,
        limit: int = 50_000,
    ) -> None:
        self._clock = clock  # unix seconds
        self._publish = publish
        self._limit = limit
        self._pins: OrderedDict[str, tuple[int, float]] = OrderedDict()  # child's index, until

    def get(self, key: str) -> int | None:
        pin = self._pins.get(key)
        if pin is None:
            return None
        if pin[1] <= self._clock():
            del self._pins[key]
            return None
        self._pins.move_to_end(key)
        return pin[0]

    def put(self, key: str, index: int, ttl: float) -> None:
        """Pin for `ttl` seconds and tell the others."""
        until = self._clock() + ttl
        self._keep(key, index, until)
        if self._publish is not None:
            self._publish(Event("pin", key, until, str(index)))

    def absorb(self, events: Iterable[Event]) -> None:
        """Take over other instances' pins. The one that lasts longer wins: all agree on it."""
        now = self._clock()
        for event in events:
            if event.kind == "pin" and event.until > now and event.why.isdecimal():
                known = self._pins.get(event.key)
                if known is None or known[1] < event.until:
                    self._keep(event.key, int(event.why), event.until)

    def _keep(self, key: str, index: int, until: float) -> None:
        self._pins[key] = (index, until)
        self._pins.move_to_end(key)
        if len(self._pins) > self._limit:
            self._pins.popitem(last=False)


def pin_key(name: str, values: Sequence[object]) -> str:
    """A short key of a balancer and the values a call is hashed by; tells nothing of them."""
    digest = hashlib.sha256(orjson.dumps([name, values], default=str)).hexdigest()
    return digest[:32]


def draw(key: str) -> float:
    """0 <= x < 1 from a pin's key, so that instances that have not talked yet choose alike."""
    return int(key[:13], 16) / 16**13
