"""Reserving before a call, settling after it: by the real parts, without a network."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.adapters.budgets import Budgets
from gateway.adapters.documents_sqlite import SqliteDocuments
from gateway.adapters.limits_memory import MemoryCounters
from gateway.call import Call
from gateway.core.bodies import Body
from gateway.core.body import ClientBody
from gateway.core.caller import Caller
from gateway.core.errors import BudgetExhausted, RateLimited, StoreUnavailable
from gateway.core.headers import RequestHeaders
from gateway.core.limits import Limits, parse_limits
from gateway.core.operations import Operation
from gateway.core.ports import Claim, Refused, Settlement, Taken
from gateway.core.record import Attempt, Record, Usage
from gateway.limiter import Limiter, SettlingRecorder
from gateway.providers.endpoints import Asked

NOW = 1_700_000_040.0
CHAT = Operation("/chat/completions", "POST", "deployment", "json", "chat/completions")


def limits(name: str = "key:1", rates: Any = None, usage: Any = None) -> Limits:
    made = parse_limits(name, f"the {name}", rates, usage)
    assert made is not None
    return made


def rate(kind: str, value: int, unit: str = "rpm") -> dict[str, Any]:
    return {"type": kind, "unit": unit, "value": value}


def call(own: Limits | None, id: str = "r", **body: Any) -> Call:
    record = Record(id, "t", NOW, "POST", "/v1/chat/completions", status=200)
    caller = Caller("1", "k", kind="api-key", limits=own)
    return Call(CHAT, "", RequestHeaders([]), ClientBody(b"", json=body), caller, record, Asked())


def cents(record: Record, body: Body) -> float | None:
    """A cent a token."""
    return float(record.usage.total_tokens or 0)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteDocuments]:
    documents = SqliteDocuments(tmp_path, lambda: NOW)
    yield documents
    await documents.aclose()


@pytest.fixture
async def limiter(store: SqliteDocuments) -> AsyncIterator[Limiter]:
    made = Limiter(
        MemoryCounters(lambda: NOW), Budgets(store, clock=lambda: NOW), price=cents, clock=lambda: NOW
    )
    yield made
    await made.aclose()


def used(record: Record, total: int) -> Record:
    record.usage = Usage(prompt_tokens=total, completion_tokens=0, total_tokens=total)
    return record


async def test_a_refusal_names_the_limit_and_when_to_come_back(limiter: Limiter) -> None:
    own = limits(rates=[rate("requests", 1)])
    await limiter.admit(call(own, "a"), None)
    with pytest.raises(RateLimited) as caught:
        await limiter.admit(call(own, "b"), None)
    error = caught.value
    assert error.message == "the key:1 has reached its limit of 1 requests a minute (rpm): try again in 61 s"
    assert error.ends_call
    assert error.headers == {
        "retry-after": "61",
        "retry-after-ms": "61000",
        "x-ratelimit-limit-requests": "1",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "61s",
    }


async def test_a_virtual_keys_limit_leaves_other_targets_to_try(limiter: Limiter) -> None:
    first, second = limits("vk:a", [rate("requests", 0)]), limits("vk:b", [rate("requests", 1)])
    own = limits(rates=[rate("requests", 1)])
    asked = call(own)
    with pytest.raises(RateLimited) as caught:
        await limiter.admit(asked, first)
    assert not caught.value.ends_call
    await limiter.admit(asked, second)  # the refused try took nothing of the caller's own limit
    with pytest.raises(RateLimited):
        await limiter.admit(call(own, "b"), None)


async def test_a_call_counts_once_however_often_it_is_tried(limiter: Limiter) -> None:
    own, virtual = limits(rates=[rate("requests", 1)]), limits("vk:a", [rate("requests", 1)])
    asked = call(own)
    for _ in range(5):
        await limiter.admit(asked, virtual)


async def test_only_the_virtual_key_that_answered_pays(limiter: Limiter) -> None:
    broken = limits("vk:broken", [rate("tokens", 1000)], {"credit_limit": 50})
    well = limits("vk:well", [rate("tokens", 1000)], {"credit_limit": 50})
    asked = call(None, max_tokens=900)
    await limiter.admit(asked, broken)
    await limiter.admit(asked, well)
    asked.record.virtual_key = "well"
    limiter.settle(used(asked.record, 700))
    await limiter.admit(call(None, "b", max_tokens=900), broken)
    with pytest.raises(RateLimited):
        await limiter.admit(call(None, "c", max_tokens=900), well)
    assert await limiter.spent(broken) == 0
    assert await limiter.spent(well) == 700 * 1_000_000


async def test_a_call_too_large_for_its_limit_is_told_so(limiter: Limiter) -> None:
    own = limits(rates=[rate("tokens", 100)])
    with pytest.raises(RateLimited) as caught:
        await limiter.admit(call(own, max_tokens=500), None)
    assert "this call alone may use 501" in caught.value.message
    assert caught.value.headers["x-should-retry"] == "false"


async def test_a_budget_in_tokens_is_reserved_and_settled(limiter: Limiter) -> None:
    own = limits(usage={"type": "tokens", "credit_limit": 1000})
    first = call(own, "a", max_tokens=800)
    await limiter.admit(first, None)
    with pytest.raises(BudgetExhausted) as caught:
        await limiter.admit(call(own, "b", max_tokens=800), None)
    assert "has 199 tokens left of its budget of 1,000 tokens" in caught.value.message
    assert caught.value.headers == {"x-should-retry": "false"}
    limiter.settle(used(first.record, 100))
    await limiter.admit(call(own, "b", max_tokens=800), None)


async def test_a_spent_budget_refuses(limiter: Limiter) -> None:
    own = limits(usage={"credit_limit": 1})
    for id in ("a", "b"):  # each costs 60 cents, and what is in flight may overshoot
        asked = call(own, id)
        await limiter.admit(asked, None)
        limiter.settle(used(asked.record, 60))
    with pytest.raises(BudgetExhausted, match=r"used up its budget of \$1\.00"):
        await limiter.admit(call(own, "c"), None)
    shown = await limiter.usage(own)
    assert (shown["spent"], shown["exhausted"]) == (1.2, True)


async def test_an_error_uses_nothing(limiter: Limiter) -> None:
    own = limits(rates=[rate("tokens", 1000)])
    for id in "abc":
        asked = call(own, id, max_tokens=900)
        await limiter.admit(asked, None)
        asked.record.status = 500
        limiter.settle(asked.record)


async def test_leaving_a_stream_early_is_not_free(limiter: Limiter) -> None:
    own = limits(usage={"credit_limit": 50})
    asked = call(own, messages=[{"content": "x" * 4000}], max_tokens=100)
    await limiter.admit(asked, None)
    record = asked.record
    record.complete, record.stream, record.response_bytes = False, True, 6000
    limiter.settle(record)
    # A thousand tokens of prompt, and one for each 300 bytes of the stream.
    assert await limiter.spent(own) == pytest.approx(1022 * 1_000_000, rel=0.01)
    assert record.usage == Usage()  # the record tells what was told


async def test_a_client_that_left_pays_its_prompt_to_the_key_it_waited_for(limiter: Limiter) -> None:
    virtual = limits("vk:a", [rate("tokens", 2000)])
    asked = call(None, messages=[{"content": "x" * 4000}], max_tokens=900)
    await limiter.admit(asked, virtual)
    record = asked.record
    record.status, record.complete = 499, False
    record.attempts.append(Attempt("config", virtual_key="a"))
    limiter.settle(record)
    with pytest.raises(RateLimited):
        await limiter.admit(call(None, "b", max_tokens=1000), virtual)
    await limiter.admit(call(None, "c", max_tokens=900), virtual)


async def test_an_answer_out_of_the_cache_costs_nothing(limiter: Limiter) -> None:
    own = limits(rates=[rate("tokens", 1000)])
    for id in "ab":
        asked = call(own, id, max_tokens=900)
        await limiter.admit(asked, None)
        asked.record.cache_status = "HIT"
        limiter.settle(used(asked.record, 900))


async def test_fifty_at_once_at_a_limit_of_twenty(limiter: Limiter) -> None:
    own = limits(rates=[rate("requests", 20)])
    results = await asyncio.gather(
        *(limiter.admit(call(own, str(i)), None) for i in range(50)), return_exceptions=True
    )
    assert results.count(None) == 20


class Away:
    """Counters that cannot be reached."""

    async def take(self, claims: list[Claim]) -> Taken | Refused:
        raise StoreUnavailable("away", code="limits_unavailable")

    def settle(self, settlements: list[Settlement]) -> None: ...

    async def adjust(self, key: str, change: int) -> None: ...

    async def forget(self, key: str) -> None: ...

    async def aclose(self) -> None: ...


@pytest.mark.parametrize("fail_open", [True, False])
async def test_while_counters_are_away_the_setting_decides(
    store: SqliteDocuments, fail_open: bool, caplog: pytest.LogCaptureFixture
) -> None:
    made = Limiter(
        Away(),  # type: ignore[arg-type]
        Budgets(store, clock=lambda: NOW),
        price=cents,
        clock=lambda: NOW,
        fail_open=fail_open,
    )
    own = limits(rates=[rate("requests", 1)], usage={"credit_limit": 5})
    for id in "abc":
        asked = call(own, id)
        if fail_open:
            await made.admit(asked, None)
            assert asked.record.warnings == ["limits_unavailable"]
            limiter_record = used(asked.record, 10)
            made.settle(limiter_record)
        else:
            with pytest.raises(StoreUnavailable):
                await made.admit(asked, None)
    if fail_open:
        assert made.passed_uncounted == 3
        assert [entry.message for entry in caplog.records] == ["limits.unavailable"]
        assert await made.spent(own) == 30 * 1_000_000  # spending is counted all the same
    await made.aclose()


async def test_a_record_settles_its_call_once(limiter: Limiter) -> None:
    put: list[str] = []

    class Inner:
        def put(self, record: Record) -> None:
            put.append(record.id)

    own = limits(rates=[rate("tokens", 1000)])
    asked = call(own, max_tokens=900)
    await limiter.admit(asked, None)
    recorder = SettlingRecorder(limiter, Inner())
    recorder.put(used(asked.record, 400))
    recorder.put(asked.record)
    assert put == ["r", "r"]
    with pytest.raises(RateLimited):
        await limiter.admit(call(own, "b", max_tokens=700), None)
    await limiter.admit(call(own, "c", max_tokens=599), None)


calls = st.lists(
    st.tuples(st.integers(1, 400), st.integers(0, 600), st.sampled_from([200, 200, 200, 500, 499])),
    max_size=30,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(calls=calls, order=st.randoms(use_true_random=False))
async def test_reserved_and_settled_never_drift(
    tmp_path: Path, calls: list[tuple[int, int, int]], order: Any
) -> None:
    """However calls overlap, are refused or fail, in the end exactly what was used counts."""
    counters = MemoryCounters(lambda: NOW)
    store = SqliteDocuments(tmp_path, lambda: NOW)
    made = Limiter(counters, Budgets(store, clock=lambda: NOW), price=cents, clock=lambda: NOW)
    await made.budgets.reset("key:1")
    own = limits(rates=[rate("tokens", 2000)], usage={"type": "tokens", "credit_limit": 3000})
    running: list[tuple[Record, int]] = []
    total = 0

    def finish() -> int:
        record, real = running.pop(order.randrange(len(running)))
        if record.status == 200:
            used(record, real)
        made.settle(record)
        return real if record.status == 200 else 1 if record.status == 499 else 0

    for number, (ceiling, real, status) in enumerate(calls):
        asked = call(own, str(number), max_tokens=ceiling)
        asked.record.status, asked.record.complete = status, status != 499
        try:
            await made.admit(asked, None)
            running.append((asked.record, real))
        except (RateLimited, BudgetExhausted):
            pass
        if running and order.random() < 0.5:
            total += finish()
    while running:
        total += finish()
    assert await made.spent(own) == total
    probe = await counters.take([Claim("key:1:tokens:rpm", 60, 0, 1)])
    assert isinstance(probe, Refused)
    assert probe.used == total
    assert counters._held == {}
    await made.aclose()
    await store.aclose()


async def test_a_reset_at_another_instance_ends_a_refusal(store: SqliteDocuments) -> None:
    now = NOW

    def instance() -> Limiter:
        budgets = Budgets(store, clock=lambda: now)
        return Limiter(MemoryCounters(lambda: now), budgets, price=cents, clock=lambda: now)

    one, two = instance(), instance()
    own = limits(usage={"credit_limit": 1})
    asked = call(own)
    await one.admit(asked, None)
    one.settle(used(asked.record, 100))
    await one.budgets.flush()
    with pytest.raises(BudgetExhausted):
        await one.admit(call(own, "b"), None)
    await two.reset("key:1", own)
    with pytest.raises(BudgetExhausted):
        await one.admit(call(own, "c"), None)  # it was told a moment ago, and does not ask again yet
    now += 5
    await one.admit(call(own, "d"), None)
    for made in (one, two):
        await made.aclose()
