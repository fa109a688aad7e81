"""Rate limits and budgets: what they are, read from JSON, and the periods that budgets run in.

Shapes: `rate_limits` is a list (or one object) of `{type: requests|tokens, unit: rps..rpw, value}`;
`usage_limits` is `{credit_limit, type: cost|tokens, alert_threshold, periodic_reset: weekly|monthly,
periodic_reset_days, next_usage_reset_at}`, the cost in dollars.
Source: Portkey's pages on budget and rate limits, and its OpenAPI.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from gateway.core.errors import InvalidRequest

# Portkey's units; a day and a week are as long as a window, and begin with no calendar day.
WINDOWS = {"rps": 1, "rpm": 60, "rph": 3600, "rpd": 86_400, "rpw": 604_800}  # seconds
WORDS = {"rps": "second", "rpm": "minute", "rph": "hour", "rpd": "day", "rpw": "week"}
_MOST_LIMITS = 20
_MOST_VALUE = 10**12
# Money is counted in whole millionths of a cent: sums never drift, and a token costs at least one.
PER_CENT = 1_000_000
_PER_DOLLAR = 100 * PER_CENT
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class RateLimit:
    """So many requests or tokens in any stretch of `window` seconds."""

    kind: str  # "requests", "tokens"
    unit: str  # "rpm", ...
    value: int

    @property
    def window(self) -> int:
        return WINDOWS[self.unit]

    def __str__(self) -> str:
        return f"{self.value:,} {self.kind} a {WORDS[self.unit]} ({self.unit})"


@dataclass(frozen=True, slots=True)
class Budget:
    """So much money or so many tokens until the next reset."""

    kind: str  # "cost", "tokens"
    limit: int  # millionths of a cent, or tokens
    alert_at: int | None = None
    reset: str | None = None  # "weekly", "monthly", "days"
    days: int = 0
    anchor: int = 0  # unix seconds: one of the resets of "days"

    def __str__(self) -> str:
        return f"${self.limit / _PER_DOLLAR:,.2f}" if self.kind == "cost" else f"{self.limit:,} tokens"

    def shown(self, amount: int) -> float | int:
        """An amount in the unit of `credit_limit`: dollars, or tokens."""
        return round(amount / _PER_DOLLAR, 8) if self.kind == "cost" else amount


@dataclass(frozen=True, slots=True)
class Limits:
    """What one API key or virtual key may use. `subject` names its counters, `label` is for messages."""

    subject: str  # "key:ID", "vk:SLUG"
    label: str
    rates: tuple[RateLimit, ...] = ()
    budget: Budget | None = None

    @property
    def counts_tokens(self) -> bool:
        budget = self.budget is not None and self.budget.kind == "tokens"
        return budget or any(rate.kind == "tokens" for rate in self.rates)


def parse_limits(subject: str, label: str, rates: Any, usage: Any) -> Limits | None:
    """The limits, None where there are none; raises `InvalidRequest` that names the field."""
    parsed, budget = parse_rates(rates), parse_budget(usage)
    return Limits(subject, label, parsed, budget) if parsed or budget else None


def parse_rates(value: Any, where: str = "rate_limits") -> tuple[RateLimit, ...]:
    """Rate limits, of a list or of one object."""
    if value is None:
        return ()
    items = [value] if isinstance(value, Mapping) else value
    if not isinstance(items, Sequence) or isinstance(items, str) or len(items) > _MOST_LIMITS:
        raise _bad(where, f"must be a list of at most {_MOST_LIMITS} limits")
    return tuple(_rate(item, f"{where}[{i}]") for i, item in enumerate(items))


def _rate(item: Any, where: str) -> RateLimit:
    if not isinstance(item, Mapping):
        raise _bad(where, "must be an object {type, unit, value}")
    kind, unit, value = item.get("type", "requests"), item.get("unit"), item.get("value")
    if kind not in ("requests", "tokens"):
        raise _bad(f"{where}.type", f"must be requests or tokens, got {_shown(kind)}")
    if not isinstance(unit, str) or unit not in WINDOWS:
        raise _bad(f"{where}.unit", f"must be one of {', '.join(WINDOWS)}, got {_shown(unit)}")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or not 0 <= value <= _MOST_VALUE:
        raise _bad(f"{where}.value", f"must be a whole number from 0, got {_shown(value)}")
    return RateLimit(kind, unit, value)


def parse_budget(value: Any, where: str = "usage_limits") -> Budget | None:
    """A budget; None where there is none, or its limit is 0, which switches it off."""
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) <= 1:
        value = value[0] if value else None
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise _bad(where, "must be an object {credit_limit, type, ...}")
    kind = value.get("type") or "cost"
    if kind not in ("cost", "tokens"):
        raise _bad(f"{where}.type", f"must be cost or tokens, got {_shown(kind)}")
    limit = _amount(value.get("credit_limit"), kind, f"{where}.credit_limit")
    if not limit:
        return None
    least = _PER_DOLLAR if kind == "cost" else 100
    if limit < least:
        raise _bad(f"{where}.credit_limit", f"must be at least {'$1' if kind == 'cost' else '100 tokens'}")
    alert = _amount(value.get("alert_threshold"), kind, f"{where}.alert_threshold")
    if alert is not None and alert > limit:
        raise _bad(f"{where}.alert_threshold", "must not be above credit_limit")
    reset, days, anchor = _reset(value, where)
    return Budget(kind, limit, alert or None, reset, days, anchor)


def _reset(value: Mapping[str, Any], where: str) -> tuple[str | None, int, int]:
    reset, days = value.get("periodic_reset"), value.get("periodic_reset_days")
    if reset not in (None, "", "weekly", "monthly"):
        raise _bad(f"{where}.periodic_reset", f"must be weekly or monthly, got {_shown(reset)}")
    if days is None or reset:
        return reset or None, 0, 0
    if type(days) is not int or not 1 <= days <= 365:
        raise _bad(
            f"{where}.periodic_reset_days", f"must be a whole number from 1 to 365, got {_shown(days)}"
        )
    return "days", days, moment(value.get("next_usage_reset_at"), f"{where}.next_usage_reset_at")


def moment(value: Any, where: str) -> int:
    """Unix seconds of a date in ISO 8601, or of seconds or milliseconds since 1970; 0 of nothing."""
    if value in (None, ""):
        return 0
    if type(value) in (int, float) and 0 <= value < 1e14:
        return int(value / 1000) if value > 10_000_000_000 else int(value)
    try:
        moment = datetime.fromisoformat(value)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (TypeError, ValueError, OverflowError):
        raise _bad(where, f"must be an ISO 8601 date, got {_shown(value)}") from None


def _amount(value: Any, kind: str, where: str) -> int | None:
    if value is None:
        return None
    try:
        number = Decimal(str(value)) if type(value) in (int, float, str) else Decimal("nan")
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite() or not 0 <= number <= 10**9:
        raise _bad(where, f"must be a number from 0, got {_shown(value)}")
    return int(number * _PER_DOLLAR) if kind == "cost" else int(number)


def period(budget: Budget, now: float) -> tuple[int, int | None]:
    """(start, end) of the running period in unix seconds; the end is None where nothing resets.

    Weeks begin on Sunday, months on the 1st, both at 00:00 UTC. Source: Portkey's page on API keys
    (its page on policies says Monday).
    """
    if budget.reset is None:
        return 0, None
    if budget.reset == "days":
        length = budget.days * _DAY
        start = budget.anchor + int((now - budget.anchor) // length) * length
        return start, start + length
    today = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if budget.reset == "weekly":
        start_day = today - timedelta(days=(today.weekday() + 1) % 7)
        end_day = start_day + timedelta(days=7)
    else:
        start_day = today.replace(day=1)
        end_day = (start_day + timedelta(days=32)).replace(day=1)
    return int(start_day.timestamp()), int(end_day.timestamp())


def _bad(where: str, what: str) -> InvalidRequest:
    return InvalidRequest(f"{where}: {what}", param=where)


def _shown(value: Any) -> str:
    return repr(value)[:40]
