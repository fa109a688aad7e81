from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.config import compile_config
from gateway.core.errors import InvalidRequest
from gateway.core.health import HealthBoard, target_key
from gateway.core.retry import Outcome
from gateway.core.route_input import RouteInput
from gateway.core.routing import Final, route
from gateway.core.signals import Signal
from gateway.core.sticky import Pins
from gateway.core.targets import PLAIN, Leaf, Target

NOW = 1000.0
OK = Outcome(200)


def board() -> HealthBoard:
    return HealthBoard(lambda: NOW)


def run(
    tree: Target,
    outcomes: Callable[[Leaf], Outcome],
    *,
    health: HealthBoard | None = None,
    pins: Pins | None = None,
    call: RouteInput | None = None,
    random: Callable[[], float] = lambda: 0.0,
) -> tuple[list[str], Final]:
    """The paths that were tried, in order, and the end."""
    steps = route(tree, call or RouteInput(), health or board(), pins or Pins(lambda: NOW), random)
    tried: list[str] = []
    try:
        leaf = next(steps)
        while True:
            tried.append(leaf.path)
            leaf = steps.send(outcomes(leaf))
    except StopIteration as stop:
        return tried, stop.value


def by_index(*outcomes: Outcome) -> Callable[[Leaf], Outcome]:
    """Outcomes by the first index in a leaf's path."""
    return lambda leaf: outcomes[int(leaf.path.split("[")[1].split("]")[0])]


def tree_of(mode: str, *targets: Mapping[str, Any], **strategy: Any) -> Target:
    return compile_config({"strategy": {"mode": mode, **strategy}, "targets": list(targets)}).tree


def key(index: int) -> dict[str, Any]:
    return {"virtual_key": f"k{index}"}


def block(health: HealthBoard, tree: Target, path: str, state: str, until: float) -> None:
    for leaf in leaves(tree):
        if leaf.path == path:
            name = target_key(leaf, None, "request")
            health.report(leaf, name, Outcome(429), Signal(state, until, f"test: {state}"))


def leaves(node: Target) -> list[Leaf]:
    if isinstance(node, Leaf):
        return [node]
    children = [getattr(child, "target", child) for child in node.children]
    return [leaf for child in children for leaf in leaves(child)]


# --- single


def test_a_plain_leaf_is_tried_once() -> None:
    tried, final = run(PLAIN, lambda _: Outcome(500))
    assert tried == ["config"]
    assert final == Final(PLAIN, Outcome(500))


def test_mode_single_tries_its_first_target() -> None:
    tried, final = run(tree_of("single", key(0), key(1)), lambda _: Outcome(500))
    assert tried == ["config.targets[0]"]
    assert final.mode == "single"


# --- fallback


@pytest.mark.parametrize(
    ("codes", "outcomes", "tried", "status"),
    [
        (None, [200, 200], 1, 200),
        (None, [246, 200], 1, 246),
        (None, [500, 200], 2, 200),
        (None, [400, 200], 2, 200),
        (None, [446, 200], 2, 200),
        (None, [301, 200], 2, 200),
        (None, [500, 503], 2, 503),
        ([429], [429, 200], 2, 200),
        ([429], [500, 200], 1, 500),
        ([429], [429, 500], 2, 500),
        ([200], [200, 201], 2, 201),
        ([], [500, 200], 2, 200),
    ],
)
def test_fallback_stops_at_the_first_answer_that_will_do(
    codes: list[int] | None, outcomes: list[int], tried: int, status: int
) -> None:
    extra = {} if codes is None else {"on_status_codes": codes}
    tree = tree_of("fallback", key(0), key(1), **extra)
    paths, final = run(tree, by_index(*map(Outcome, outcomes)))
    assert paths == [f"config.targets[{i}]" for i in range(tried)]
    assert final.leaf is not None
    assert final.leaf.path == paths[-1]
    assert final.outcome == Outcome(status)
    assert final.mode == "fallback"


@pytest.mark.parametrize("fault", [Outcome(503, fault=True), Outcome(408, fault=True)])
@pytest.mark.parametrize("codes", [None, [429]])
def test_broken_connections_and_deadlines_fall_back_whatever_is_listed(
    fault: Outcome, codes: list[int] | None
) -> None:
    extra = {} if codes is None else {"on_status_codes": codes}
    paths, final = run(tree_of("fallback", key(0), key(1), **extra), by_index(fault, OK))
    assert len(paths) == 2
    assert final.outcome == OK


