import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.params import apply_params, parse_path
from gateway.core.targets import NO_RULES, ParamRules

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["a", "b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abx"), inner, max_size=3),
    max_leaves=10,
)
PATHS = st.lists(st.sampled_from(["a", "b", "x", "*", 0, 1]), min_size=1, max_size=4).map(tuple)


def drop(*paths: str) -> ParamRules:
    return ParamRules(drop=tuple(map(parse_path, paths)))


def test_defaults_yield_to_the_body_and_the_body_to_overrides() -> None:
    rules = ParamRules(default={"a": 1, "b": 1, "c": 1}, override={"c": 3})
    assert apply_params(rules, {"b": 2, "c": 2}) == {"a": 1, "b": 2, "c": 3}


def test_an_explicit_null_in_the_body_wins_over_a_default() -> None:
    assert apply_params(ParamRules(default={"a": 1}), {"a": None}) == {"a": None}


def test_a_dropped_parameter_stays_dropped_even_if_overridden() -> None:
    rules = ParamRules(override={"a": 1}, drop=(("a",),))
    assert apply_params(rules, {"b": 1}) == {"b": 1}


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        ("user", {"user": "u", "n": 1}, {"n": 1}),
        ("a.b", {"a": {"b": 1, "c": 2}}, {"a": {"c": 2}}),
        ("a.b.c", {"a": {"b": {"c": 1}}}, {"a": {"b": {}}}),
        ("x[0]", {"x": [1, 2]}, {"x": [2]}),
        ("x[*]", {"x": [1, 2]}, {"x": []}),
        ("x[*].name", {"x": [{"name": 1, "k": 1}, {"k": 2}]}, {"x": [{"k": 1}, {"k": 2}]}),
        ("x[1].a[0].b", {"x": [0, {"a": [{"b": 1}]}]}, {"x": [0, {"a": [{}]}]}),
        ("x[0][1]", {"x": [[1, 2]]}, {"x": [[1]]}),
    ],
)
def test_drop_paths(path: str, before: dict[str, Any], after: dict[str, Any]) -> None:
    original = copy.deepcopy(before)
    assert apply_params(drop(path), before) == after
    assert before == original


@pytest.mark.parametrize(
    "rules",
    [
        NO_RULES,
        ParamRules(default={"a": 9}),
        drop("z", "a.b", "x[5]", "x[*].b", "x.a"),
    ],
)
def test_the_very_body_comes_back_when_nothing_changes(rules: ParamRules) -> None:
    body = {"a": 1, "x": [{"a": 1}]}
    assert apply_params(rules, body) is body


@given(body=st.dictionaries(st.sampled_from("abx"), JSON), paths=st.lists(PATHS, max_size=3))
def test_dropping_never_edits_the_body(body: dict[str, Any], paths: list[tuple[str | int, ...]]) -> None:
    original = copy.deepcopy(body)
    result = apply_params(ParamRules(drop=tuple(paths)), body)
    assert body == original
    assert result is body or result != original


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("user", ("user",)),
        ("a.b", ("a", "b")),
        ("x[0]", ("x", 0)),
        ("x[*].y[12]", ("x", "*", "y", 12)),
        ("x[0][1]", ("x", 0, 1)),
    ],
)
def test_paths_are_parsed(text: str, path: tuple[str | int, ...]) -> None:
    assert parse_path(text) == path


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a.",
        "a..b",
        "[0]",
        "x[",
        "x[]",
        "x[a]",
        "x[-1]",
        "x[0",
        "x]0[",
        "x[9999999]",
        "a." * 40 + "a",
    ],
)
def test_a_wrong_path_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        parse_path(text)
