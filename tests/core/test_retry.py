import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.retry import Outcome, Tries, attempt_count, next_delay, retry_after
from gateway.core.targets import Retry

FIVE = Retry(attempts=5)


def none() -> float:
    return 0.0


def test_nothing_is_retried_unless_it_is_asked_for() -> None:
    assert next_delay(Retry(), Tries(), Outcome(500), none) is None


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_these_are_retried_by_default(status: int) -> None:
    assert next_delay(FIVE, Tries(), Outcome(status), none) == 1.0


@pytest.mark.parametrize("status", [200, 246, 400, 401, 404, 408, 446, 501])
def test_these_are_not(status: int) -> None:
    assert next_delay(FIVE, Tries(), Outcome(status), none) is None


def test_a_list_replaces_the_defaults() -> None:
    policy = Retry(attempts=1, on_status_codes=frozenset({418}))
    assert next_delay(policy, Tries(), Outcome(418), none) == 1.0
    assert next_delay(policy, Tries(), Outcome(500), none) is None


def test_a_broken_connection_is_retried_whatever_is_listed() -> None:
    policy = Retry(attempts=1, on_status_codes=frozenset({418}))
    assert next_delay(policy, Tries(), Outcome(503, fault=True), none) == 1.0


def test_a_passed_deadline_is_retried_only_where_408_is_listed() -> None:
    timeout = Outcome(408, fault=True)
    assert next_delay(FIVE, Tries(), timeout, none) is None
    assert next_delay(Retry(1, frozenset({408})), Tries(), timeout, none) == 1.0


def test_an_error_of_the_gateway_itself_is_not_retried() -> None:
    assert next_delay(FIVE, Tries(), Outcome(500, stops=True), none) is None


def test_the_schedule_doubles_from_one_second_to_sixteen() -> None:
    waits = [next_delay(FIVE, Tries(made, 0.0), Outcome(500), none) for made in range(1, 7)]
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, None]


@given(made=st.integers(1, 5), point=st.floats(0, 1, exclude_max=True))
def test_jitter_adds_at_most_a_tenth(made: int, point: float) -> None:
    wait = next_delay(FIVE, Tries(made, 0.0), Outcome(500), lambda: point)
    assert wait is not None
    assert 2 ** (made - 1) <= wait <= 2 ** (made - 1) * 1.1


@pytest.mark.parametrize(
    ("status", "told", "use", "expected"),
    [
        (429, 7.0, True, 7.0),
        (429, 0.0, True, 0.0),
        (429, 7.0, False, 1.0),
        (503, 7.0, True, 1.0),
        (429, None, True, 1.0),
        (429, 60.0, True, 60.0),
        (429, 61.0, True, None),
    ],
)
def test_retry_after(status: int, told: float | None, use: bool, expected: float | None) -> None:
    policy = Retry(attempts=1, use_retry_after=use)
    assert next_delay(policy, Tries(), Outcome(status, retry_after=told), none) == expected


def test_waits_are_summed_against_the_budget() -> None:
    policy = Retry(attempts=5, use_retry_after=True)
    asked = Outcome(429, retry_after=30.0)
    assert next_delay(policy, Tries(2, 30.0), asked, none) == 30.0
    assert next_delay(policy, Tries(2, 31.0), asked, none) is None


@pytest.mark.parametrize(
    ("policy", "made", "outcome", "expected"),
    [
        (Retry(), 1, Outcome(200), 0),
        (Retry(), 1, Outcome(500), 0),
        (FIVE, 1, Outcome(200), 0),
        (FIVE, 1, Outcome(400), 0),
        (FIVE, 3, Outcome(200), 2),
        (FIVE, 3, Outcome(404), 2),
        (FIVE, 6, Outcome(500), -1),
        (FIVE, 6, Outcome(503, fault=True), -1),
        (Retry(5, use_retry_after=True), 1, Outcome(429, retry_after=61.0), -1),
    ],
)
def test_attempt_count(policy: Retry, made: int, outcome: Outcome, expected: int) -> None:
    assert attempt_count(policy, Tries(made, 0.0), outcome) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"x-ms-retry-after-ms": "1500", "retry-after": "7"}, 1.5),
        ({"retry-after-ms": "100", "x-ms-retry-after-ms": "1500"}, 0.1),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, 90.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:01 GMT"}, 0.0),
        ({"retry-after": "tomorrow"}, None),
    ],
)
def test_the_three_headers_are_read_in_order(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after(headers, 10.0) == expected
