"""What an upstream's answer says about the upstream itself: throttled until, dead, or well."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.core.retry import retry_after

DEAD_SECONDS = 300.0  # a deployment that is gone comes back by an operator's hand, not by waiting
LONGEST_THROTTLE = 86_400.0  # seconds; daily quotas are the longest an upstream has
HEAD_BYTES = 4096  # of an error's body; codes stand near its start

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


@dataclass(frozen=True, slots=True)
class Signal:
    """`state` is "" (nothing to tell), "throttled" or "dead", until then and why."""

    state: str = ""
    until: float = 0.0  # unix seconds
    why: str = ""
    content_filter: bool = False  # a 400 about the content, not about the target
    narrow: bool = False  # true of this operation only: the deployment may well serve others


NOTHING = Signal()
FILTERED = Signal(content_filter=True)


def read_signal(status: int, headers: Mapping[str, str], head: bytes, now: float) -> Signal:
    """The signal in an answer. `headers` by lower-case name, `head` the start of an error's body.

    Ask it only about calls to a deployment: elsewhere a 404 tells of a file or a thread, not of it.
    Source: Azure OpenAI's and OpenAI's rate limit headers; Azure's error codes.
    """
    if status < 400:
        return _spent(headers, now)
    if status == 429:
        return _throttled(headers, now)
    if status == 410:
        return Signal("dead", now + DEAD_SECONDS, "410: the deployment or its model is retired")
    if status == 404:
        return _missing(head[:HEAD_BYTES], now)
    if status == 400 and is_content_filter(head[:HEAD_BYTES]):
        return FILTERED
    return NOTHING


def is_content_filter(head: bytes) -> bool:
    """Whether a 400's body says that the content was refused."""
    return b"content_filter" in head or b"ResponsibleAIPolicyViolation" in head


def _throttled(headers: Mapping[str, str], now: float) -> Signal:
    told = retry_after(headers, now)
    if told is not None:
        return _until(told, now, "429 with retry-after") if told > 0 else NOTHING
    return _spent(headers, now)


def _spent(headers: Mapping[str, str], now: float) -> Signal:
    for kind in ("tokens", "requests"):
        if headers.get(f"x-ratelimit-remaining-{kind}") in ("0", "-1"):
            reset = parse_duration(headers.get(f"x-ratelimit-reset-{kind}"))
            if reset:
                return _until(reset, now, f"no {kind} left until the limit resets")
    return NOTHING


def _until(seconds: float, now: float, why: str) -> Signal:
    return Signal("throttled", now + min(seconds, LONGEST_THROTTLE), why)


def _missing(head: bytes, now: float) -> Signal:
    if b"DeploymentNotFound" in head:
        return Signal("dead", now + DEAD_SECONDS, "404: there is no such deployment")
    if b"resource not found" in head.lower():
        # Also what Azure says of an operation that a deployment or its API version does not have.
        return Signal("dead", now + DEAD_SECONDS, "404: resource not found", narrow=True)
    return NOTHING


def parse_duration(text: str | None) -> float | None:
    """Seconds in `7`, `1s`, `6m0s`, `12ms` or `1h2m3.5s`; None when it is none of these."""
    if not text or len(text) > 40:
        return None
    text = text.strip()
    parts = _DURATION.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return sum(float(number) * _UNITS[unit] for number, unit in parts)
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < 1e9 else None
