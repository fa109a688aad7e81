"""Which leaf is tried next: a generator that yields leaves and is sent their outcomes. No I/O, no await.

A leaf's own retries are the caller's; what is sent back is how the leaf ended. Where no target can be
tried because all are throttled, nothing is yielded and the result says when the soonest is back.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.core.conditions import ABSENT, matches
from gateway.core.errors import InvalidRequest
from gateway.core.health import Block, target_key
from gateway.core.retry import Outcome
from gateway.core.route_input import RouteInput
from gateway.core.sticky import draw, pin_key
from gateway.core.targets import Conditional, Fallback, Leaf, LoadBalance, Share, Target


class Health(Protocol):
    """What routing asks of the health board."""

    @property
    def quiet(self) -> bool: ...
    def blocked(self, leaf: Leaf, key: str, operation: str) -> Block | None: ...
    def enter(self, leaf: Leaf, key: str) -> None: ...
    def leave(self, leaf: Leaf, key: str) -> None: ...


class Pinned(Protocol):
    """What routing asks of the sticky choices."""

    def get(self, key: str) -> int | None: ...
    def put(self, key: str, index: int, ttl: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Skipped:
    """A target passed over without a request."""

    path: str
    key: str
    state: str  # "throttled", "dead" or "open"
    until: float  # unix seconds
    why: str


@dataclass(frozen=True, slots=True)
class Final:
    """How routing ended: with the leaf yielded last, or with none since all are throttled."""

    leaf: Leaf | None
    outcome: Outcome | None
    mode: str = "single"
    skipped: tuple[Skipped, ...] = ()
    throttled_until: float | None = None  # unix seconds; set when `leaf` is None


@dataclass(frozen=True, slots=True)
class _Throttled:
    until: float


_Result = tuple[Leaf, Outcome] | _Throttled
_Steps = Generator[Leaf, Outcome, _Result]


def route(
    tree: Target,
    call: RouteInput,
    health: Health,
    pins: Pinned,
    random: Callable[[], float],
    skipped: list[Skipped] | None = None,
) -> Generator[Leaf, Outcome, Final]:
    """Yield each leaf to try, be sent its outcome, return what the caller is answered with.

    `InvalidRequest` when no condition of a router holds and it has no default. `random` gives 0 <= x < 1.
    Who wants to know between two leaves which targets were passed over gives the list they are put in,
    and may take them out of it.
    """
    if isinstance(tree, Leaf):
        outcome = yield tree
        return Final(tree, outcome)
    passed_over: list[Skipped] = [] if skipped is None else skipped
    result = yield from _Walk(call, health, pins, random, passed_over).visit(tree)
    if isinstance(result, _Throttled):
        return Final(None, None, mode_of(tree), tuple(passed_over), result.until)
    return Final(result[0], result[1], mode_of(tree), tuple(passed_over))


def mode_of(tree: Target) -> str:
    """The strategy's name in records: single, fallback, loadbalance or conditional."""
    return _MODES[type(tree)]


_MODES: dict[type, str] = {
    Leaf: "single",
    Fallback: "fallback",
    LoadBalance: "loadbalance",
    Conditional: "conditional",
}