def test_an_error_of_the_gateway_itself_stops_the_chain() -> None:
    paths, final = run(tree_of("fallback", key(0), key(1)), by_index(Outcome(500, stops=True), OK))
    assert paths == ["config.targets[0]"]
    assert final.outcome == Outcome(500, stops=True)


def test_fallback_goes_into_nested_strategies() -> None:
    inner = {"strategy": {"mode": "fallback"}, "targets": [key(1), key(2)]}
    paths, final = run(tree_of("fallback", key(0), inner, key(3)), lambda _: Outcome(500))
    assert paths == [
        "config.targets[0]",
        "config.targets[1].targets[0]",
        "config.targets[1].targets[1]",
        "config.targets[2]",
    ]
    assert final.leaf is not None
    assert final.leaf.path == "config.targets[2]"


@pytest.mark.parametrize("state", ["throttled", "dead"])
def test_fallback_passes_over_a_blocked_target_without_a_request(state: str) -> None:
    tree, health = tree_of("fallback", key(0), key(1)), board()
    block(health, tree, "config.targets[0]", state, NOW + 9)
    paths, final = run(tree, lambda _: OK, health=health)
    assert paths == ["config.targets[1]"]
    assert [(s.path, s.key, s.state, s.until) for s in final.skipped] == [
        ("config.targets[0]", "vk:k0/default", state, NOW + 9)
    ]


def test_a_list_without_429_lets_a_throttled_target_speak_for_itself() -> None:
    tree, health = tree_of("fallback", key(0), key(1), on_status_codes=[500]), board()
    block(health, tree, "config.targets[0]", "throttled", NOW + 9)
    paths, _ = run(tree, lambda _: Outcome(429), health=health)
    assert paths == ["config.targets[0]"]


@pytest.mark.parametrize("mode", ["fallback", "loadbalance"])
def test_all_throttled_ends_without_a_request_and_with_the_soonest_time(mode: str) -> None:
    tree, health = tree_of(mode, key(0), key(1), key(2)), board()
    for index, until in enumerate([NOW + 30, NOW + 5, NOW + 60]):
        block(health, tree, f"config.targets[{index}]", "throttled", until)
    paths, final = run(tree, lambda _: OK, health=health)
    assert paths == []
    assert (final.leaf, final.outcome, final.throttled_until) == (None, None, NOW + 5)
    assert len(final.skipped) == 3


def test_all_throttled_is_seen_through_nested_strategies() -> None:
    inner = {"strategy": {"mode": "loadbalance"}, "targets": [key(1), key(2)]}
    tree, health = tree_of("fallback", key(0), inner), board()
    for path, until in [("[0]", 9), ("[1].targets[0]", 7), ("[1].targets[1]", 8)]:
        block(health, tree, f"config.targets{path}", "throttled", NOW + until)
    paths, final = run(tree, lambda _: OK, health=health)
    assert paths == []
    assert final.throttled_until == NOW + 7


def test_throttled_and_dead_targets_together_are_throttled() -> None:
    tree, health = tree_of("fallback", key(0), key(1)), board()
    block(health, tree, "config.targets[0]", "dead", NOW + 300)
    block(health, tree, "config.targets[1]", "throttled", NOW + 5)
    paths, final = run(tree, lambda _: OK, health=health)
    assert paths == []
    assert final.throttled_until == NOW + 5


@pytest.mark.parametrize(("mode", "count"), [("fallback", 2), ("loadbalance", 1)])
def test_all_dead_are_tried_all_the_same(mode: str, count: int) -> None:
    tree, health = tree_of(mode, key(0), key(1)), board()
    for index in range(2):
        block(health, tree, f"config.targets[{index}]", "dead", NOW + 300)
    paths, final = run(tree, lambda _: Outcome(404), health=health)
    assert len(paths) == count
    assert final.outcome == Outcome(404)
    assert final.skipped == ()


