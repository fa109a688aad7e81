from typing import Any

import pytest

from gateway.core.errors import InvalidRequest
from gateway.core.metadata_schema import parse_schema


def test_required_names_and_their_values_are_checked() -> None:
    schema = parse_schema(
        {
            "required": ["team"],
            "properties": {"team": {"enum": ["a", "b"]}, "code": {"minLength": 2, "maxLength": 3}},
            "additionalProperties": False,
        }
    )
    assert schema is not None
    schema.check({"team": "a", "code": "abc"})
    with pytest.raises(InvalidRequest) as caught:
        schema.check({"code": "secret value", "more": "1"})
    message = caught.value.message
    assert "team: missing" in message
    assert "code: must have at most 3 characters" in message
    assert "'more': not allowed" in message
    assert "secret value" not in message
    with pytest.raises(InvalidRequest, match="must be one of a, b"):
        schema.check({"team": "c"})


def test_an_empty_value_is_missing() -> None:
    schema = parse_schema({"required": ["team"]})
    assert schema is not None
    with pytest.raises(InvalidRequest):
        schema.check({"team": ""})


def test_no_schema_is_none() -> None:
    assert parse_schema(None) is parse_schema({}) is None


@pytest.mark.parametrize(
    "value",
    [
        [],
        "team",
        {"required": "team"},
        {"required": [1]},
        {"pattern": "x"},
        {"properties": {"a": {"pattern": "(a+)+$"}}},
        {"properties": {"a": {"type": "integer"}}},
        {"properties": {"a": {"minLength": -1}}},
        {"properties": {str(i): {} for i in range(51)}},
    ],
)
def test_what_is_not_enforced_is_refused(value: Any) -> None:
    with pytest.raises(InvalidRequest):
        parse_schema(value)
