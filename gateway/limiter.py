"""Holds calls to the limits of their API key and their virtual key.

`admit` reserves before a call goes out, once for each key it uses; `settle` corrects the reservation
by what the call really used, when its record is put away, however it ended.
"""

import asyncio
import copy
import logging
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.adapters.budgets import Budgets
from gateway.call import Call
from gateway.core.api_keys import iso
from gateway.core.bodies import Body
from gateway.core.errors import BudgetExhausted, GatewayError, RateLimited, StoreUnavailable
from gateway.core.limits import PER_CENT, Limits, RateLimit, period
from gateway.core.ports import Claim, Counters, Recorder, Refused, Settlement
from gateway.core.record import Record, Usage
from gateway.core.tokens import Estimate, estimate

log = logging.getLogger("gateway.limits")

_MOST_OPEN = 100_000  # calls in flight that are remembered; one is forgotten when the server cancels it
_BYTES_PER_TOKEN = 300  # of a chat stream: each token is an event of its own, with its wrapping
_WARN_EVERY = 60.0  # seconds between two lines about counters that are away

Price = Callable[[Record, Body], float | None]  # cents


@dataclass(slots=True)
class _Held:
    """What one call has reserved so far."""

    body: Mapping[str, Any] | None
    limits: list[Limits] = field(default_factory=list)
    claims: list[tuple[Limits, Claim, int]] = field(default_factory=list)  # with its mark
    _guess: Estimate | None = None

    def guess(self) -> Estimate:
        """What the call may use; counted where somebody asks."""
        if self._guess is None:
            self._guess = estimate(self.body)
        return self._guess