def test_an_answer_that_was_had_wins_over_a_throttled_rest() -> None:
    tree, health = tree_of("fallback", key(0), key(1)), board()
    block(health, tree, "config.targets[1]", "throttled", NOW + 5)
    paths, final = run(tree, lambda _: Outcome(500), health=health)
    assert paths == ["config.targets[0]"]
    assert final.outcome == Outcome(500)
    assert final.throttled_until is None


# --- breaker

BREAKER = {"failure_threshold": 1, "cooldown_interval": 30_000}


def open_circuit(health: HealthBoard, tree: Target, path: str) -> None:
    for leaf in leaves(tree):
        if leaf.path == path:
            health.report(leaf, target_key(leaf, None, "request"), Outcome(503, fault=True))


@pytest.mark.parametrize("mode", ["fallback", "loadbalance"])
def test_an_open_circuit_is_passed_over(mode: str) -> None:
    tree, health = tree_of(mode, key(0), key(1), cb_config=BREAKER), board()
    open_circuit(health, tree, "config.targets[0]")
    paths, final = run(tree, lambda _: OK, health=health)
    assert paths == ["config.targets[1]"]
    assert [skip.state for skip in final.skipped] == ["open"]


def test_all_open_bypasses_the_breaker() -> None:
    tree, health = tree_of("fallback", key(0), key(1), cb_config=BREAKER), board()
    for index in range(2):
        open_circuit(health, tree, f"config.targets[{index}]")
    paths, _ = run(tree, lambda _: Outcome(500), health=health)
    assert paths == ["config.targets[0]", "config.targets[1]"]


def test_conditional_targets_are_not_filtered() -> None:
    tree = tree_of("conditional", {**key(0), "name": "a"}, default="a", cb_config=BREAKER)
    health = board()
    assert leaves(tree)[0].breaker is None
    block(health, tree, "config.targets[0]", "dead", NOW + 300)
    assert run(tree, lambda _: OK, health=health)[0] == ["config.targets[0]"]


def test_one_probe_at_a_time_goes_to_a_half_open_target() -> None:
    tree = tree_of("fallback", key(0), key(1), cb_config=BREAKER)
    now = [NOW]
    health = HealthBoard(lambda: now[0])
    open_circuit(health, tree, "config.targets[0]")
    now[0] = NOW + 31

    def start() -> Any:
        return route(tree, RouteInput(), health, Pins(lambda: NOW), lambda: 0.0)

    probe, other = start(), start()
    assert next(probe).path == "config.targets[0]"
    assert next(other).path == "config.targets[1]"
    probe.close()  # its client left: the next one may probe
    assert next(start()).path == "config.targets[0]"


# --- load balance


@pytest.mark.parametrize(
    ("weights", "point", "index"),
    [
        ([1, 1], 0.0, 0),
        ([1, 1], 0.499, 0),
        ([1, 1], 0.5, 1),
        ([1, 1], 0.999, 1),
        ([0.7, 0.3], 0.69, 0),
        ([0.7, 0.3], 0.71, 1),
        ([0, 1], 0.0, 1),
        ([3, 0, 1], 0.74, 0),
        ([3, 0, 1], 0.76, 2),
    ],
)
def test_one_draw_chooses_by_weight(weights: list[float], point: float, index: int) -> None:
    tree = tree_of("loadbalance", *({**key(i), "weight": weight} for i, weight in enumerate(weights)))
    paths, final = run(tree, lambda _: Outcome(500), random=lambda: point)
    assert paths == [f"config.targets[{index}]"]  # no failover
    assert final.mode == "loadbalance"


def test_weights_share_what_is_healthy() -> None:
    tree, health = tree_of("loadbalance", *(key(i) for i in range(3))), board()
    block(health, tree, "config.targets[0]", "throttled", NOW + 5)
    chosen = {run(tree, lambda _: OK, health=health, random=lambda p=p: p / 10)[0][0] for p in range(10)}
    assert chosen == {"config.targets[1]", "config.targets[2]"}


def test_a_target_of_weight_zero_is_never_chosen_even_if_the_others_are_down() -> None:
    tree, health = tree_of("loadbalance", {**key(0), "weight": 0}, key(1)), board()
    block(health, tree, "config.targets[1]", "throttled", NOW + 5)
    assert run(tree, lambda _: OK, health=health)[0] == []
    block(health, tree, "config.targets[1]", "dead", NOW + 5)
    assert run(tree, lambda _: OK, health=health)[0] == ["config.targets[1]"]


