"""Totals by the minute and the hour: what analytics read instead of the records themselves.

A cell is a combination of dimensions with its counts. What one writer counts of a minute or an hour is JSON:
`{"cells": [[dimensions, counts, latencies], ...], "users": {name: counts}, "labels": {key: {value: counts}}}`
where dimensions and counts follow `DIMENSIONS` and `COUNTS`, and latencies are a histogram
`{bucket: requests}`. Readers add up the parts of all writers.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import add
from typing import Any

import orjson

MINUTE, HOUR = 60, 3600  # seconds

DIMENSIONS = (
    *("provider", "model", "virtual_key", "config", "prompt", "caller_id", "status", "cache_status"),
    *("retry_count", "fallback"),  # the last is made up here, see `rescued_by_fallback`
)
_TOLD = tuple(name for name in DIMENSIONS if name != "fallback")
COUNTS = (
    *("requests", "cost", "priced", "prompt_tokens", "completion_tokens", "total_tokens", "duration_ms"),
    "last_seen",
)
REQUESTS, COST, PRICED, PROMPT, COMPLETION, TOKENS, DURATION, LAST_SEEN = range(len(COUNTS))

OTHER = "(other)"  # stands for the names past the bound
_MOST_NAMES = 2000  # users, and values of metadata, that one writer counts apart
_MOST_LABELS = 50  # keys of metadata
_GROWTH = math.log(1.08)  # a bucket's upper end by its lower: percentiles are right to 4 %

Key = tuple[Any, ...]
Counts = list[float]


@dataclass(slots=True)
class Cell:
    counts: Counts = field(default_factory=lambda: [0.0] * len(COUNTS))
    latencies: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class Tally:
    """What one writer counts of one minute or hour."""

    cells: dict[Key, Cell] = field(default_factory=dict)
    users: dict[str, Counts] = field(default_factory=dict)
    labels: dict[str, dict[str, Counts]] = field(default_factory=dict)

    def add(self, doc: Mapping[str, Any]) -> None:
        """Count one stored record."""
        counts = counts_of(doc)
        key = key_of(doc)
        cell = self.cells.get(key)
        if cell is None:
            cell = self.cells[key] = Cell()
        add_counts(cell.counts, counts)
        bucket = bucket_of(doc.get("duration_ms", 0.0))
        cell.latencies[bucket] = cell.latencies.get(bucket, 0) + 1
        if user := doc.get("user"):
            _count_name(self.users, user, counts)
        for name, value in (doc.get("metadata") or {}).items():
            if name in self.labels or len(self.labels) < _MOST_LABELS:
                _count_name(self.labels.setdefault(name, {}), value, counts)

    def encode(self) -> bytes:
        cells = [
            [key, cell.counts, {str(bucket): n for bucket, n in cell.latencies.items()}]
            for key, cell in self.cells.items()
        ]
        return orjson.dumps({"cells": cells, "users": self.users, "labels": self.labels})


def counts_of(doc: Mapping[str, Any]) -> Counts:
    """A record's counts, in the order of `COUNTS`."""
    cost = doc.get("cost")
    return [
        1,
        cost or 0.0,
        0 if cost is None else 1,
        doc.get("prompt_tokens", 0),
        doc.get("completion_tokens", 0),
        doc.get("total_tokens", 0),
        doc.get("duration_ms", 0.0),
        doc["created_at"],
    ]


def key_of(doc: Mapping[str, Any]) -> Key:
    """A record's dimensions, in the order of `DIMENSIONS`."""
    return (*map(doc.get, _TOLD), rescued_by_fallback(doc))


def rescued_by_fallback(doc: Mapping[str, Any]) -> bool:
    """Whether another target answered well after one had failed."""
    attempts: Sequence[Mapping[str, Any]] = doc.get("attempts", ())
    if not 200 <= doc.get("status", 0) < 300 or len(attempts) < 2:
        return False
    last = attempts[-1].get("target")
    return any(attempt.get("target") != last for attempt in attempts)


def add_counts(total: Counts, counts: Counts) -> None:
    """Add all but the time last seen, of which the later stays."""
    total[:LAST_SEEN] = map(add, total[:LAST_SEEN], counts)
    if counts[LAST_SEEN] > total[LAST_SEEN]:
        total[LAST_SEEN] = counts[LAST_SEEN]


def bucket_of(milliseconds: float) -> int:
    return 0 if milliseconds < 1 else int(math.log(milliseconds) / _GROWTH) + 1


def middle_of(bucket: int) -> float:
    """Milliseconds that stand for a bucket's requests."""
    return 0.5 if bucket == 0 else math.exp((bucket - 0.5) * _GROWTH)


def percentile(latencies: Mapping[int, int], share: float) -> float:
    """Milliseconds that `share` (0 to 1) of the requests did not exceed; 0 when there are none."""
    total = sum(latencies.values())
    passed = 0
    for bucket in sorted(latencies):
        passed += latencies[bucket]
        if passed >= share * total:
            return middle_of(bucket)
    return 0.0


def _count_name(names: dict[str, Counts], name: str, counts: Counts) -> None:
    if name not in names and len(names) >= _MOST_NAMES:
        name = OTHER
    total = names.get(name)
    if total is None:
        names[name] = list(counts)
    else:
        add_counts(total, counts)
