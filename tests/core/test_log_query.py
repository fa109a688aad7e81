from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import InvalidRequest
from gateway.core.log_query import MAX_PAGE_SIZE, LogQuery, matches, parse_query, parse_time

NOON = 1_700_049_600.0


@pytest.mark.parametrize(
    "text",
    ["2023-11-15T12:00:00Z", "2023-11-15T13:00:00+01:00", "2023-11-15T13:00:00 01:00", "2023-11-15T12:00:00",
     "2023-11-15 12:00:00", "1700049600", 1700049600, 1700049600000, "1700049600000"],
)  # fmt: skip
def test_times_are_read_in_every_spelling(text: Any) -> None:
    assert parse_time("since", text) == NOON


@pytest.mark.parametrize("text", ["yesterday", "", "2023-13-01", -1, 1e20, "nan", "inf", True, [], "9" * 400])
def test_other_times_are_refused_by_name(text: Any) -> None:
    with pytest.raises(InvalidRequest, match="since"):
        parse_time("since", text)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, LogQuery()),
        ({"status_code": "200, 429"}, LogQuery(one_of={"status": frozenset({200, 429})})),
        ({"statusCode": [200]}, LogQuery(one_of={"status": frozenset({200})})),
        ({"virtual_keys": "a,b,,"}, LogQuery(one_of={"virtual_key": frozenset({"a", "b"})})),
        ({"ai_org_model": "openai__gpt__4"}, LogQuery(provider_models=frozenset({("openai", "gpt__4")}))),
        ({"cost_min": "0.5", "costMax": 2}, LogQuery(within={"cost": (0.5, 2.0)})),
        ({"total_units_min": 1}, LogQuery(within={"total_tokens": (1.0, None)})),
        ({"metadata": '{"_user":"u","n":5}'}, LogQuery(metadata={"_user": "u", "n": "5"})),
        ({"weighted_feedback_min": "-2"}, LogQuery(feedback=(-2.0, None))),
        ({"page_size": "7", "current_page": "2"}, LogQuery(page_size=7, current_page=2)),
        ({"page_size": "100000"}, LogQuery(page_size=MAX_PAGE_SIZE)),
        ({"page_size": "0", "current_page": "-1"}, LogQuery(page_size=1)),
        ({"unknown": "x", "workspace_slug": "w", "trace_id": ""}, LogQuery()),
    ],
)
def test_filters_are_read_from_queries_and_objects(params: dict[str, Any], expected: LogQuery) -> None:
    assert parse_query(params) == expected


@pytest.mark.parametrize(
    "params",
    [{"status_code": "ok"}, {"status_code": "9" * 30}, {"status_code": "-1"}, {"cost_min": "much"}, {"cost_min": "nan"}, {"metadata": "x"}, {"metadata": "[1]"},
     {"ai_org_model": "openai"}, {"page_size": "many"}, {"trace_id": ",".join(map(str, range(500)))}],
)  # fmt: skip
def test_a_bad_filter_is_named(params: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match=next(iter(params))):
        parse_query(params)


@given(st.dictionaries(st.sampled_from(["status_code", "cost_min", "metadata", "time_of_generation_min", "cursor"]),
                       st.one_of(st.text(), st.integers(), st.floats(), st.lists(st.text()), st.none())))  # fmt: skip
def test_nothing_but_invalid_request_is_raised(params: dict[str, Any]) -> None:
    try:
        parse_query(params)
    except InvalidRequest:
        return


def test_a_record_without_the_field_does_not_match_its_range() -> None:
    query = LogQuery(within={"cost": (None, 5.0)})
    assert matches(query, {"created_at": 1.0, "cost": 5.0})
    assert not matches(query, {"created_at": 1.0})


def test_the_end_of_a_range_of_time_is_left_out() -> None:
    query = LogQuery(since=1.0, until=2.0)
    assert [matches(query, {"created_at": at}) for at in (0.9, 1.0, 1.9, 2.0)] == [False, True, True, False]
