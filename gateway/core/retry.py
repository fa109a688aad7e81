"""When a target is tried again, and after how long."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from gateway.core.targets import Retry

MAX_BACKOFF = 16.0  # seconds; Portkey waits 1, 2, 4, 8, 16
JITTER = 0.1  # share of the backoff at most, so that clients of one outage do not return as one
EXHAUSTED = -1  # x-portkey-retry-attempt-count when the last try failed too


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one try at a target, or of the whole leaf."""

    status: int  # the upstream's, or the fault's
    fault: bool = False  # no answer was had: connecting, signing in, deadline
    stops: bool = False  # an error of the gateway itself: the next target would break the same way
    retry_after: float | None = None  # seconds, as the upstream told
    content_filter: bool = False  # a 400 about the content: the target is well

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300 and not self.fault


@dataclass(frozen=True, slots=True)
class Tries:
    """How often one target was tried so far, and how long was waited in between."""

    made: int = 1
    waited: float = 0.0  # seconds


def next_delay(policy: Retry, tries: Tries, outcome: Outcome, random: Callable[[], float]) -> float | None:
    """Seconds to wait before the next try, or None to stop.

    A 429's own word wins over backoff where the policy says so; a wait that does not fit the budget,
    alone or summed, ends the tries at once. `random` gives 0 <= x < 1.
    Source: Portkey's open gateway (1, 2, 4, 8, 16 s; 60 s at most).
    """
    if tries.made > policy.attempts or not worth_retrying(policy, outcome):
        return None
    wait = _told(policy, outcome)
    if wait is None:
        wait = min(2.0 ** (tries.made - 1), MAX_BACKOFF) * (1.0 + JITTER * random())
    return wait if tries.waited + wait <= policy.budget else None


def worth_retrying(policy: Retry, outcome: Outcome) -> bool:
    """Whether another try could help: listed statuses, and broken connections whatever is listed."""
    if outcome.stops:
        return False
    # A passed deadline is a status (408) and no broken connection: the caller paid its time already.
    if outcome.fault and outcome.status != 408:
        return True
    return outcome.status in policy.on_status_codes


def _told(policy: Retry, outcome: Outcome) -> float | None:
    return outcome.retry_after if policy.use_retry_after and outcome.status == 429 else None


def attempt_count(policy: Retry, tries: Tries, outcome: Outcome) -> int:
    """Value of x-portkey-retry-attempt-count: 0 none, n succeeded on the n-th retry, -1 exhausted.

    Exhausted is also a retry that was due but refused since the wait is over the budget.
    """
    if worth_retrying(policy, outcome) and policy.attempts:
        return EXHAUSTED
    return tries.made - 1


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds the upstream asks to wait, never negative; None when it does not say.

    `headers` by lower-case name. Azure OpenAI sends the first two in milliseconds beside the standard one.
    Source: RFC 9110 section 10.2.3.
    """
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        milliseconds = _number(headers.get(name))
        if milliseconds is not None:
            return milliseconds / 1000
    value = headers.get("retry-after")
    if value is None:
        return None
    seconds = _number(value)
    return seconds if seconds is not None else _until(value, now)


def _number(text: str | None) -> float | None:
    if not text or len(text) > 20:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    # NaN and infinity are words float() knows and no upstream means.
    return value if 0 <= value < 1e9 else None


def _until(date: str, now: float) -> float | None:
    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - now)
    except (ValueError, OverflowError):
        return None