SPILL = ({**key(0), "priority": 1}, {**key(1), "priority": 2}, {**key(2), "priority": 2})


def test_the_lowest_priority_number_serves() -> None:
    tree = tree_of("loadbalance", *reversed(SPILL))
    assert all(
        run(tree, lambda _: OK, random=lambda p=p: p / 5)[0] == ["config.targets[2]"] for p in range(5)
    )


def test_traffic_spills_over_while_the_first_priority_is_throttled() -> None:
    tree, health = tree_of("loadbalance", *SPILL), board()
    block(health, tree, "config.targets[0]", "throttled", NOW + 5)
    chosen = {run(tree, lambda _: OK, health=health, random=lambda p=p: p / 10)[0][0] for p in range(10)}
    assert chosen == {"config.targets[1]", "config.targets[2]"}


def test_the_request_that_finds_out_spills_over_too() -> None:
    tree = tree_of("loadbalance", *SPILL)
    paths, final = run(tree, by_index(Outcome(429), OK, OK))
    assert paths == ["config.targets[0]", "config.targets[1]"]
    assert final.outcome == OK


def test_nothing_but_throttling_spills_over() -> None:
    assert run(tree_of("loadbalance", *SPILL), lambda _: Outcome(500))[0] == ["config.targets[0]"]


# --- sticky

STICKY = {"enabled": True, "hash_fields": ["metadata.user"], "ttl": 60}


def call_of(user: str | None) -> RouteInput:
    return RouteInput(metadata={} if user is None else {"user": user})


def test_a_caller_stays_with_its_target() -> None:
    tree, pins = tree_of("loadbalance", key(0), key(1), key(2), sticky=STICKY), Pins(lambda: NOW)
    seen = {}
    for round_ in range(3):
        for user in "abcdefghij":
            point = (round_ * 7 % 10) / 10
            paths, _ = run(tree, lambda _: OK, pins=pins, call=call_of(user), random=lambda p=point: p)
            assert seen.setdefault(user, paths) == paths
    assert len({paths[0] for paths in seen.values()}) == 3


def test_instances_that_have_not_talked_choose_alike() -> None:
    tree = tree_of("loadbalance", key(0), key(1), sticky=STICKY)
    first = [run(tree, lambda _: OK, call=call_of(user))[0] for user in "abcdef"]
    again = [run(tree, lambda _: OK, call=call_of(user), random=lambda: 0.9)[0] for user in "abcdef"]
    assert first == again


def test_a_pinned_caller_is_moved_while_its_target_is_down_and_then_returns() -> None:
    tree, pins, health = tree_of("loadbalance", key(0), key(1), sticky=STICKY), Pins(lambda: NOW), board()
    home, _ = run(tree, lambda _: OK, pins=pins, call=call_of("a"))
    block(health, tree, home[0], "throttled", NOW + 5)
    moved, _ = run(tree, lambda _: OK, pins=pins, call=call_of("a"), health=health)
    assert moved != home
    assert run(tree, lambda _: OK, pins=pins, call=call_of("a"))[0] == home


def test_without_a_value_to_hash_nobody_is_pinned() -> None:
    tree = tree_of("loadbalance", key(0), key(1), sticky=STICKY)
    chosen = {run(tree, lambda _: OK, call=call_of(None), random=lambda p=p: p)[0][0] for p in (0.1, 0.9)}
    assert len(chosen) == 2


# --- conditional

RULES = [
    {"query": {"metadata.user": {"$eq": "a"}}, "then": "one"},
    {"query": {"metadata.user": {"$in": ["a", "b"]}}, "then": "two"},
]
NAMED = ({**key(0), "name": "one"}, {**key(1), "name": "two"}, {**key(2), "name": "rest"})


@pytest.mark.parametrize(("user", "index"), [("a", 0), ("b", 1), ("c", 2), (None, 2)])
def test_the_first_condition_that_holds_wins(user: str | None, index: int) -> None:
    tree = tree_of("conditional", *NAMED, conditions=RULES, default="rest")
    paths, final = run(tree, lambda _: Outcome(500), call=call_of(user))
    assert paths == [f"config.targets[{index}]"]
    assert final.mode == "conditional"


