"""The graphs of analytics: Portkey's names, what each sums up, and the points of each.

Source: Portkey's OpenAPI, `/analytics/graphs/*`. The Node SDK spells some paths with a hyphen. Times are
milliseconds, costs cents.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from gateway.core.analytics import (
    CACHE,
    FALLBACK,
    MODEL,
    RETRIES,
    STATUS,
    Sample,
    Span,
    Sums,
    fold,
    is_error,
    is_hit,
)
from gateway.core.log_view import iso
from gateway.core.ports import Feedback
from gateway.core.totals import COST, DURATION, PRICED, REQUESTS, TOKENS, percentile

Points = list[dict[str, Any]]
Graph = tuple[dict[str, Any], Points]


@dataclass(frozen=True, slots=True)
class Source:
    """What the graphs are drawn from."""

    span: Span
    samples: Sequence[Sample]


def _series(source: Source, samples: Iterable[Sample]) -> list[tuple[str, Sums]]:
    """One entry a point, empty ones included."""
    span = source.span
    sums = fold(samples, lambda at, key: span.point_of(at))
    return [(iso(point), sums.get(point) or Sums()) for point in span.points()]


def _whole(samples: Iterable[Sample]) -> Sums:
    return fold(samples, lambda at, key: 0).get(0) or Sums()


def _errors(source: Source) -> list[Sample]:
    return [sample for sample in source.samples if is_error(sample[1])]


def _count(source: Source, samples: Sequence[Sample]) -> Graph:
    points = [{"timestamp": at, "total": int(sums[REQUESTS])} for at, sums in _series(source, samples)]
    return {"total": int(_whole(samples)[REQUESTS])}, points


def requests(source: Source) -> Graph:
    return _count(source, source.samples)


def errors(source: Source) -> Graph:
    return _count(source, _errors(source))


def cost(source: Source) -> Graph:
    """Sums of known prices; `unpriced` says how many requests have none."""

    def shown(sums: Sums) -> dict[str, Any]:
        return {"total": round(sums[COST], 9), "avg": round(sums.average(COST, PRICED), 9)}

    whole = _whole(source.samples)
    summary = shown(whole) | {"unpriced": int(whole[REQUESTS] - whole[PRICED])}
    return summary, [{"timestamp": at, **shown(sums)} for at, sums in _series(source, source.samples)]


def tokens(source: Source) -> Graph:
    def shown(sums: Sums) -> dict[str, Any]:
        return {"total": int(sums[TOKENS]), "avg": round(sums.average(TOKENS), 3)}

    points = [{"timestamp": at, **shown(sums)} for at, sums in _series(source, source.samples)]
    return shown(_whole(source.samples)), points


def latency(source: Source) -> Graph:
    def shown(sums: Sums) -> dict[str, Any]:
        shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
        found = {name: round(percentile(sums.latencies, share), 3) for name, share in shares.items()}
        return {"avg": round(sums.average(DURATION), 3), **found}

    points = [{"timestamp": at, **shown(sums)} for at, sums in _series(source, source.samples)]
    return shown(_whole(source.samples)), points


def error_rate(source: Source) -> Graph:
    """Percent of requests."""
    failed = _series(source, _errors(source))
    every = _series(source, source.samples)
    points = [
        {"timestamp": at, "rate": _percent(bad[REQUESTS], all_[REQUESTS])}
        for (at, bad), (_, all_) in zip(failed, every, strict=True)
    ]
    whole = _percent(_whole(_errors(source))[REQUESTS], _whole(source.samples)[REQUESTS])
    return {"rate": whole}, points


def error_stacks(source: Source) -> Graph:
    span, failed = source.span, _errors(source)
    sums = fold(failed, lambda at, key: (span.point_of(at), key[STATUS]))
    stats: dict[int, Points] = {}
    for (point, status), found in sorted(sums.items(), key=lambda item: (item[0][0], item[0][1] or 0)):
        stats.setdefault(point, []).append({"response_status_code": status, "count": int(found[REQUESTS])})
    points = [{"timestamp": iso(point), "stats": stats.get(point, [])} for point in span.points()]
    return {"total": int(_whole(failed)[REQUESTS])}, points


def error_codes(source: Source) -> Graph:
    sums = fold(_errors(source), lambda at, key: key[STATUS] or 0)
    points = [
        {"status_code": status, "count": int(found[REQUESTS])} for status, found in sorted(sums.items())
    ]
    return {"total_errors": sum(p["count"] for p in points), "unique_error_codes": len(points)}, points


def rescued(source: Source) -> Graph:
    """Requests that ended well because a retry or a fallback did."""
    span = source.span
    retried = [s for s in source.samples if (s[1][RETRIES] or 0) > 0 and not is_error(s[1])]
    fallen = [s for s in source.samples if s[1][FALLBACK]]
    tries: dict[int, Counter[int]] = {}
    for at, key, counts, _ in retried:
        tries.setdefault(span.point_of(at), Counter())[key[RETRIES]] += int(counts[REQUESTS])
    points = [
        {
            "timestamp": at,
            "retry": [
                {"retry_success_count": number, "count": count}
                for number, count in sorted(tries.get(point, Counter()).items())
            ],
            "fallback": int(sums[REQUESTS]),
        }
        for point, (at, sums) in zip(span.points(), _series(source, fallen), strict=True)
    ]
    return {"retry": int(_whole(retried)[REQUESTS]), "fallback": int(_whole(fallen)[REQUESTS])}, points


def cache_hit_rate(source: Source) -> Graph:
    """Percent of requests answered from the cache; savings are what such requests cost without it."""
    hits = {kind: [s for s in source.samples if is_hit(s[1]) == kind] for kind in ("simple", "semantic")}
    every = _series(source, source.samples)
    series = {kind: _series(source, found) for kind, found in hits.items()}
    saved = {kind: list(accumulate(_saved(source, found))) for kind, found in hits.items()}
    points = []
    for index, (at, sums) in enumerate(every):
        simple, semantic = (int(series[kind][index][1][REQUESTS]) for kind in ("simple", "semantic"))
        points.append(
            {
                "timestamp": at,
                "simple_hits": simple,
                "semantic_hits": semantic,
                "rate": _percent(simple + semantic, sums[REQUESTS]),
                "cumulative_simple_cache_savings": round(saved["simple"][index], 9),
                "cumulative_semantic_cache_savings": round(saved["semantic"][index], 9),
            }
        )
    total = sum(int(_whole(found)[REQUESTS]) for found in hits.values())
    return {"total": total, "rate": _percent(total, _whole(source.samples)[REQUESTS])}, points


def cache_latency(source: Source) -> Graph:
    hits = [sample for sample in source.samples if is_hit(sample[1])]
    points = [
        {"timestamp": at, "avg": round(sums.average(DURATION), 3)} for at, sums in _series(source, hits)
    ]
    return {"avg": round(_whole(hits).average(DURATION), 3)}, points


def cache_summary(source: Source) -> dict[str, Any]:
    """`cache_speedup`: percent by which an answer from the cache came sooner."""
    hits = _whole(s for s in source.samples if is_hit(s[1]))
    missed = _whole(
        s for s in source.samples if (s[1][CACHE] or "").upper() in ("MISS", "REFRESH", "REFRESHED")
    )
    quick, slow = hits.average(DURATION), missed.average(DURATION)
    return {
        "hits": int(hits[REQUESTS]),
        "avg_latency": round(quick, 3),
        "total_requests": int(_whole(source.samples)[REQUESTS]),
        "cache_speedup": _percent(slow - quick, slow) if hits[REQUESTS] and slow else 0.0,
    }


# Path under `/analytics/graphs/` -> what draws it.
GRAPHS: dict[str, Callable[[Source], Graph]] = {
    "requests": requests,
    "cost": cost,
    "latency": latency,
    "tokens": tokens,
    "errors": errors,
    "errors/rate": error_rate,
    "errors/stacks": error_stacks,
    "errors/status-codes": error_codes,
    "requests/rescued": rescued,
    "cache/hit-rate": cache_hit_rate,
    "cache/latency": cache_latency,
}
ALIASES = {
    "users-requests": "users/requests",
    "errors-rate": "errors/rate",
    "errors-stack": "errors/stacks",
    "errors-stacks": "errors/stacks",
    "errors-status-code": "errors/status-codes",
    "errors-status-codes": "errors/status-codes",
    "requests-rescued": "requests/rescued",
    "cache-hit-rate": "cache/hit-rate",
    "cache-latency": "cache/latency",
    "feedbacks/score": "feedbacks/scores",
    "feedbacks-scores": "feedbacks/scores",
    "feedbacks-weighted": "feedbacks/weighted",
    "feedbacks-ai-models": "feedbacks/ai-models",
}


def users(span: Span, names: Iterable[tuple[float, str, Sequence[float]]]) -> tuple[Graph, Graph]:
    """The graphs `users` and `users/requests`."""
    seen: dict[int, dict[str, float]] = {}
    whole: dict[str, float] = {}
    for at, name, counts in names:
        here = seen.setdefault(span.point_of(at), {})
        here[name] = here.get(name, 0) + counts[REQUESTS]
        whole[name] = whole.get(name, 0) + counts[REQUESTS]
    unique: Points = []
    busy: Points = []
    for point in span.points():
        found = seen.get(point, {})
        unique.append({"timestamp": iso(point), "total": len(found)})
        busy.append({"timestamp": iso(point), "avg": sum(found.values()) / len(found) if found else 0.0})
    total = sum(whole.values())
    average = total / len(whole) if whole else 0.0
    return ({"total": len(whole)}, unique), (
        {"total": int(total), "unique": len(whole), "avg": average},
        busy,
    )


def feedback_graph(name: str, span: Span, items: Sequence[Feedback], models: dict[str, str]) -> Graph:
    """The graphs of feedback. `models` tells the model of a trace."""
    points: dict[int, list[Feedback]] = {}
    for item in items:
        points.setdefault(span.point_of(item.created_at), []).append(item)
    if name == "feedbacks/scores":
        scores = Counter(item.value for item in items)
        return {"total": len(items)}, [{"score": s, "total": n} for s, n in sorted(scores.items())]
    if name == "feedbacks/ai-models":
        return {"total": len(items)}, _by_model(items, models)
    if name == "feedbacks/weighted":
        series = [{"timestamp": iso(p), "avg": weighted(points.get(p, []))} for p in span.points()]
        return {"avg": weighted(items)}, series
    return {"total": len(items)}, [
        {"timestamp": iso(p), "total": len(points.get(p, []))} for p in span.points()
    ]


def weighted(items: Sequence[Feedback]) -> float:
    """The average of value times weight; 0 for none."""
    return sum(item.value * item.weight for item in items) / len(items) if items else 0.0


def _by_model(items: Sequence[Feedback], models: dict[str, str]) -> Points:
    found: dict[str, list[Feedback]] = {}
    for item in items:
        found.setdefault(models.get(item.trace_id, "unknown"), []).append(item)
    return [
        {"ai_model": model, "total": len(of_model), "avg_weighted_feedback": weighted(of_model)}
        for model, of_model in sorted(found.items())
    ]


def _saved(source: Source, hits: Sequence[Sample]) -> list[float]:
    """Cents saved at each point: the average cost of the model's requests that were no hits."""
    uncached = fold((s for s in source.samples if not is_hit(s[1])), lambda at, key: key[MODEL] or "")
    saved: dict[int, float] = {}
    for at, key, counts, _ in hits:
        sums = uncached.get(key[MODEL] or "")
        point = source.span.point_of(at)
        saved[point] = saved.get(point, 0.0) + counts[REQUESTS] * (
            sums.average(COST, PRICED) if sums else 0.0
        )
    return [saved.get(point, 0.0) for point in source.span.points()]


def _percent(part: float, whole: float) -> float:
    return round(100 * part / whole, 3) if whole else 0.0
