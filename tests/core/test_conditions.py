from typing import Any

import pytest

from gateway.core.conditions import matches, parse_query
from gateway.core.route_input import RouteInput

CALL = RouteInput(
    metadata={
        "tier": "paid",
        "age": "42",
        "vip": "true",
        "a.b": "dotted",
        "org": '{"plan": "pro", "n": [7]}',
    },
    pathname="/v1/chat/completions",
    params=lambda: {
        "model": "gpt-4o",
        "temperature": 0.5,
        "stream": True,
        "messages": [{"role": "user", "content": "hi"}],
        "n": 1,
    },
)


def problems_of(raw: Any) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    parse_query(raw, "q", lambda path, text: found.append((path, text)), 3)
    return found


def holds(raw: Any) -> bool:
    query = parse_query(raw, "q", lambda path, text: pytest.fail(f"{path}: {text}"), 3)
    assert query is not None
    return matches(query, CALL)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"metadata.tier": "paid"}, True),
        ({"metadata.tier": "free"}, False),
        ({"metadata.tier": {"$eq": "paid"}}, True),
        ({"metadata.tier": {"$ne": "free"}}, True),
        ({"metadata.tier": {"$ne": "paid"}}, False),
        ({"metadata.tier": {"$in": ["free", "paid"]}}, True),
        ({"metadata.tier": {"$nin": ["free", "paid"]}}, False),
        ({"metadata.tier": {"$nin": ["gold"]}}, True),
        ({"metadata.age": {"$gt": 41}}, True),
        ({"metadata.age": {"$gt": 42}}, False),
        ({"metadata.age": {"$gte": "42"}}, True),
        ({"metadata.age": {"$lt": 42}}, False),
        ({"metadata.age": {"$lte": 42}}, True),
        ({"metadata.age": {"$gt": 1, "$lt": 10}}, False),
        ({"metadata.age": {"$gt": 1, "$lt": 100}}, True),
        ({"metadata.tier": {"$gt": 1}}, False),
        ({"metadata.tier": {"$regex": "^pa"}}, True),
        ({"metadata.tier": {"$regex": "ai"}}, True),
        ({"metadata.tier": {"$regex": "PAID"}}, False),
        ({"metadata.tier": {"$regex": "(?i)PAID"}}, True),
        ({"metadata.a.b": "dotted"}, True),
        ({"metadata.age": 42}, True),
        ({"metadata.age": {"$ne": 42}}, False),
        ({"metadata.age": {"$in": [41, 42]}}, True),
        ({"metadata.age": None}, False),
        ({"metadata.vip": True}, True),
        ({"metadata.vip": {"$eq": False}}, False),
        ({"metadata.vip": {"$nin": [False]}}, True),
        ({"metadata.org.plan": "pro"}, True),
        ({"metadata.org.n.0": 7}, True),
        ({"metadata.org.none": {"$ne": "x"}}, False),
        ({"metadata.tier.none": {"$ne": "x"}}, False),
        ({"params.model": "gpt-4o"}, True),
        ({"params.stream": True}, True),
        ({"params.n": True}, False),
        ({"params.stream": 1}, False),
        ({"params.temperature": {"$lt": 0.6}}, True),
        ({"params.messages.0.role": "user"}, True),
        ({"params.messages.1.role": "user"}, False),
        ({"url.pathname": "/v1/chat/completions"}, True),
        ({"url.pathname": {"$regex": "/embeddings$"}}, False),
        ({"$and": [{"metadata.tier": "paid"}, {"params.model": "gpt-4o"}]}, True),
        ({"$and": [{"metadata.tier": "paid"}, {"params.model": "other"}]}, False),
        ({"$or": [{"metadata.tier": "free"}, {"params.model": "gpt-4o"}]}, True),
        ({"$or": [{"metadata.tier": "free"}, {"$and": [{"metadata.tier": "paid"}]}]}, True),
    ],
)
def test_operators(query: dict[str, Any], expected: bool) -> None:
    assert holds(query) is expected


@pytest.mark.parametrize(
    "query",
    [
        {"metadata.tier": "paid", "metadata.age": "1"},
        {"$or": [{"metadata.tier": "paid"}], "metadata.age": "1"},
        {"metadata.tier": {"$regex": "paid", "$ne": "paid"}},
    ],
)
def test_sibling_keys_are_a_conjunction(query: dict[str, Any]) -> None:
    assert not holds(query)


@pytest.mark.parametrize("operator", ["$eq", "$ne", "$in", "$nin", "$gt", "$lte", "$regex"])
def test_any_test_of_an_absent_key_is_false(operator: str) -> None:
    operand: Any = {"$in": ["x"], "$nin": ["x"], "$gt": 1, "$lte": 1}.get(operator, "x")
    assert not holds({"metadata.nobody": {operator: operand}})
    assert not holds({"params.messages.7.role": {operator: operand}})


def test_an_evil_pattern_runs_in_linear_time() -> None:
    call = RouteInput(metadata={"text": "a" * 50_000 + "!"})
    query = parse_query({"metadata.text": {"$regex": "^(a+)+$"}}, "q", lambda *_: None, 3)
    assert query is not None
    assert not matches(query, call)


@pytest.mark.parametrize(
    ("raw", "path", "text"),
    [
        ({"metadata.a": {"$foo": 1}}, "q['metadata.a'].$foo", "is not an operator"),
        ({"$not": []}, "q.$not", "is not an operator here"),
        ({"$and": {}}, "q.$and", "must be a list"),
        ({"$or": []}, "q.$or", "must be a list"),
        (
            {"$and": [{"$or": [{"$and": [{"$or": [{"metadata.a": 1}]}]}]}]},
            "q.$and[0].$or[0].$and[0].$or",
            "deep",
        ),
        ({"headers.x": 1}, "q['headers.x']", "must start with metadata."),
        ({"metadata": 1}, "q['metadata']", "must name a value"),
        ({"metadata.": 1}, "q['metadata.']", "must name a value"),
        ({"metadata.a": {}}, "q['metadata.a']", "must hold an operator"),
        ({"metadata.a": {"$gt": "x"}}, "q['metadata.a'].$gt", "must be a number"),
        ({"metadata.a": {"$in": "x"}}, "q['metadata.a'].$in", "must be a list"),
        ({"metadata.a": {"$regex": "("}}, "q['metadata.a'].$regex", "RE2 can run"),
        ({"metadata.a": {"$regex": r"(a)\1"}}, "q['metadata.a'].$regex", "RE2 can run"),
        ({"metadata.a": {"$regex": 1}}, "q['metadata.a'].$regex", "as text"),
        ({}, "q", "must be an object"),
        ([], "q", "must be an object"),
    ],
)
def test_a_wrong_query_is_reported_with_its_path(raw: Any, path: str, text: str) -> None:
    found = problems_of(raw)
    assert [item[0] for item in found] == [path]
    assert text in found[0][1]


def test_every_problem_of_a_query_is_reported() -> None:
    found = problems_of({"$and": [{"metadata.a": {"$foo": 1}}, {"bad": 1}], "metadata.b": {"$gt": None}})
    assert len(found) == 3
