import pytest

from gateway.core.health import Event, HealthBoard, decode_event, decode_events, target_key
from gateway.core.retry import Outcome
from gateway.core.signals import Signal
from gateway.core.targets import BreakerPolicy, InlineCredentials, Leaf, ParamRules
from tests.support.clock import Clock

LEAF = Leaf(path="config.targets[0]", virtual_key="a")
GUARDED = Leaf(
    path="config.targets[0]",
    virtual_key="a",
    breaker=BreakerPolicy(failure_threshold=2, cooldown=30.0),
    breaker_key="digest|config.targets[0]",
)


@pytest.fixture
def clock() -> Clock:
    return Clock(1000.0)


@pytest.fixture
def board(clock: Clock) -> HealthBoard:
    return HealthBoard(clock, limit=3)


THROTTLED = Signal("throttled", 1010.0, "429 with retry-after")


@pytest.mark.parametrize(
    ("leaf", "model", "key"),
    [
        (Leaf(), None, "request/default"),
        (Leaf(), "gpt", "request/gpt"),
        (Leaf(virtual_key="a"), "gpt", "vk:a/gpt"),
        (Leaf(virtual_key="a", params=ParamRules(override={"model": "m"})), "gpt", "vk:a/m"),
        (Leaf(credentials=InlineCredentials(resource_name="r", deployment_id="d")), "gpt", "r/d"),
        (Leaf(virtual_key="a", custom_host="https://h"), "gpt", "vk:a@https://h/gpt"),
        (Leaf(provider="openai"), "gpt", "openai/gpt"),
        (Leaf(params=ParamRules(default={"model": "@a/m"})), None, "request/@a/m"),
        (Leaf(params=ParamRules(default={"model": "@a/m"})), "gpt", "request/gpt"),
        (Leaf(prompt_id="pp-x"), "the first prompt's", "prompt:pp-x/default"),
        (Leaf(prompt_id="pp-x", virtual_key="a"), "the first prompt's", "vk:a/default"),
    ],
)
def test_targets_have_stable_names(leaf: Leaf, model: str | None, key: str) -> None:
    assert target_key(leaf, model, "request") == key


def test_a_targets_name_is_bounded() -> None:
    assert len(target_key(Leaf(virtual_key="a"), "m" * 100_000, "request")) == 300


def test_a_throttled_target_is_blocked_until_its_time(board: HealthBoard, clock: Clock) -> None:
    board.report(LEAF, "k", Outcome(429), THROTTLED)
    block = board.blocked(LEAF, "k")
    assert block is not None
    assert (block.state, block.until) == ("throttled", 1010.0)
    clock.now = 1010.0
    assert board.blocked(LEAF, "k") is None
    assert board.snapshot() == []


def test_a_straggler_does_not_end_throttling(board: HealthBoard) -> None:
    board.report(LEAF, "k", Outcome(429), THROTTLED)
    board.report(LEAF, "k", Outcome(200))
    assert board.blocked(LEAF, "k") is not None


def test_a_good_answer_ends_death(board: HealthBoard) -> None:
    board.report(LEAF, "k", Outcome(404), Signal("dead", 1300.0, "404"))
    board.report(LEAF, "k", Outcome(200))
    assert board.blocked(LEAF, "k") is None
    assert [event.kind for event in board.drain()] == ["dead", "well"]


def test_what_one_operation_finds_missing_does_not_block_the_others(board: HealthBoard) -> None:
    board.report(LEAF, "k", Outcome(404), Signal("dead", 1300.0, "404", narrow=True), "responses")
    assert board.blocked(LEAF, "k", "responses") is not None
    assert board.blocked(LEAF, "k", "chat/completions") is None
    board.report(LEAF, "k", Outcome(200), operation="chat/completions")
    assert board.blocked(LEAF, "k", "responses") is not None
    board.report(LEAF, "k", Outcome(200), operation="responses")
    assert board.blocked(LEAF, "k", "responses") is None


