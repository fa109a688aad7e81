"""Adds up totals (or single records) into what the graphs and groups of analytics show.

Everything here folds `Sample`s: a time, a combination of dimensions, its counts, its latencies. They
come from stored totals where the query filters by dimensions alone, else from the records themselves.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.core.log_query import LogQuery
from gateway.core.ports import Totals
from gateway.core.totals import (
    COMPLETION,
    COST,
    COUNTS,
    DIMENSIONS,
    DURATION,
    HOUR,
    LAST_SEEN,
    MINUTE,
    PRICED,
    PROMPT,
    REQUESTS,
    TOKENS,
    Counts,
    Key,
    add_counts,
    bucket_of,
    counts_of,
    key_of,
    percentile,
)

DAY = 24 * HOUR
# The longest range that each width of a graph's points is used for, in seconds.
_WIDTHS = (
    *((HOUR, MINUTE), (6 * HOUR, 5 * MINUTE), (2 * DAY, HOUR), (8 * DAY, 6 * HOUR), (93 * DAY, DAY)),
    (10_000 * DAY, 7 * DAY),
)
DEFAULT_RANGE = DAY

STATUS, CACHE, RETRIES, FALLBACK = (
    DIMENSIONS.index(name) for name in ("status", "cache_status", "retry_count", "fallback")
)
MODEL, PROVIDER = DIMENSIONS.index("model"), DIMENSIONS.index("provider")


@dataclass(frozen=True, slots=True)
class Span:
    """The time that a call of analytics looks at, cut into points. Unix seconds."""

    since: int
    until: int
    width: int

    def points(self) -> range:
        return range(self.since // self.width * self.width, self.until, self.width)

    def point_of(self, at: float) -> int:
        return int(at // self.width) * self.width


Sample = tuple[float, Key, Counts, Mapping[Any, int]]  # bucket numbers are text where they come from JSON


@dataclass(slots=True)
class Sums:
    """Samples added up."""

    counts: Counts = field(default_factory=lambda: [0.0] * len(COUNTS))
    latencies: dict[int, int] = field(default_factory=dict)
    errors: float = 0.0  # requests that failed, where samples tell their status
    hits: float = 0.0  # requests answered from the cache

    def add(self, counts: Counts, latencies: Mapping[Any, int]) -> None:
        add_counts(self.counts, counts)
        mine = self.latencies
        for bucket, number in latencies.items():
            number_of = int(bucket)
            mine[number_of] = mine.get(number_of, 0) + number

    def __getitem__(self, index: int) -> float:
        return self.counts[index]

    def average(self, index: int, over: int = REQUESTS) -> float:
        return self.counts[index] / self.counts[over] if self.counts[over] else 0.0


def span_of(query: LogQuery, now: float) -> Span:
    """The query's range, of a day up to now where it names none."""
    until = int(query.until if query.until is not None else now) + 1
    since = int(query.since if query.since is not None else until - DEFAULT_RANGE)
    since = min(since, until)
    width = next((width for longest, width in _WIDTHS if until - since <= longest), 30 * DAY)
    return Span(since, until, width)


def by_totals(query: LogQuery) -> bool:
    """Whether totals can answer the query: it filters by nothing that they do not tell apart."""
    known = set(query.one_of) <= set(DIMENSIONS)
    return known and not (query.within or query.metadata or query.feedback)


