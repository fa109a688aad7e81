"""What the log costs: `python -m benchmarks.records [--rows 1000000] [--folder DIR]`.

Prints CPU microseconds a request of `put` and of all the recording, write included; then milliseconds of
reads on a file with that many rows, all of one day. Run it on an idle machine; nothing here is a test.
"""

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from gateway.adapters.prices import PriceTable
from gateway.adapters.recorder import BackgroundRecorder, Limits
from gateway.adapters.records_sqlite import SqliteRecords
from gateway.api.analytics import AnalyticsApi
from gateway.api.routing import ApiRequest, Router
from gateway.core.caller import ADMIN
from gateway.core.cost import pricer
from gateway.core.headers import RequestHeaders
from gateway.core.ids import record_id
from gateway.core.log_entry import Encoder
from gateway.core.log_query import parse_query
from gateway.core.ports import LogEntry, Totals
from gateway.core.record import Attempt, Record, Usage
from gateway.core.totals import HOUR, MINUTE, Tally

DAY_START = 1_700_006_400.0
TEXT = "The quick brown fox jumps over the lazy dog, then rests a while in the shade. "


def a_record(number: int, stream: bool, rng: random.Random) -> Record:
    """A chat of 1.3 kB with an answer of 0.7 kB, or of 100 chunks; 16 headers each way."""
    at = DAY_START + rng.random() * 86_400
    body = {
        "model": "gpt-4o",
        "messages": [{"role": "system", "content": TEXT * 5}, {"role": "user", "content": TEXT * 10}],
    }
    headers = [(f"x-header-{n}".encode(), b"some value of a header") for n in range(14)]
    kind = b"text/event-stream" if stream else b"application/json"
    return Record(
        id=record_id(at, number.to_bytes(10, "big")),
        trace_id=f"trace-{number}",
        created_at=at,
        method="POST",
        path="/v1/chat/completions",
        operation="chat/completions",
        metadata={"_user": f"user-{rng.randrange(500)}", "team": rng.choice("abcdefgh")},
        caller_id=f"key-{rng.randrange(5)}",
        provider="azure-openai",
        virtual_key=f"vk-{rng.randrange(4)}",
        deployment="chat",
        model=rng.choice(["gpt-4o", "gpt-4o-mini", "o3-mini"]),
        status=rng.choices([200, 429, 500], [96, 3, 1])[0],
        stream=stream,
        duration_ms=rng.lognormvariate(6.5, 0.8),
        usage=Usage(200, 100, 300),
        attempts=[Attempt("config", provider="azure-openai", status=200)],
        request_headers=[
            *headers,
            (b"authorization", b"Bearer 0123456789"),
            (b"content-type", b"application/json"),
        ],
        request_body=orjson.dumps(body),
        response_headers=[*headers, (b"content-type", kind)],
        response_body=_chunks() if stream else [_answer()],
        response_bytes=20_000 if stream else 700,
    )


def _answer() -> bytes:
    message = {"role": "assistant", "content": TEXT * 5}
    usage = {"prompt_tokens": 200, "completion_tokens": 100, "total_tokens": 300}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    return orjson.dumps(
        {"id": "chatcmpl-1", "model": "gpt-4o-2024-08-06", "choices": choices, "usage": usage}
    )


def _chunks() -> list[bytes]:
    choice = {"index": 0, "delta": {"content": " word"}, "logprobs": None, "finish_reason": None}
    event = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-4o",
        "choices": [choice],
    }
    return [b"data: " + orjson.dumps(event) + b"\n\n"] * 100


def recording(folder: Path, stream: bool, count: int = 3000) -> tuple[float, float]:
    """CPU microseconds a request of `put` alone and of everything."""
    rng = random.Random(1)
    records = [a_record(n, stream, rng) for n in range(count)]
    encoder = Encoder(pricer(PriceTable()))
    encoder(records[0])  # loads the prices
    recorder = BackgroundRecorder(SqliteRecords(folder), encoder, "bench", Limits(body_bytes=2**30))
    begun = time.process_time()
    on_path = 0.0
    for record in records:
        start = time.thread_time()
        recorder.put(record)
        on_path += time.thread_time() - start
    recorder.close(120)
    return on_path / count * 1e6, (time.process_time() - begun) / count * 1e6


