"""Upstream errors of every shape become one body that all clients read."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.upstream_errors import normalise_error

FILTERED = {
    "message": "The response was filtered",
    "type": None,
    "param": "prompt",
    "code": "content_filter",
    "status": 400,
    "innererror": {
        "code": "ResponsibleAIPolicyViolation",
        "content_filter_result": {"hate": {"filtered": False}},
    },
}

SHAPES = {
    "Azure's": ({"error": {"code": "429", "message": "slow"}}, 429, "slow", "429", "rate_limit_error"),
    "OpenAI's": (
        {"error": {"code": None, "message": "bad", "type": "invalid_request_error", "param": "n"}},
        400,
        "bad",
        None,
        "invalid_request_error",
    ),
    "API Management's": ({"statusCode": 401, "message": "no"}, 401, "no", None, "authentication_error"),
    "a text in it": ({"error": "forbidden"}, 403, "forbidden", None, "permission_error"),
    "FastAPI's": (
        {"detail": "x"},
        422,
        "the upstream answered 422 and gave no message",
        None,
        "upstream_error",
    ),
    "no message": (
        {"error": {}},
        500,
        "the upstream answered 500 and gave no message",
        None,
        "upstream_error",
    ),
    "a message that is none": (
        {"error": {"message": 7}},
        404,
        "the upstream answered 404 and gave no message",
        None,
        "not_found_error",
    ),
}


@pytest.mark.parametrize(("told", "status", "message", "code", "kind"), SHAPES.values(), ids=SHAPES)
def test_shapes(told, status, message, code, kind):
    body = normalise_error(orjson.dumps(told), status, "azure-openai")
    assert body["message"] == body["error"]["message"] == message
    assert (body["error"]["code"], body["error"]["type"]) == (code, kind)
    assert (body["status"], body["provider"], body["success"]) == ("failure", "azure-openai", False)
    assert "param" in body["error"]


def test_content_filter_details_are_kept():
    error = normalise_error(orjson.dumps({"error": FILTERED}), 400, None)["error"]
    assert error["innererror"] == FILTERED["innererror"]
    assert error["type"] == "invalid_request_error"  # null says nothing


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the upstream answered 502 with an empty body"),
        (b"  \n", "the upstream answered 502 with an empty body"),
        (b"upstream down", "the upstream answered 502 with no JSON: upstream down"),
        (
            b"<html><head><title>Bad</title><style>a{}</style></head><body><h1>Bad</h1> gateway</body></html>",
            "the upstream answered 502 with no JSON: Bad Bad gateway",
        ),
        (b"<script>alert(1)</script>", "the upstream answered 502"),
        (b"\xff\xfe", "the upstream answered 502 with no JSON: \ufffd\ufffd"),
    ],
)
def test_what_is_no_json_is_quoted_as_text(body, said):
    assert normalise_error(body, 502, None)["message"] == said


@pytest.mark.parametrize("page", [b"<" * 200_000, b"<script" * 30_000, b"<script>" * 30_000, b"<a" * 100_000])
def test_a_page_of_nothing_but_tags_says_nothing(page):
    assert normalise_error(page, 500, None)["message"] == "the upstream answered 500"


@given(st.binary(max_size=200), st.integers(400, 599))
def test_any_bytes_give_the_universal_body(body, status):
    found = normalise_error(body, status, None)
    assert found["message"] == found["error"]["message"] != ""
    assert {"type", "param", "code"} <= set(found["error"])
    orjson.dumps(found)
