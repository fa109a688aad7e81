"""The body that goes upstream: the very bytes, unless something must change."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.body import ClientBody, check_json_type, for_upstream, split_model
from gateway.core.targets import ParamRules

SENT = b' { "model" : "gpt-4o", "messages": [],\n "temperature": 0.10 }'


def body(raw: bytes) -> ClientBody:
    values = json.loads(raw)
    model = values.get("model")
    return ClientBody(raw, "application/json", values, model, values.get("stream") is True)


@pytest.mark.parametrize("model", [None, "gpt-4o"])
def test_what_needs_no_change_is_the_very_object(model):
    assert for_upstream(body(SENT), model=model, ask_usage=True).raw is SENT


def test_a_model_is_written_where_it_must_stand():
    assert json.loads(for_upstream(body(SENT), model="dep").raw) == {**json.loads(SENT), "model": "dep"}


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        (None, (None, None)),
        ("", (None, None)),
        ("portkey-default", (None, None)),
        ("gpt-4o", (None, "gpt-4o")),
        ("@slug/gpt-4o", ("slug", "gpt-4o")),
        ("@slug/org/model", ("slug", "org/model")),
        ("@slug", ("slug", None)),
        ("@slug/", ("slug", None)),
        ("@", (None, None)),
        ("@/x", (None, "x")),
        ("a/@b", (None, "a/@b")),
    ],
)
def test_split_model(model, parts):
    assert split_model(model) == parts


def test_the_slug_before_a_model_never_goes_upstream():
    found = for_upstream(body(b'{"model": "@slug/gpt", "messages": []}'))
    assert json.loads(found.raw)["model"] == "gpt"


STREAM = '{"stream": true, "messages": []'


@pytest.mark.parametrize(
    ("raw", "asked"),
    [
        (STREAM + "}", True),
        (STREAM + ', "stream_options": null}', True),
        (STREAM + ', "stream_options": {}}', True),
        (STREAM + ', "stream_options": {"include_obfuscation": false}}', True),
        (STREAM + ', "stream_options": {"include_usage": false}}', True),
        (STREAM + ', "stream_options": {"include_usage": true}}', False),
        (STREAM + ', "stream_options": "odd"}', False),
        (STREAM + ', "data_sources": []}', False),
        ('{"stream": false, "messages": []}', False),
        ('{"stream": "true", "messages": []}', False),
        ('{"messages": []}', False),
    ],
)
def test_usage_is_asked_for_in_streams_that_do_not(raw, asked):
    found = for_upstream(body(raw.encode()), ask_usage=True)
    assert found.asked_usage is asked
    options = json.loads(found.raw).get("stream_options")
    if asked:
        assert options["include_usage"] is True
        given_options = json.loads(raw).get("stream_options") or {}
        assert {**given_options, "include_usage": True} == options
    else:
        assert found.raw == raw.encode()


def test_asking_for_usage_leaves_the_rest_as_it_was_written():
    raw = b' {"stream" : true, "seed": 123456789012345678901234567890, "user": "\\ud83d"}'
    found = for_upstream(body(raw), ask_usage=True)
    assert found.raw == b' {"stream_options":{"include_usage":true},' + raw[2:]


def test_rules_apply_before_the_model_and_the_usage():
    rules = ParamRules(default={"top_p": 1}, override={"temperature": 0}, drop=(("user",),))
    raw = b'{"model": "m", "stream": true, "user": "u", "temperature": 2}'
    found = json.loads(for_upstream(body(raw), rules=rules, model="d", ask_usage=True).raw)
    assert found == {
        "model": "d",
        "stream": True,
        "temperature": 0,
        "top_p": 1,
        "stream_options": {"include_usage": True},
    }


def test_integers_past_64_bits_stay_exact_when_the_body_is_written_anew():
    raw = b'{"model": "m", "seed": 123456789012345678901234567890}'
    found = json.loads(for_upstream(body(raw), model="d").raw)
    assert found == {"model": "d", "seed": 123456789012345678901234567890}


def test_a_body_that_is_no_json_stays():
    raw = b"\x00\x01"
    assert for_upstream(ClientBody(raw, "application/octet-stream"), model="d").raw is raw


@pytest.mark.parametrize(
    ("kind", "is_json"),
    [
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("application/vnd.api+json", True),
        ("", True),
        ("text/json", True),
        ("text/plain", False),
        ("multipart/form-data; boundary=x", False),
        ("application/jsonp", False),
    ],
)
def test_check_json_type(kind, is_json):
    assert check_json_type(kind) is is_json


values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=6), values, max_size=5), st.booleans(), st.sampled_from([None, "d"]))
def test_nothing_but_model_and_stream_options_ever_changes(content, stream, model):
    content |= {"stream": stream}
    found = json.loads(for_upstream(body(json.dumps(content).encode()), model=model, ask_usage=True).raw)
    for mine in ("model", "stream_options"):
        found.pop(mine, None)
        content.pop(mine, None)
    assert found == content
