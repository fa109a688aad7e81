"""What is known of targets: throttled until, dead until, circuit open until. In memory, synchronous.

Routing reads it, the pipeline reports to it. Instances of the gateway tell each other by events:
one publishes what `drain` gives, the others `absorb` it, in the background. So no request waits for
a shared store, and what an instance knows of the others is about a second old.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.core.breaker import Circuit, is_failure
from gateway.core.retry import Outcome
from gateway.core.signals import NOTHING, Signal
from gateway.core.targets import Leaf

_MAX_KEY = 300  # characters; a model's name comes from the caller


@dataclass(frozen=True, slots=True)
class Block:
    """Why a target is not tried now. `state` is "throttled", "dead" or "open"."""

    state: str
    until: float  # unix seconds
    why: str


@dataclass(frozen=True, slots=True)
class Event:
    """News about a target or a circuit, for the other instances.

    `kind` is "throttled", "dead" or "well" for a target, "open", "probing" or "closed" for a circuit,
    "pin" for a sticky choice (`why` is the child's index).
    """

    kind: str
    key: str
    until: float = 0.0  # unix seconds
    why: str = ""

    def encode(self) -> bytes:
        return orjson.dumps([self.kind, self.key, self.until, self.why])


def decode_event(raw: bytes) -> Event | None:
    """The event in `raw`, or None when it is not one of ours (an older or newer gateway wrote it)."""
    try:
        kind, key, until, why = orjson.loads(raw)
    except (ValueError, TypeError):
        return None
    if not (isinstance(kind, str) and isinstance(key, str) and isinstance(why, str)):
        return None
    if isinstance(until, bool) or not isinstance(until, int | float) or len(key) > 3 * _MAX_KEY:
        return None
    return Event(kind, key, float(until), why[:_MAX_KEY])


def target_key(leaf: Leaf, model: str | None, origin: str) -> str:
    """The stable name of what a leaf calls: who signs in, where, and which deployment.

    `origin` names what the request itself brought, for leaves that say nothing of their own.
    """
    own = leaf.credentials
    if leaf.prompt_id:
        # Its own key and model are known when it is rendered, and may be others than the call's.
        origin, model = f"prompt:{leaf.prompt_id}", None
    where = f"vk:{leaf.virtual_key}" if leaf.virtual_key else own.resource_name or leaf.provider or origin
    if leaf.custom_host:
        where = f"{where}@{leaf.custom_host}"
    rules = leaf.params
    what = (
        own.deployment_id or rules.override.get("model") or model or rules.default.get("model") or "default"
    )
    return f"{where}/{what}"[:_MAX_KEY]


class HealthBoard:
    """Bounded: what was touched least recently is forgotten first."""

    def __init__(self, clock: Callable[[], float], *, limit: int = 10_000) -> None:
        self._clock = clock  # unix seconds: instances must mean the same by `until`
        self._limit = limit
        self._targets: OrderedDict[str, Block] = OrderedDict()
        self._circuits: OrderedDict[str, Circuit] = OrderedDict()
        self._outbox: deque[Event] = deque(maxlen=limit)

    @property
    def quiet(self) -> bool:
        """Nothing is known of any target, so that nobody needs to ask of one."""
        return not self._targets and not self._circuits

    def blocked(self, leaf: Leaf, key: str, operation: str = "") -> Block | None:
        """Why the target must be passed over now by a call of that operation, or None."""
        now = self._clock()
        block = self._known(key, now) or self._known(_narrow(key, operation), now)
        if block is not None or leaf.breaker is None:
            return block
        circuit = self._circuits.get(_circuit_key(leaf, key))
        until = circuit.blocked_until(now) if circuit is not None else None
        return None if until is None else Block("open", until, "the circuit breaker is open")

    def enter(self, leaf: Leaf, key: str) -> None:
        """A request goes to the target: if the circuit is half-open, it is the one probe."""
        if leaf.breaker is None:
            return
        name = _circuit_key(leaf, key)
        circuit = self._circuits.get(name)
        if circuit is not None and circuit.opened:
            circuit.start_probe(leaf.breaker, self._clock())
            self._outbox.append(Event("probing", name, circuit.probe_until))

    def leave(self, leaf: Leaf, key: str) -> None:
        """The request is over, or was never made: the probe's place is free again."""
        if leaf.breaker is not None and (circuit := self._circuits.get(_circuit_key(leaf, key))) is not None:
            circuit.end_probe()

    def report(
        self, leaf: Leaf, key: str, outcome: Outcome, signal: Signal = NOTHING, operation: str = ""
    ) -> None:
        """Note how one try ended."""
        if signal.state:
            name = _narrow(key, operation) if signal.narrow else key
            self._mark(name, Block(signal.state, signal.until, signal.why))
        elif outcome.ok and self._targets:
            self._clear(key)
            self._clear(_narrow(key, operation))
        if leaf.breaker is not None:
            self._count(leaf, key, outcome)

    def snapshot(self) -> list[dict[str, Any]]:
        """All that is blocked now, as rows of target, state, until (unix seconds) and why."""
        now = self._clock()
        rows: list[dict[str, Any]] = [
            {"target": key, "state": block.state, "until": block.until, "why": block.why}
            for key, block in self._targets.items()
            if block.until > now
        ]
        rows.extend(_circuit_row(circuit, now) for circuit in self._circuits.values() if circuit.opened)
        return rows

    def publish(self, event: Event) -> None:
        """Queue news of another kind (pins) for the other instances."""
        self._outbox.append(event)

    def drain(self) -> list[Event]:
        """The events since the last call, oldest first."""
        events = list(self._outbox)
        self._outbox.clear()
        return events

    def absorb(self, events: Iterable[Event]) -> None:
        """Take over what other instances found."""
        now = self._clock()
        for event in events:
            if event.kind in ("throttled", "dead") and event.until > now:
                self._put(event.key, Block(event.kind, event.until, event.why))
            elif event.kind == "well":
                self._targets.pop(event.key, None)
            elif event.kind in ("open", "probing", "closed"):
                self._absorb_circuit(event)

    def _known(self, key: str, now: float) -> Block | None:
        block = self._targets.get(key)
        if block is None or block.until > now:
            return block
        del self._targets[key]
        return None

    def _clear(self, key: str) -> None:
        """A good answer disproves death. Not throttling: it may have been on its way before the 429."""
        block = self._targets.get(key)
        if block is not None and block.state == "dead":
            del self._targets[key]
            self._outbox.append(Event("well", key))

    def _mark(self, key: str, block: Block) -> None:
        known = self._targets.get(key)
        self._put(key, block)
        # A second of difference is not news: a busy throttled target would fill the channel.
        if known is None or known.state != block.state or block.until - known.until >= 1.0:
            self._outbox.append(Event(block.state, key, block.until, block.why))

    def _put(self, key: str, block: Block) -> None:
        self._targets[key] = block
        self._targets.move_to_end(key)
        if len(self._targets) > self._limit:
            self._targets.popitem(last=False)

    def _count(self, leaf: Leaf, key: str, outcome: Outcome) -> None:
        assert leaf.breaker is not None
        circuit = self._circuit(_circuit_key(leaf, key))
        if circuit.count(leaf.breaker, is_failure(leaf.breaker, outcome), self._clock()):
            kind = "open" if circuit.opened else "closed"
            self._outbox.append(Event(kind, _circuit_key(leaf, key), circuit.open_until))

    def _circuit(self, name: str) -> Circuit:
        circuit = self._circuits.get(name)
        if circuit is None:
            _, path, target = name.split("|", 2)
            circuit = self._circuits[name] = Circuit(path, target)
            if len(self._circuits) > self._limit:
                self._circuits.popitem(last=False)
        else:
            self._circuits.move_to_end(name)
        return circuit

    def _absorb_circuit(self, event: Event) -> None:
        if event.key.count("|") < 2:
            return
        circuit = self._circuit(event.key)
        if event.kind == "open":
            circuit.open(max(event.until, circuit.open_until))
        elif event.kind == "closed":
            circuit.close()
        elif circuit.opened:
            circuit.probe_until = max(event.until, circuit.probe_until)


def _narrow(key: str, operation: str) -> str:
    return f"{key}#{operation}"


def _circuit_key(leaf: Leaf, key: str) -> str:
    # The target is part of it: one config may serve callers who bring credentials of their own.
    return f"{leaf.breaker_key}|{key}"


def _circuit_row(circuit: Circuit, now: float) -> dict[str, Any]:
    until = circuit.blocked_until(now)
    state = "half-open" if until is None or circuit.open_until <= now else "open"
    why = f"the circuit breaker of {circuit.path} is {state}"
    return {"target": circuit.target, "state": state, "until": until or circuit.open_until, "why": why}


def decode_events(raw: Sequence[bytes]) -> list[Event]:
    """The readable ones."""
    return [event for item in raw if (event := decode_event(item)) is not None]