def test_no_condition_and_no_default_is_an_error() -> None:
    tree = tree_of("conditional", *NAMED, conditions=RULES)
    with pytest.raises(InvalidRequest, match="Query router did not resolve to any valid target"):
        run(tree, lambda _: OK, call=call_of("c"))


def test_a_condition_may_choose_a_strategy() -> None:
    inner = {"name": "one", "strategy": {"mode": "fallback"}, "targets": [key(0), key(1)]}
    tree = tree_of("conditional", inner, default="one")
    assert run(tree, lambda _: Outcome(500))[0] == [
        "config.targets[0].targets[0]",
        "config.targets[0].targets[1]",
    ]


# --- any tree

OUTCOMES = st.builds(
    Outcome,
    st.sampled_from([200, 201, 246, 400, 404, 408, 429, 446, 500, 503]),
    fault=st.booleans(),
    stops=st.booleans(),
)
TRIES = st.sampled_from(["well", "throttled", "dead", "open"])


def strategies(children: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    weighted = st.builds(
        lambda child, weight, priority: {**child, "weight": weight, "priority": priority},
        children,
        st.sampled_from([1, 0.5, 3]),
        st.integers(0, 1),
    )
    codes = st.none() | st.lists(st.sampled_from([200, 429, 500, 503]), max_size=2)
    return st.builds(
        _node,
        st.sampled_from(["fallback", "loadbalance", "conditional", "single"]),
        st.lists(weighted, min_size=1, max_size=3),
        codes,
    )


def _node(mode: str, targets: list[dict[str, Any]], codes: list[int] | None) -> dict[str, Any]:
    named = [{**target, "name": str(index)} for index, target in enumerate(targets)]
    strategy: dict[str, Any] = {"mode": mode, "cb_config": BREAKER}
    if mode == "fallback" and codes is not None:
        strategy["on_status_codes"] = codes
    if mode == "conditional":
        strategy |= {"conditions": [{"query": {"params.n": 1}, "then": "0"}], "default": named[-1]["name"]}
    return {"strategy": strategy, "targets": named}


TREES = st.recursive(st.just({"virtual_key": "k"}), strategies, max_leaves=12)


def distinct(node: dict[str, Any], path: str = "k") -> dict[str, Any]:
    """The tree with a virtual key of its own for each leaf."""
    if "targets" not in node:
        return {**node, "virtual_key": path}
    return {**node, "targets": [distinct(child, f"{path}-{i}") for i, child in enumerate(node["targets"])]}


@given(
    raw=TREES,
    outcomes=st.lists(OUTCOMES, min_size=12, max_size=12),
    states=st.lists(TRIES, min_size=12, max_size=12),
    points=st.lists(st.floats(0, 1, exclude_max=True), min_size=12, max_size=12),
    n=st.integers(0, 1),
)
def test_every_tree_ends_once_and_tries_no_target_twice(
    raw: dict[str, Any],
    outcomes: Sequence[Outcome],
    states: Sequence[str],
    points: list[float],
    n: int,
) -> None:
    tree, health, draws = compile_config(distinct(raw)).tree, board(), iter(points)
    by_path = {leaf.path: (leaf, outcomes[i], states[i]) for i, leaf in enumerate(leaves(tree))}
    for path, (_, _, state) in by_path.items():
        if state == "open":
            open_circuit(health, tree, path)
        elif state != "well":
            block(health, tree, path, state, NOW + 10)
    call = RouteInput(params=lambda: {"n": n})
    tried, final = run(
        tree, lambda leaf: by_path[leaf.path][1], health=health, call=call, random=lambda: next(draws)
    )
    assert len(tried) == len(set(tried))
    assert set(tried) <= set(by_path)
    if final.leaf is None:
        assert tried == []
        assert final.throttled_until == NOW + 10
        assert any(skip.state == "throttled" for skip in final.skipped)
    else:
        assert final.leaf.path == tried[-1]
        assert final.outcome == by_path[tried[-1]][1]
        assert final.throttled_until is None
    assert all(skip.path not in tried for skip in final.skipped)
    assert not any(by_path[path][1].stops for path in tried[:-1])
