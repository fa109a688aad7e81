"""One target's circuit: closed, open, half-open.

    closed ── failures reach the policy's limit within a window ──> open
    open ── cooldown passed ──> half-open
    half-open ── one request at a time: it succeeds ──> closed; it fails ──> open

Portkey's hosted breaker closes after the cooldown without asking; the probe spares callers that.
"""

from dataclasses import dataclass

from gateway.core.retry import Outcome
from gateway.core.targets import BreakerPolicy

WINDOW = 60.0  # seconds in which failures are counted together, from the first request on


def is_failure(policy: BreakerPolicy, outcome: Outcome) -> bool:
    """Whether an outcome counts against its target.

    Broken connections and passed deadlines always do. What the gateway itself broke and what a
    content filter refused never do: the target is well.
    """
    if outcome.stops or outcome.content_filter:
        return False
    if outcome.fault:
        return True
    if policy.failure_status_codes is not None:
        return outcome.status in policy.failure_status_codes
    return outcome.status >= 500


@dataclass(slots=True)
class Circuit:
    """Counts and state of one target. Times are unix seconds."""

    path: str
    target: str
    failures: int = 0
    total: int = 0
    window_ends: float = 0.0
    opened: bool = False
    open_until: float = 0.0
    probe_until: float = 0.0  # a probe is out; the lease ends it if nobody tells how it went

    def blocked_until(self, now: float) -> float | None:
        """When it may be tried again, or None for now."""
        if not self.opened:
            return None
        until = max(self.open_until, self.probe_until)
        return until if until > now else None

    def start_probe(self, policy: BreakerPolicy, now: float) -> None:
        if self.opened:
            self.probe_until = now + policy.cooldown

    def end_probe(self) -> None:
        """Give the place back, whoever did not use it."""
        self.probe_until = 0.0

    def count(self, policy: BreakerPolicy, failed: bool, now: float) -> bool:
        """Note one outcome; True when it opened or closed the circuit."""
        if self.opened:
            return self._judge_probe(policy, failed, now)
        if now >= self.window_ends:
            self.failures = self.total = 0
            self.window_ends = now + WINDOW
        self.total += 1
        self.failures += failed
        if not failed or not self._too_many(policy):
            return False
        self.open(now + policy.cooldown)
        return True

    def open(self, until: float) -> None:
        self.opened, self.open_until, self.probe_until = True, until, 0.0

    def close(self) -> None:
        self.opened = False
        self.failures = self.total = 0
        self.window_ends = self.open_until = self.probe_until = 0.0

    def _judge_probe(self, policy: BreakerPolicy, failed: bool, now: float) -> bool:
        # Without a probe out this is a straggler from before the circuit opened, or a bypass.
        if self.probe_until <= now or self.open_until > now:
            return False
        if failed:
            self.open(now + policy.cooldown)
        else:
            self.close()
        return True

    def _too_many(self, policy: BreakerPolicy) -> bool:
        limit, percentage = policy.failure_threshold, policy.failure_threshold_percentage
        if limit is not None and self.failures >= limit:
            return True
        if percentage is None or self.total < policy.minimum_requests:
            return False
        return self.failures * 100 >= percentage * self.total
