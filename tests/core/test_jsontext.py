"""JSON from outside: strict, bounded, and what clients really send."""

import pytest

from gateway.core.errors import InvalidRequest
from gateway.core.jsontext import dumps, loads, loads_object


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a": 1}', {"a": 1}),
        ('{"a": "\u00e9"}', {"a": "\u00e9"}),
        (b'"\\ud83d"', "\ud83d"),
        (b"123456789012345678901234567890", 1.2345678901234568e29),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
    ],
)
def test_loads(data, value):
    assert loads(data) == value


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"NaN",
        b"[Infinity]",
        b"{'a': 1}",
        b"\xff",
        "{}".encode("utf-16"),
        b"[" * 100_000,
        b'{"a": 1,}',
        b"1" * 5000 + b"e",
    ],
)
def test_what_is_no_json_is_a_400_that_says_where(data):
    with pytest.raises(InvalidRequest, match=r"^the body is not valid JSON: ") as caught:
        loads(data, "the body")
    assert caught.value.code == "invalid_json"


@pytest.mark.parametrize(
    ("data", "kind"),
    [(b"[]", "an array"), (b"1", "a number"), (b'"x"', "a text"), (b"null", "null"), (b"true", "a boolean")],
)
def test_an_object_is_asked_for_by_name(data, kind):
    with pytest.raises(InvalidRequest, match=f"must be a JSON object, got {kind}"):
        loads_object(data)


@pytest.mark.parametrize("value", [{"a": [1, 2.5, None, True]}, "\ud83d", 2**70, {"x": "\u65e5"}])
def test_what_is_written_reads_back(value):
    import json

    assert json.loads(dumps(value)) == value


def test_a_few_hundred_levels_are_written_and_thousands_refused():
    deep: list[object] = []
    for _ in range(400):
        deep = [deep]
    assert dumps(deep).count(b"[") == 401
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(InvalidRequest, match="nested too deeply"):
        dumps(deep)
