from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.api_keys import (
    ApiKey,
    KeyDigest,
    build,
    covers,
    describe,
    dump,
    fresh,
    load,
    read_input,
    rotated,
)
from gateway.core.caller import Caller
from gateway.core.errors import InvalidRequest
from gateway.core.scopes import ALL, PLAIN, check_scopes

NOW = 1_700_000_000


def base(**more: Any) -> ApiKey:
    made = fresh("id-1", "workspace", "user", NOW, "admin")
    return replace(made, name="n", digests=(KeyDigest("d" * 64, "last"),), **more)


def changed(data: Any, start: ApiKey | None = None) -> ApiKey:
    return build(start or base(), read_input(data), NOW + 5)


def test_a_new_key_has_the_scopes_of_a_plain_app() -> None:
    assert base().scopes == PLAIN


def test_what_is_not_named_stays_and_null_clears() -> None:
    full = changed(
        {
            "rate_limits": {"unit": "rpm", "value": 5},
            "usage_limits": [{"credit_limit": 5}],
            "expires_at": "2030-01-01T00:00:00Z",
            "virtual_keys": ["@a"],
            "defaults": {"metadata": {"n": 1}, "config_id": "pc-1", "allow_config_override": False},
        }
    )
    assert full.rate_limits == ({"unit": "rpm", "value": 5},)
    assert full.virtual_keys == {"a"}
    assert full.metadata == {"n": "1"}
    renamed = changed({"name": "other", "defaults": {"config_id": None}}, full)
    assert replace(renamed, name="n", config_id="pc-1") == full
    cleared = changed(
        {"rate_limits": None, "usage_limits": None, "expires_at": None, "virtual_keys": None}, full
    )
    assert (cleared.rate_limits, cleared.usage_limits) == ((), None)
    assert (cleared.expires_at, cleared.virtual_keys) == (None, None)


def test_a_budget_of_days_gets_the_first_of_its_resets() -> None:
    made = changed({"usage_limits": {"credit_limit": 5, "periodic_reset_days": 10}})
    assert made.usage_limits is not None
    assert made.usage_limits["next_usage_reset_at"] == "2023-11-24T22:13:25.000Z"
    again = changed({"name": "x"}, made)
    assert again.usage_limits == made.usage_limits


@pytest.mark.parametrize(
    "data",
    [
        [],
        {"name": ""},
        {"name": "x" * 300},
        {"scopes": "completions.write"},
        {"scopes": ["nothing.at.all"]},
        {"rate_limits": [{"unit": "rpy", "value": 1}]},
        {"usage_limits": {"credit_limit": 0.1}},
        {"expires_at": "tomorrow"},
        {"expires_at": {}},
        {"metadata_schema": {"pattern": "x"}},
        {"virtual_keys": [""]},
        {"models": ["a\r\nb"]},
        {"defaults": {"metadata": []}},
    ],
)
def test_what_is_wrong_is_refused(data: Any) -> None:
    with pytest.raises(InvalidRequest):
        changed(data)


def test_a_key_survives_its_store() -> None:
    made = changed(
        {
            "scopes": ["*"],
            "models": ["m"],
            "rate_limits": [{"unit": "rpm", "value": 5}],
            "alert_emails": ["a@example.org"],
            "metadata_schema": {"required": ["x"]},
        }
    )
    assert load(dump(made)) == made
    assert load({**dump(made), "field_of_a_later_version": 1}) == made


def test_what_is_shown_has_no_digest() -> None:
    shown = describe(base(), NOW)
    assert shown["key"] == "gw-********last"
    assert "d" * 64 not in str(shown)
    assert describe(base(expires_at=NOW), NOW)["status"] == "expired"


def test_rotating_keeps_few_old_secrets_and_no_ended_ones() -> None:
    made = base()
    for number in range(10):
        made, _ = rotated(made, KeyDigest(str(number), "last"), 1_800_000, NOW)
    assert [known.digest for known in made.digests] == ["9", "8", "7", "6", "5"]
    later, _ = rotated(made, KeyDigest("x", "last"), None, NOW + 1801)
    assert [known.digest for known in later.digests] == ["x", "9"]


@pytest.mark.parametrize("period", [0, 1_799_999, -1, "1800000", True, 10**12, 1.8e6])
def test_a_transition_has_its_bounds(period: Any) -> None:
    with pytest.raises(InvalidRequest):
        rotated(base(), KeyDigest("x", "last"), period, NOW)


sets = st.none() | st.frozensets(st.sampled_from(["a", "b", "c"]))


@given(sets, sets, sets, sets)
def test_nobody_covers_more_than_they_have(
    own: frozenset[str] | None, asked: frozenset[str] | None, keys: Any, asked_keys: Any
) -> None:
    holder = Caller("1", "n", scopes=own, virtual_keys=keys)
    other = base(scopes=asked, virtual_keys=asked_keys)
    allowed = covers(holder, other)

    def within(inner: frozenset[str] | None, outer: frozenset[str] | None) -> bool:
        everything = frozenset("abcd")  # "d" stands for all that is not named
        return (everything if inner is None else inner) <= (everything if outer is None else outer)

    assert allowed == (within(asked, own) and within(asked_keys, keys))


def test_scopes_may_be_named_by_subject_or_all_at_once() -> None:
    assert check_scopes(["logs.*"]) == {"logs.view", "logs.list", "logs.write", "logs.export"}
    assert check_scopes(["completions.write", "*"]) is None
    assert check_scopes([]) == frozenset()
    for wrong in ("nothing", "logs", ".*", "logs.view.*"):
        with pytest.raises(InvalidRequest, match="unknown"):
            check_scopes([wrong])
    assert PLAIN <= ALL
