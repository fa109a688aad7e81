from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.totals import (
    DIMENSIONS,
    OTHER,
    Tally,
    bucket_of,
    key_of,
    middle_of,
    percentile,
    rescued_by_fallback,
)

DOC: dict[str, Any] = {
    "created_at": 60.0,
    "status": 200,
    "model": "m",
    "duration_ms": 10.0,
    "total_tokens": 5,
}


@given(st.floats(1, 1e8))
def test_a_bucket_stands_for_its_values_to_five_percent(milliseconds: float) -> None:
    assert middle_of(bucket_of(milliseconds)) == pytest.approx(milliseconds, rel=0.05)


@given(st.lists(st.integers(1, 60_000), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99]))
def test_percentiles_are_near_the_true_ones(values: list[int], share: float) -> None:
    latencies: dict[int, int] = {}
    for value in values:
        latencies[bucket_of(value)] = latencies.get(bucket_of(value), 0) + 1
    true = next(v for n, v in enumerate(sorted(values), 1) if n >= share * len(values))
    assert percentile(latencies, share) == pytest.approx(true, rel=0.06)


def test_no_requests_have_no_latency() -> None:
    assert percentile({}, 0.5) == 0.0


def test_records_of_the_same_dimensions_share_a_cell() -> None:
    tally = Tally()
    for cost in (1.0, None):
        tally.add({**DOC, **({} if cost is None else {"cost": cost})})
    tally.add({**DOC, "status": 500})
    cells = {tuple(key): counts for key, counts, _ in orjson.loads(tally.encode())["cells"]}
    assert sorted(key[DIMENSIONS.index("status")] for key in cells) == [200, 500]
    requests, cost_sum, priced = cells[key_of(DOC)][:3]
    assert (requests, cost_sum, priced) == (2, 1.0, 1)


def test_names_are_bounded_and_the_rest_is_counted_together() -> None:
    tally = Tally()
    for number in range(2100):
        tally.add({**DOC, "user": f"u{number}", "metadata": {f"key{number}": "v"}})
    assert len(tally.users) == 2001
    assert tally.users[OTHER][0] == 100
    assert len(tally.labels) == 50


@pytest.mark.parametrize(
    ("doc", "rescued"),
    [
        ({"status": 200, "attempts": [{"target": "a"}, {"target": "b"}]}, True),
        ({"status": 200, "attempts": [{"target": "a"}, {"target": "a"}]}, False),
        ({"status": 500, "attempts": [{"target": "a"}, {"target": "b"}]}, False),
        ({"status": 200, "attempts": [{"target": "a"}]}, False),
        ({}, False),
    ],
)
def test_a_fallback_rescued_when_another_target_answered_well(doc: dict[str, Any], rescued: bool) -> None:
    assert rescued_by_fallback(doc) is rescued