def fill(store: SqliteRecords, rows: int) -> None:
    encoder = Encoder(lambda record, body: 0.05)
    rng = random.Random(2)
    template = a_record(0, False, rng)
    tallies: dict[tuple[int, int], Tally] = {}
    batch: list[LogEntry] = []
    for number in range(rows):
        fresh = a_record(number, False, rng) if number % 50 == 0 else template
        at = DAY_START + 86_400 * number / rows
        record = replace(
            fresh,
            id=record_id(at, number.to_bytes(10, "big")),
            created_at=at,
            trace_id=f"trace-{number}",
            model=rng.choice(["gpt-4o", "gpt-4o-mini", "o3-mini"]),
            virtual_key=f"vk-{rng.randrange(4)}",
            caller_id=f"key-{rng.randrange(5)}",
            status=rng.choices([200, 429, 500], [960, 39, 1])[0],
            keep_bodies=False,
        )
        entry = encoder(record)
        for seconds in (MINUTE, HOUR):
            tallies.setdefault((seconds, int(at // seconds) * seconds), Tally()).add(entry.doc)
        batch.append(entry)
        if len(batch) == 5000:
            store.append(batch)
            batch = []
            print(f"\r{number + 1} rows", end="", file=sys.stderr)
    store.append(batch, [Totals(*key, "bench", tally.encode()) for key, tally in tallies.items()])
    print(file=sys.stderr)


async def reads(store: SqliteRecords) -> dict[str, float]:
    """Milliseconds, the median of nine."""
    router = Router(AnalyticsApi(store, lambda: DAY_START + 86_400).routes())
    day = f"time_of_generation_min={DAY_START}&time_of_generation_max={DAY_START + 86_399}"

    def page(**query: Any) -> Callable[[], Awaitable[Any]]:
        return lambda: store.page(parse_query(query))

    def graph(path: str) -> Callable[[], Awaitable[Any]]:
        found = router.find("GET", path)
        assert found is not None
        route, params = found
        request = ApiRequest("GET", path, params, day, RequestHeaders([]), ADMIN)
        return lambda: route.handler(request)

    calls = {
        "first page": page(),
        "page, status 500 (rare)": page(status_code="500"),
        "page, status 429 and a virtual key": page(status_code="429", virtual_keys="vk-1"),
        "page, model and caller": page(model="o3-mini", api_key_ids="key-2"),
        "page, a trace": page(trace_id="trace-77777"),
        "page, metadata": page(metadata='{"team":"c"}'),
        "page, cost above all": page(time_of_generation_min=DAY_START + 80_000, cost_min="1"),
        **{
            name: graph(f"/analytics/graphs/{name}")
            for name in ("requests", "cost", "latency", "errors/stacks", "users")
        },
        "group by model": graph("/analytics/groups/ai-models"),
        "group by metadata": graph("/analytics/groups/metadata/team"),
    }
    return {name: await _median(call) for name, call in calls.items()}


async def _median(call: Callable[[], Awaitable[Any]]) -> float:
    times = []
    for _ in range(9):
        begun = time.perf_counter()
        await call()
        times.append((time.perf_counter() - begun) * 1000)
    return statistics.median(times)


async def _read_all(folder: Path, rows: int) -> None:
    store = SqliteRecords(folder)
    if not (await store.page(parse_query({"page_size": 1}))).rows:
        fill(store, rows)
    for name, milliseconds in (await reads(store)).items():
        print(f"{name:40} {milliseconds:8.1f} ms")
    await store.aclose()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="keep the rows there, for the next run")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        for stream in (False, True):
            path, whole = recording(Path(scratch) / str(stream), stream)
            kind = "stream of 100 chunks" if stream else "chat"
            print(f"{kind:40} {path:8.1f} us on the path, {whole:.0f} us in all")
        asyncio.run(_read_all(options.folder or Path(scratch) / "rows", options.rows))


if __name__ == "__main__":
    main()