def reads(span: Span) -> list[tuple[int, int, int]]:
    """The totals to read: (seconds, from, to). Whole hours where the points are that wide."""
    first, last = span.since // MINUTE * MINUTE, -(-span.until // MINUTE) * MINUTE
    if span.width < HOUR:
        return [(MINUTE, first, last)]
    hours, end = -(-first // HOUR) * HOUR, last // HOUR * HOUR
    if end <= hours:
        return [(MINUTE, first, last)]
    wanted = [(MINUTE, first, hours), (HOUR, hours, end), (MINUTE, end, last)]
    return [(seconds, since, until) for seconds, since, until in wanted if since < until]


def samples_of_totals(totals: Iterable[Totals], query: LogQuery) -> Iterator[Sample]:
    """The cells of stored totals that the query's dimensions let through."""
    allowed = _allowed(query)
    for item in totals:
        for key, counts, latencies in orjson.loads(item.data)["cells"]:
            if not allowed or allowed(key):
                yield item.start, key, counts, latencies


def samples_of_records(docs: Iterable[Mapping[str, Any]]) -> Iterator[Sample]:
    for doc in docs:
        yield doc["created_at"], key_of(doc), counts_of(doc), {bucket_of(doc.get("duration_ms", 0.0)): 1}


def names_of_totals(totals: Iterable[Totals], label: str | None) -> Iterator[tuple[int, str, Counts]]:
    """(start, name, counts) of users, or of a metadata key's values."""
    for item in totals:
        data = orjson.loads(item.data)
        names = data["users"] if label is None else data["labels"].get(label, {})
        for name, counts in names.items():
            yield item.start, name, counts


def names_of_records(
    docs: Iterable[Mapping[str, Any]], label: str | None
) -> Iterator[tuple[float, str, Counts]]:
    for doc in docs:
        name = doc.get("user") if label is None else (doc.get("metadata") or {}).get(label)
        if name:
            yield doc["created_at"], name, counts_of(doc)


def fold(samples: Iterable[Sample], by: Callable[[float, Key], Any]) -> dict[Any, Sums]:
    """Samples added up by whatever `by` makes of their time and dimensions; None leaves one out."""
    sums: dict[Any, Sums] = {}
    for at, key, counts, latencies in samples:
        name = by(at, key)
        if name is not None:
            found = sums.get(name)
            if found is None:
                found = sums[name] = Sums()
            found.add(counts, latencies)
            if is_error(key):
                found.errors += counts[REQUESTS]
            if is_hit(key):
                found.hits += counts[REQUESTS]
    return sums


def group(samples: Iterable[Sample], dimension: str) -> dict[str, Sums]:
    index = DIMENSIONS.index(dimension)
    return fold(samples, lambda at, key: key[index])


def is_error(key: Key) -> bool:
    return not 200 <= (key[STATUS] or 0) < 300


def is_hit(key: Key) -> str | None:
    """ "simple" or "semantic" for an answer from the cache."""
    status = (key[CACHE] or "").upper()
    if "HIT" not in status:
        return None
    return "semantic" if "SEMANTIC" in status else "simple"


def group_rows(
    sums: Mapping[Any, Sums], name: str, feedback: Mapping[Any, Sequence[float]] | None = None
) -> list[dict[str, Any]]:
    """Rows of a group, the busiest first."""
    ordered = sorted(sums.items(), key=lambda item: (-item[1][REQUESTS], str(item[0])))
    return [
        {name: value, **_row(found), **_judged((feedback or {}).get(value, ())), "object": "analytics-group"}
        for value, found in ordered
    ]


def _row(found: Sums) -> dict[str, Any]:
    """A group's columns, by the names that Portkey's SDKs have for them."""
    requests = found[REQUESTS]
    row = {
        "requests": int(requests),
        "cost": round(found[COST], 9),
        "total_tokens": int(found[TOKENS]),
        "avg_tokens": round(found.average(TOKENS), 3),
        "avg_input_tokens": round(found.average(PROMPT), 3),
        "avg_output_tokens": round(found.average(COMPLETION), 3),
        "avg_latency": round(found.average(DURATION), 3),
        "unpriced_requests": int(requests - found[PRICED]),
        "last_seen": found[LAST_SEEN],
    }
    if not found.latencies:  # names' totals count neither latencies nor statuses
        return row
    return row | {
        "p95_latency": round(percentile(found.latencies, 0.95), 3),
        "p99_latency": round(percentile(found.latencies, 0.99), 3),
        "error_count": int(found.errors),
        "success_rate": round(100 * (1 - found.errors / requests), 3) if requests else 0.0,
        "cache_hit_rate": round(100 * found.hits / requests, 3) if requests else 0.0,
    }


def _judged(weights: Sequence[float]) -> dict[str, Any]:
    average = sum(weights) / len(weights) if weights else None
    return {"avg_weighted_feedback": average, "requests_with_feedback": len(weights)}


def _allowed(query: LogQuery) -> Callable[[Key], bool] | None:
    wanted = [(DIMENSIONS.index(name), values) for name, values in query.one_of.items()]
    pairs = query.provider_models
    if not wanted and not pairs:
        return None

    def test(key: Key) -> bool:
        if not all(key[index] in values for index, values in wanted):
            return False
        return not pairs or (key[PROVIDER], key[MODEL]) in pairs

    return test
