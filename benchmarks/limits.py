"""What telling the caller and holding it to its limits cost: `python -m benchmarks.limits`.

Prints CPU microseconds a request, best of several rounds: the caller told by an API key from memory;
both limits (an API key's and a virtual key's, each with requests and tokens a minute, and a budget of
money) reserved and settled in memory. Run it on an idle machine; nothing here is a test.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from gateway.adapters.api_keys import ApiKeys, digest_of
from gateway.adapters.budgets import Budgets
from gateway.adapters.documents_sqlite import SqliteDocuments
from gateway.adapters.limits_memory import MemoryCounters
from gateway.adapters.prices import PriceTable
from gateway.adapters.secret_cache import SecretCache
from gateway.adapters.secrets_sealed import SealedFileSecrets
from gateway.auth import Authenticator
from gateway.call import Call
from gateway.core.api_keys import KeyDigest, fresh
from gateway.core.body import ClientBody
from gateway.core.caller import Caller
from gateway.core.cost import pricer
from gateway.core.headers import RequestHeaders
from gateway.core.ids import record_id
from gateway.core.limits import parse_limits
from gateway.core.operations import Operation
from gateway.core.record import Record, Usage
from gateway.limiter import Limiter
from gateway.providers.endpoints import Asked

CALLS = 2_000
ROUNDS = 15
KEY = "gw-" + "k" * 43
RATES = [
    {"type": "requests", "unit": "rpm", "value": 10**9},
    {"type": "tokens", "unit": "rpm", "value": 10**11},
]
BUDGET = {"credit_limit": 10**6, "periodic_reset": "monthly"}
BODY = {"model": "gpt-4o", "max_tokens": 500, "messages": [{"role": "user", "content": "words " * 200}]}
CHAT = Operation("/chat/completions", "POST", "deployment", "json", "chat/completions")


async def best(work: Callable[[int], Awaitable[None]]) -> float:
    """CPU microseconds a call, of the best round."""
    found = []
    for number in range(ROUNDS):
        begun = time.process_time()
        for index in range(CALLS):
            await work(number * CALLS + index)
        found.append((time.process_time() - begun) / CALLS * 1e6)
        await asyncio.sleep(0)
    return min(found)


async def tell(folder: Path, documents: SqliteDocuments) -> float:
    """The caller of a request with an API key; the admin key is looked at first."""
    keys = ApiKeys(documents, clock=time.time)
    key = fresh("id", "workspace", "service", int(time.time()), "admin")
    await keys.put(replace(key, name="k", digests=(KeyDigest(digest_of(KEY), KEY[-4:]),)), 0)
    store = SecretCache(SealedFileSecrets(folder, clock=time.time), clock=time.monotonic)
    await store.store.put("gateway-admin-key", "gw-" + "a" * 43)
    teller = Authenticator(store, lookups=[keys.lookup])
    headers = RequestHeaders(
        [(b"x-portkey-api-key", KEY.encode()), (b"authorization", b"Bearer OPENAI_API_KEY")]
    )

    async def once(_: int) -> None:
        await teller.identify(headers)

    micros = await best(once)
    await keys.aclose()
    await store.aclose()
    return micros


async def limit(documents: SqliteDocuments) -> float:
    """Both limits, reserved and settled, the price included."""
    limiter = Limiter(
        MemoryCounters(time.time),
        Budgets(documents, clock=time.time),
        price=pricer(PriceTable()),
        clock=time.time,
    )
    own = parse_limits("key:id", "API key 'k'", RATES, BUDGET)
    virtual = parse_limits("vk:up", "virtual key 'up'", RATES, BUDGET)
    random = os.urandom(10)
    calls = []
    for _ in range(CALLS * ROUNDS):
        record = Record(record_id(time.time(), random), "t", time.time(), "POST", "/v1/chat/completions")
        record.provider, record.model, record.virtual_key, record.status = "openai", "gpt-4o", "up", 200
        record.usage = Usage(300, 200, 500)
        caller = Caller("id", "k", kind="api-key", limits=own)
        calls.append(Call(CHAT, "", RequestHeaders([]), ClientBody(b"", json=BODY), caller, record, Asked()))

    async def once(index: int) -> None:
        call = calls[index]
        await limiter.admit(call, virtual)
        limiter.settle(call.record)

    micros = await best(once)
    await limiter.aclose()
    return micros


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        documents = SqliteDocuments(Path(folder), time.time)
        told, limited = await tell(Path(folder), documents), await limit(documents)
        await documents.aclose()
    print(f"telling the caller   {told:6.1f} us")
    print(f"both limits          {limited:6.1f} us")
    print(f"together             {told + limited:6.1f} us   (60 at most)")


if __name__ == "__main__":
    asyncio.run(main())
