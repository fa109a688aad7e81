import pytest

from gateway.core.breaker import WINDOW, Circuit, is_failure
from gateway.core.retry import Outcome
from gateway.core.targets import BreakerPolicy

THREE = BreakerPolicy(failure_threshold=3, cooldown=30.0)


def circuit() -> Circuit:
    return Circuit("config.targets[0]", "vk:a/m")


def opened_at(now: float) -> Circuit:
    made = circuit()
    for _ in range(3):
        made.count(THREE, True, now)
    assert made.opened
    return made


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome(200), False),
        (Outcome(400), False),
        (Outcome(429), False),
        (Outcome(500), True),
        (Outcome(503), True),
        (Outcome(408, fault=True), True),
        (Outcome(503, fault=True), True),
        (Outcome(500, stops=True), False),
        (Outcome(400, content_filter=True), False),
    ],
)
def test_what_counts_by_default(outcome: Outcome, expected: bool) -> None:
    assert is_failure(THREE, outcome) is expected


def test_a_list_replaces_the_statuses_but_never_counts_a_content_filter() -> None:
    policy = BreakerPolicy(failure_threshold=1, failure_status_codes=frozenset({400, 429}))
    assert is_failure(policy, Outcome(429))
    assert is_failure(policy, Outcome(400))
    assert not is_failure(policy, Outcome(500))
    assert not is_failure(policy, Outcome(400, content_filter=True))
    assert is_failure(policy, Outcome(503, fault=True))


def test_it_opens_at_the_threshold_for_the_cooldown() -> None:
    made = circuit()
    assert not made.count(THREE, True, 0.0)
    assert not made.count(THREE, True, 1.0)
    assert made.blocked_until(1.0) is None
    assert made.count(THREE, True, 2.0)
    assert made.blocked_until(2.0) == 32.0
    assert made.blocked_until(31.9) == 32.0
    assert made.blocked_until(32.0) is None


def test_failures_of_different_windows_do_not_add_up() -> None:
    made = circuit()
    made.count(THREE, True, 0.0)
    made.count(THREE, True, 1.0)
    assert not made.count(THREE, True, WINDOW)
    assert not made.opened


def test_a_percentage_needs_the_minimum_of_requests() -> None:
    policy = BreakerPolicy(failure_threshold_percentage=50, minimum_requests=4)
    made = circuit()
    assert not any(made.count(policy, failed, 0.0) for failed in (True, True, True))
    assert made.count(policy, True, 0.0)


def test_a_percentage_below_the_limit_stays_closed() -> None:
    policy = BreakerPolicy(failure_threshold_percentage=50, minimum_requests=4)
    made = circuit()
    assert not any(made.count(policy, failed, 0.0) for failed in (False, False, False, True, True) * 4)


def test_half_open_lets_one_probe_out_at_a_time() -> None:
    made = opened_at(0.0)
    assert made.blocked_until(30.0) is None
    made.start_probe(THREE, 30.0)
    assert made.blocked_until(30.0) == 60.0
    made.end_probe()
    assert made.blocked_until(30.0) is None


def test_a_good_probe_closes_it() -> None:
    made = opened_at(0.0)
    made.start_probe(THREE, 30.0)
    assert made.count(THREE, False, 31.0)
    assert made.blocked_until(31.0) is None
    assert not made.opened
    assert not made.count(THREE, True, 31.0)


def test_a_bad_probe_opens_it_for_another_cooldown() -> None:
    made = opened_at(0.0)
    made.start_probe(THREE, 30.0)
    assert made.count(THREE, True, 35.0)
    assert made.blocked_until(64.9) == 65.0


@pytest.mark.parametrize("failed", [True, False])
def test_a_straggler_changes_nothing(failed: bool) -> None:
    made = opened_at(0.0)
    assert not made.count(THREE, failed, 10.0)
    assert not made.count(THREE, failed, 40.0)
    assert made.open_until == 30.0
    assert made.opened


def test_a_probe_nobody_tells_of_is_given_up() -> None:
    made = opened_at(0.0)
    made.start_probe(THREE, 30.0)
    assert made.blocked_until(60.0) is None
