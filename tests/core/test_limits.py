from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.core.errors import InvalidRequest
from gateway.core.limits import Budget, RateLimit, parse_budget, parse_limits, parse_rates, period


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def test_rate_limits_may_be_a_list_or_one_object() -> None:
    one = {"type": "requests", "unit": "rpm", "value": 5}
    assert parse_rates(one) == parse_rates([one]) == (RateLimit("requests", "rpm", 5),)
    assert parse_rates(None) == parse_rates([]) == ()
    assert parse_rates({"unit": "rpw", "value": 7.0}) == (RateLimit("requests", "rpw", 7),)


@pytest.mark.parametrize(
    ("limit", "field"),
    [
        ({"type": "calls", "unit": "rpm", "value": 1}, "rate_limits[0].type"),
        ({"type": "tokens", "unit": "rpy", "value": 1}, "rate_limits[0].unit"),
        ({"type": "tokens", "unit": "rpm", "value": -1}, "rate_limits[0].value"),
        ({"type": "tokens", "unit": "rpm", "value": "many"}, "rate_limits[0].value"),
        ({"type": "tokens", "unit": ["rpm"], "value": True}, "rate_limits[0].unit"),
        ("rpm", "rate_limits[0]"),
    ],
)
def test_a_bad_rate_limit_is_named(limit: Any, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_rates([limit])
    assert caught.value.message.startswith(f"{field}: ")


def test_a_budget_of_money_is_counted_in_millionths_of_a_cent() -> None:
    budget = parse_budget({"credit_limit": 1.5, "alert_threshold": "1.2", "periodic_reset": "weekly"})
    assert budget == Budget("cost", 150_000_000, 120_000_000, "weekly")
    assert budget.shown(75_000_001) == 0.75000001
    assert str(budget) == "$1.50"


def test_a_budget_of_tokens() -> None:
    budget = parse_budget({"type": "tokens", "credit_limit": 100})
    assert budget == Budget("tokens", 100)
    assert str(budget) == "100 tokens"


@pytest.mark.parametrize("value", [None, {}, [], {"credit_limit": 0}, {"credit_limit": None}])
def test_no_limit_or_a_limit_of_zero_is_no_budget(value: Any) -> None:
    assert parse_budget(value) is None


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"credit_limit": 0.5}, "credit_limit"),
        ({"type": "tokens", "credit_limit": 99}, "credit_limit"),
        ({"credit_limit": -1}, "credit_limit"),
        ({"credit_limit": float("nan")}, "credit_limit"),
        ({"credit_limit": 5, "alert_threshold": 6}, "alert_threshold"),
        ({"credit_limit": 5, "type": "calls"}, "type"),
        ({"credit_limit": 5, "periodic_reset": "daily"}, "periodic_reset"),
        ({"credit_limit": 5, "periodic_reset_days": 0}, "periodic_reset_days"),
        ({"credit_limit": 5, "periodic_reset_days": 3, "next_usage_reset_at": "soon"}, "next_usage_reset_at"),
    ],
)
def test_a_bad_budget_is_named(value: Any, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_budget(value)
    assert caught.value.message.startswith(f"usage_limits.{field}: ")


@pytest.mark.parametrize(
    ("budget", "now", "start", "end"),
    [
        (Budget("cost", 1, reset="monthly"), "2024-02-29T23:59:59", "2024-02-01T00:00", "2024-03-01T00:00"),
        (Budget("cost", 1, reset="monthly"), "2024-03-01T00:00:00", "2024-03-01T00:00", "2024-04-01T00:00"),
        (Budget("cost", 1, reset="monthly"), "2023-12-31T12:00:00", "2023-12-01T00:00", "2024-01-01T00:00"),
        # 2024-06-02 was a Sunday.
        (Budget("cost", 1, reset="weekly"), "2024-06-01T23:59:59", "2024-05-26T00:00", "2024-06-02T00:00"),
        (Budget("cost", 1, reset="weekly"), "2024-06-02T00:00:00", "2024-06-02T00:00", "2024-06-09T00:00"),
    ],
)
def test_periods_begin_by_the_calendar_in_utc(budget: Budget, now: str, start: str, end: str) -> None:
    assert period(budget, at(now)) == (at(start), at(end))


def test_periods_of_days_are_counted_from_one_of_their_resets() -> None:
    budget = parse_budget(
        {"credit_limit": 5, "periodic_reset_days": 10, "next_usage_reset_at": "2024-06-11T06:00:00Z"}
    )
    assert budget is not None
    assert period(budget, at("2024-06-11T05:59:59")) == (at("2024-06-01T06:00"), at("2024-06-11T06:00"))
    assert period(budget, at("2024-06-21T06:00:00")) == (at("2024-06-21T06:00"), at("2024-07-01T06:00"))


def test_a_budget_without_a_reset_never_ends() -> None:
    assert period(Budget("cost", 1), 1.7e9) == (0, None)


def test_nothing_limited_is_no_limits() -> None:
    assert parse_limits("key:1", "k", None, None) is None
    limits = parse_limits("key:1", "k", [{"type": "tokens", "unit": "rpm", "value": 1}], None)
    assert limits is not None
    assert limits.counts_tokens