class Limiter:
    """`clock` gives unix seconds. `fail_open`: calls pass while the counters are away."""

    def __init__(
        self,
        counters: Counters,
        budgets: Budgets,
        *,
        price: Price,
        clock: Callable[[], float],
        fail_open: bool = True,
    ) -> None:
        self.passed_uncounted = 0  # metric: calls let through while the counters were away
        self._counters, self.budgets = counters, budgets
        self._price, self._clock, self._fail_open = price, clock, fail_open
        self._open: OrderedDict[str, _Held] = OrderedDict()
        self._warned_at = 0.0
        self._warm = False

    async def admit(self, call: Call, virtual_key: Limits | None) -> None:
        """Reserve for the caller's key and for the virtual key, both or neither; once a call for each.

        Raises `RateLimited` or `BudgetExhausted` that names the limit; a caller's own ends the call,
        a virtual key's leaves other targets to try.
        """
        own = call.caller.limits
        if own is None and virtual_key is None:
            return
        held = self._open.get(call.record.id)
        already = held.limits if held is not None else ()
        new = [limits for limits in (own, virtual_key) if limits is not None and limits not in already]
        if not new:
            return
        if held is None:
            held = _Held(call.body.json)
        await self._reserve(held, new, own, call.record)
        held.limits += new
        self._open[call.record.id] = held
        if len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)

    def settle(self, record: Record) -> None:
        """Replace what a call reserved by what it used. Never raises."""
        held = self._open.pop(record.id, None)
        if held is None:
            return
        try:
            self._settle(held, record)
        except Exception:
            log.exception("limits.settle_failed", extra={"request_id": record.id})

    async def spent(self, limits: Limits) -> int:
        """What is spent of a budget in its running period: millionths of a cent, or tokens."""
        known = self.budgets.peek(limits)
        return await self.budgets.load(limits) if known is None else known

    async def reset(self, subject: str, limits: Limits | None) -> None:
        """Forget what was spent of a budget, here and in the store."""
        await self.budgets.reset(subject)
        if limits is not None and limits.budget is not None:
            _, start = self.budgets.period(limits, self._clock())
            await self._counters.forget(f"{subject}:{limits.budget.kind}:{start}")

    async def usage(self, limits: Limits) -> dict[str, Any]:
        """What a listing shows of a budget, in the units of `credit_limit`."""
        budget = limits.budget
        if budget is None:
            return {"exhausted": False}
        spent = await self.spent(limits)
        _, ends = period(budget, self._clock())
        return {
            "type": budget.kind,
            "spent": budget.shown(spent),
            "credit_limit": budget.shown(budget.limit),
            "alert": budget.alert_at is not None and spent >= budget.alert_at,
            "exhausted": spent >= budget.limit,
            "next_usage_reset_at": iso(ends) if ends is not None else None,
        }

    async def aclose(self) -> None:
        await self.budgets.aclose()
        await self._counters.aclose()

    async def _reserve(self, held: _Held, new: list[Limits], own: Limits | None, record: Record) -> None:
        try:
            counts = any(limits.counts_tokens for limits in new)
            wanted = await self._claims(new, held.guess().total if counts else 0)
            if not wanted:
                return
            result = await self._counters.take([claim for _, _, claim in wanted])
            if isinstance(result, Refused) and await self._was_reset(*wanted[result.index]):
                wanted = await self._claims(new, held.guess().total if counts else 0)
                result = await self._counters.take([claim for _, _, claim in wanted])
            if not isinstance(result, Refused) and result.seeded:
                await self._correct(wanted)
        except StoreUnavailable as error:
            if not self._fail_open:
                raise
            self._pass(error, record)
            return
        if isinstance(result, Refused):
            limits, rate, claim = wanted[result.index]
            fault = _over_rate(limits, rate, claim, result) if rate else _over_budget(limits, result)
            fault.ends_call = limits is own
            raise fault
        held.claims += [
            (limits, claim, mark) for (limits, _, claim), mark in zip(wanted, result.marks, strict=True)
        ]

    async def _claims(
        self, new: Sequence[Limits], tokens: int
    ) -> list[tuple[Limits, RateLimit | None, Claim]]:
        wanted: list[tuple[Limits, RateLimit | None, Claim]] = []
        for limits in new:
            for rate in limits.rates:
                amount = 1 if rate.kind == "requests" else tokens
                key = f"{limits.subject}:{rate.kind}:{rate.unit}"
                wanted.append((limits, rate, Claim(key, rate.window, rate.value, amount)))
            if (budget := limits.budget) is not None:
                if budget.kind == "cost" and not self._warm:
                    self._warm_up()
                spent = await self.spent(limits)
                _, start = self.budgets.period(limits, self._clock())
                key = f"{limits.subject}:{budget.kind}:{start}"
                amount = tokens if budget.kind == "tokens" else 0
                wanted.append((limits, None, Claim(key, 0, budget.limit, amount, spent)))
        return wanted

    async def _was_reset(self, limits: Limits, rate: RateLimit | None, claim: Claim) -> bool:
        """Whether another instance reset the budget that refused."""
        if rate is not None:
            return False
        spent = await self.budgets.reread(limits)
        if spent is None or spent >= claim.spent:
            return False
        await self._counters.forget(claim.key)
        return True

    async def _correct(self, wanted: Sequence[tuple[Limits, RateLimit | None, Claim]]) -> None:
        """Counters that were new took what this instance knew; the store may know more."""
        for limits, rate, claim in wanted:
            if rate is None:
                change = await self.budgets.load(limits) - claim.spent
                if change:
                    await self._counters.adjust(claim.key, change)

    def _warm_up(self) -> None:
        """Let a thread load the table of prices: it takes a fifth of a second."""
        self._warm = True
        asked = Record("", "", self._clock(), "POST", "", provider="openai", model="gpt-4o")
        asked.usage = Usage(1, 1, 2)
        asyncio.get_running_loop().run_in_executor(None, self._price, asked, Body())

    def _pass(self, error: StoreUnavailable, record: Record) -> None:
        self.passed_uncounted += 1
        record.warnings.append("limits_unavailable")
        now = self._clock()
        if now - self._warned_at >= _WARN_EVERY:
            self._warned_at = now
            extra = {"error": error.message, "passed": self.passed_uncounted}
            log.warning("limits.unavailable", extra=extra)

    def _settle(self, held: _Held, record: Record) -> None:
        used = _usage(record, held)
        tokens = used.total_tokens or 0
        cost: int | None = None
        settled: dict[str, tuple[int, int]] = {}
        for limits in held.limits:
            if not _served(limits, record):
                settled[limits.subject] = (0, 0)
                continue
            if cost is None and limits.budget is not None:
                cost = self._cost(record, used)
            settled[limits.subject] = (tokens, cost or 0)
            self.budgets.add(limits, cost=cost or 0, tokens=tokens)
        self._counters.settle(
            [
                Settlement(claim, mark, _real(claim, *settled[limits.subject]))
                for limits, claim, mark in held.claims
            ]
        )

    def _cost(self, record: Record, used: Usage) -> int:
        if record.usage.total_tokens is None and used.total_tokens:
            record = copy.copy(record)
            record.usage = used
        cents = self._price(record, Body())
        return round(cents * PER_CENT) if cents else 0


