from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.windows import SLOTS, Window

T = 1_700_000_040.0  # a full minute


def test_uses_count_until_the_window_has_passed() -> None:
    window = Window(60)
    window.add(T, 5)
    assert window.used(T) == 5
    assert window.used(T + 60) == 5
    assert window.used(T + 60.9) == 5
    assert window.used(T + 61) == 0


def test_a_use_counts_for_a_slot_longer_than_the_window_at_most() -> None:
    for seconds in (1, 60, 3600, 604_800):
        window = Window(seconds)
        window.add(T, 1)
        assert window.used(T + seconds * 0.999) == 1
        assert window.used(T + seconds * (1 + 1.001 / SLOTS)) == 0


def test_wait_tells_when_enough_has_left() -> None:
    window = Window(60)
    for second in range(10):
        window.add(T + second, 1)
    assert window.wait(T + 9, 1) == pytest.approx(52)  # the first use leaves at T + 61
    assert window.wait(T + 9, 3) == pytest.approx(54)
    assert window.used(T + 9 + 54) == 7
    assert window.wait(T + 9, 11) == pytest.approx(61)  # never: it is more than there is


def test_adjusting_a_use_that_left_the_window_changes_nothing() -> None:
    window = Window(60)
    old = window.add(T, 10)
    new = window.add(T + 70, 10)
    assert window.used(T + 70) == 10
    window.adjust(old, -10)
    assert window.used(T + 70) == 10
    window.adjust(new, 5)
    assert window.used(T + 70) == 15


def test_a_clock_set_back_loses_nothing() -> None:
    window = Window(60)
    window.add(T, 1)
    window.add(T - 30, 1)
    assert window.used(T - 30) == 2
    assert window.used(T + 61) == 0


@given(
    st.lists(st.tuples(st.floats(0, 20), st.integers(1, 9)), max_size=80),
    st.integers(5, 20),
)
def test_no_stretch_as_long_as_the_window_ever_holds_more_than_the_limit(
    steps: Sequence[tuple[float, int]], limit: int
) -> None:
    window, now = Window(10), T
    passed: list[tuple[float, int]] = []
    for wait, amount in steps:
        now += wait
        if window.used(now) + amount <= limit:
            window.add(now, amount)
            passed.append((now, amount))
    for start, _ in passed:
        assert sum(amount for at, amount in passed if start <= at < start + 10) <= limit


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 300), st.floats(0, 8)), max_size=60))
def test_reserved_and_settled_never_drift(calls: Sequence[tuple[int, int, float]]) -> None:
    """Whatever is reserved, and in whatever order it is settled, only what was really used is left."""
    window, now = Window(60), T
    real_by_slot: dict[int, int] = {}
    open_calls = []
    for reserved, real, wait in calls:
        now += wait / 8
        slot = window.add(now, reserved)
        open_calls.append((slot, reserved, real))
        real_by_slot[slot] = real_by_slot.get(slot, 0) + real
    for slot, reserved, real in reversed(open_calls):
        window.adjust(slot, real - reserved)
    oldest = int(now) - SLOTS
    assert window.used(now) == sum(real for slot, real in real_by_slot.items() if slot >= oldest)