class _Walk:
    """One call's way through its tree."""

    __slots__ = ("_bypass", "_call", "_health", "_pins", "_random", "_skipped")

    def __init__(
        self,
        call: RouteInput,
        health: Health,
        pins: Pinned,
        random: Callable[[], float],
        skipped: list[Skipped],
    ) -> None:
        self._call = call
        self._health = health
        self._pins = pins
        self._random = random
        self._skipped = skipped
        self._bypass = False  # every target of a strategy is blocked: try them all the same

    def visit(self, node: Target) -> _Steps:
        if isinstance(node, Leaf):
            return self._leaf(node)
        if isinstance(node, Fallback):
            return self._fallback(node)
        if isinstance(node, LoadBalance):
            return self._balance(node)
        return self.visit(self._choose(node))

    def _leaf(self, leaf: Leaf) -> _Steps:
        if leaf.breaker is None or self._bypass:
            return leaf, (yield leaf)
        key = self._key(leaf)
        self._health.enter(leaf, key)
        try:
            outcome = yield leaf
        finally:
            # However the try ends, the client's leaving included, the next probe may go.
            self._health.leave(leaf, key)
        return leaf, outcome

    def _fallback(self, node: Fallback) -> _Steps:
        listed = node.on_status_codes
        # A list without 429 says that throttling is no reason to fall back: let the target say it itself.
        heed_throttling = listed is None or 429 in listed
        last: _Result | None = None
        blocks: list[Block] = []
        mark = len(self._skipped)
        for child in node.children:
            block = self._block(child)
            if block is not None and (heed_throttling or block.state != "throttled"):
                blocks.append(block)
                self._skip(child, block)
                continue
            result = yield from self.visit(child)
            last = _later(last, result)
            if not isinstance(result, _Throttled) and not _falls_back(listed, result[1]):
                return result
        if last is not None:
            return last
        return (yield from self._all_blocked(blocks, mark, lambda: self._fallback(node)))

    def _balance(self, node: LoadBalance) -> _Steps:
        mark = len(self._skipped)
        blocks: list[Block] = []
        pool: list[tuple[int, Share]] = []
        for index, share in enumerate(node.children):
            if share.weight <= 0:
                continue
            block = self._block(share.target)
            if block is None:
                pool.append((index, share))
            else:
                blocks.append(block)
                self._skip(share.target, block)
        if not pool:
            return (yield from self._all_blocked(blocks, mark, lambda: self._balance(node)))
        return (yield from self._spill(node, pool))

    def _spill(self, node: LoadBalance, pool: list[tuple[int, Share]]) -> _Steps:
        """The best priority of the pool; past it only while one says that it is throttled."""
        last: _Result | None = None
        while pool:
            best = min(share.priority for _, share in pool)
            chosen = self._pick(node, [item for item in pool if item[1].priority == best])
            result = yield from self.visit(chosen.target)
            last = _later(last, result)
            if not isinstance(result, _Throttled) and not _is_throttled(result[1]):
                return result
            pool = [item for item in pool if item[1].priority > best]
        assert last is not None
        return last

    def _pick(self, node: LoadBalance, pool: Sequence[tuple[int, Share]]) -> Share:
        if node.sticky is None:
            return _weighted(pool, self._random())[1]
        values = [self._call.lookup(field) for field in node.sticky.hash_fields]
        if all(value is ABSENT for value in values):
            return _weighted(pool, self._random())[1]
        key = pin_key(node.key, [None if value is ABSENT else value for value in values])
        pinned = self._pins.get(key)
        for index, share in pool:
            if index == pinned:
                return share
        index, share = _weighted(pool, draw(key))
        # A pin outlives a target's bad minutes: who is moved meanwhile returns with it.
        if pinned is None or pinned >= len(node.children):
            self._pins.put(key, index, node.sticky.ttl)
        return share

    def _choose(self, node: Conditional) -> Target:
        for query, index in node.rules:
            if matches(query, self._call):
                return node.children[index]
        if node.default is not None:
            return node.children[node.default]
        raise InvalidRequest(
            "Query router did not resolve to any valid target: no condition of "
            f"{node.path}.strategy holds for this request; add strategy.default",
            code="no_matching_target",
        )

    def _all_blocked(self, blocks: list[Block], mark: int, again: Callable[[], _Steps]) -> _Steps:
        """A throttled target is back at a known time; dead ones and open circuits are worth a try."""
        times = [block.until for block in blocks if block.state == "throttled"]
        if times:
            return _Throttled(min(times))
        del self._skipped[mark:]
        self._bypass = True
        try:
            return (yield from again())
        finally:
            self._bypass = False

    def _block(self, node: Target) -> Block | None:
        """Why nothing below `node` can serve now; the soonest of its leaves speaks for it."""
        if self._bypass or self._health.quiet or isinstance(node, Conditional):
            return None  # a condition's choice is the config's will, whatever its health
        if isinstance(node, Leaf):
            return self._health.blocked(node, self._key(node), self._call.operation)
        return self._soonest(_below(node))

    def _soonest(self, children: Sequence[Target]) -> Block | None:
        blocks: list[Block] = []
        for child in children:
            block = self._block(child)
            if block is None:
                return None
            blocks.append(block)
        throttled = [block for block in blocks if block.state == "throttled"]
        return min(throttled or blocks, key=lambda block: block.until)

    def _skip(self, node: Target, block: Block) -> None:
        key = self._key(node) if isinstance(node, Leaf) else ""
        self._skipped.append(Skipped(node.path, key, block.state, block.until, block.why))

    def _key(self, leaf: Leaf) -> str:
        return target_key(leaf, self._call.model, self._call.origin)


def _below(node: Fallback | LoadBalance) -> Sequence[Target]:
    if isinstance(node, Fallback):
        return node.children
    return [share.target for share in node.children if share.weight > 0]


def _falls_back(listed: frozenset[int] | None, outcome: Outcome) -> bool:
    if outcome.stops:
        return False
    if outcome.fault:
        return True  # no status to look for in a list: nobody answered
    return not outcome.ok if listed is None else outcome.status in listed


def _is_throttled(outcome: Outcome) -> bool:
    return outcome.status == 429 and not outcome.stops


def _later(last: _Result | None, result: _Result) -> _Result:
    """What is answered so far: an answer that was had wins over one that was not asked for."""
    if not isinstance(result, _Throttled):
        return result
    if isinstance(last, _Throttled):
        return _Throttled(min(last.until, result.until))
    return result if last is None else last


def _weighted(pool: Sequence[tuple[int, Share]], point: float) -> tuple[int, Share]:
    if len(pool) == 1:
        return pool[0]
    rest = point * sum(share.weight for _, share in pool)
    for item in pool:
        rest -= item[1].weight
        if rest < 0:
            return item
    return pool[-1]  # rounding: a point next to 1 may pass the sum