class SettlingRecorder:
    """A `Recorder` in front of another: each call's record passes here once, when the call is over."""

    def __init__(self, limiter: Limiter, recorder: Recorder) -> None:
        self._limiter, self._recorder = limiter, recorder

    def put(self, record: Record) -> None:
        self._limiter.settle(record)
        self._recorder.put(record)


def _served(limits: Limits, record: Record) -> bool:
    """Whether the answer came by this key: what failed at another virtual key before used nothing."""
    kind, _, name = limits.subject.partition(":")
    if kind != "vk":
        return True
    serving = record.virtual_key
    if serving is None and record.attempts:  # the client left before anything was concluded
        serving = record.attempts[-1].virtual_key
    return serving == name


def _real(claim: Claim, tokens: int, cost: int) -> int:
    kind = claim.key.rsplit(":", 2)[1]
    return {"requests": 1, "tokens": tokens, "cost": cost}[kind]


def _usage(record: Record, held: _Held) -> Usage:
    """As the upstream told; nothing of an error; guessed where the client left, or a stream broke off,
    before it was told: leaving early must not be free of charge.
    """
    if record.cache_status.endswith("HIT"):
        return Usage(0, 0, 0)
    if record.usage.total_tokens is not None:
        return record.usage
    if record.status >= 400 and record.status != 499:
        return Usage(0, 0, 0)
    guess, answer = held.guess(), 0
    if not record.complete:
        answer = record.response_bytes // _BYTES_PER_TOKEN
        answer = min(answer, guess.ceiling) if guess.ceiling else answer
    return Usage(guess.prompt, answer, guess.prompt + answer)


def _over_rate(limits: Limits, rate: RateLimit, claim: Claim, refused: Refused) -> GatewayError:
    kind, left = rate.kind, max(0, rate.value - refused.used)
    if claim.amount > rate.value:
        message = (
            f"{limits.label} is limited to {rate}, and this call alone may use {claim.amount:,}: "
            "lower max_tokens, or raise the limit"
        )
        headers = {"x-should-retry": "false"}
    else:
        message = f"{limits.label} has reached its limit of {rate}: try again in {_seconds(refused.wait)} s"
        headers = {}
    wait = _seconds(refused.wait)
    headers |= {
        "retry-after": str(wait),
        "retry-after-ms": str(wait * 1000),
        f"x-ratelimit-limit-{kind}": str(rate.value),
        f"x-ratelimit-remaining-{kind}": str(left),
        f"x-ratelimit-reset-{kind}": f"{wait}s",
    }
    return RateLimited(message, param="rate_limits", headers=headers)


def _seconds(wait: float) -> int:
    return max(1, math.ceil(wait))


def _over_budget(limits: Limits, refused: Refused) -> GatewayError:
    budget = limits.budget
    assert budget is not None
    if refused.used >= budget.limit:
        message = f"{limits.label} has used up its budget of {budget}"
    else:
        left = budget.limit - refused.used
        message = (
            f"{limits.label} has {left:,} tokens left of its budget of {budget}, and this call may use more: "
            "lower max_tokens"
        )
    return BudgetExhausted(message, param="usage_limits", headers={"x-should-retry": "false"})