def test_other_targets_are_not_blocked(board: HealthBoard) -> None:
    board.report(LEAF, "k", Outcome(429), THROTTLED)
    assert board.blocked(LEAF, "other") is None


def test_a_circuit_opens_probes_and_closes(board: HealthBoard, clock: Clock) -> None:
    for _ in range(2):
        board.report(GUARDED, "k", Outcome(503, fault=True))
    block = board.blocked(GUARDED, "k")
    assert block is not None
    assert (block.state, block.until) == ("open", 1030.0)
    clock.now = 1030.0
    assert board.blocked(GUARDED, "k") is None
    board.enter(GUARDED, "k")
    assert board.blocked(GUARDED, "k") is not None
    board.report(GUARDED, "k", Outcome(200))
    board.leave(GUARDED, "k")
    assert board.blocked(GUARDED, "k") is None
    assert [event.kind for event in board.drain()] == ["open", "probing", "closed"]


def test_a_circuit_is_its_configs_and_its_targets_own(board: HealthBoard) -> None:
    for _ in range(2):
        board.report(GUARDED, "k", Outcome(503, fault=True))
    other = Leaf(virtual_key="a", breaker=GUARDED.breaker, breaker_key="other|config.targets[0]")
    assert board.blocked(other, "k") is None
    assert board.blocked(GUARDED, "other") is None


def test_a_snapshot_shows_target_state_time_and_reason(board: HealthBoard, clock: Clock) -> None:
    board.report(LEAF, "x", Outcome(429), THROTTLED)
    for _ in range(2):
        board.report(GUARDED, "k", Outcome(500))
    assert board.snapshot() == [
        {"target": "x", "state": "throttled", "until": 1010.0, "why": "429 with retry-after"},
        {
            "target": "k",
            "state": "open",
            "until": 1030.0,
            "why": "the circuit breaker of config.targets[0] is open",
        },
    ]
    clock.now = 1031.0
    assert [row["state"] for row in board.snapshot()] == ["half-open"]


def test_what_is_kept_is_bounded(board: HealthBoard) -> None:
    for index in range(10):
        board.report(LEAF, f"k{index}", Outcome(429), THROTTLED)
        board.report(GUARDED, f"k{index}", Outcome(500))
    assert [row["target"] for row in board.snapshot()] == ["k7", "k8", "k9"]
    assert board.blocked(LEAF, "k0") is None


def test_instances_tell_each_other(clock: Clock) -> None:
    one, two = HealthBoard(clock), HealthBoard(clock)
    one.report(LEAF, "k", Outcome(429), THROTTLED)
    for _ in range(2):
        one.report(GUARDED, "g", Outcome(500))
    two.absorb(decode_events([event.encode() for event in one.drain()]))
    assert two.snapshot() == one.snapshot()
    assert one.drain() == []
    assert two.drain() == []  # news is not passed on
    clock.now = 1031.0
    one.enter(GUARDED, "g")
    two.absorb(one.drain())
    assert two.blocked(GUARDED, "g") is not None
    one.report(GUARDED, "g", Outcome(200))
    two.absorb(one.drain())
    assert two.blocked(GUARDED, "g") is None
    assert two.snapshot() == []


def test_the_same_news_is_told_once(board: HealthBoard) -> None:
    for _ in range(100):
        board.report(LEAF, "k", Outcome(429), THROTTLED)
    assert len(board.drain()) == 1


def test_news_from_the_past_is_not_taken_over(board: HealthBoard) -> None:
    board.absorb([Event("throttled", "k", 999.0, "old"), Event("open", "no circuit's name", 2000.0)])
    assert board.snapshot() == []


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"1",
        b'["dead","k",true,""]',
        b'["dead",1,2,""]',
        b'["dead","k","x",""]',
        b"\xff",
    ],
)
def test_foreign_events_are_passed_over(raw: bytes) -> None:
    assert decode_event(raw) is None
