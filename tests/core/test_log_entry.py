from base64 import b64encode
from typing import Any

import orjson
import pytest

from gateway.core.log_entry import Encoder, plain_entry, unpack
from gateway.core.log_view import list_row, log_object
from gateway.core.ports import LogEntry
from gateway.core.record import Attempt, Record, Usage
from gateway.core.redaction import Redaction

JSON = [(b"content-type", b"application/json")]


def record(**fields: Any) -> Record:
    base: dict[str, Any] = {
        "id": "r1",
        "trace_id": "t1",
        "created_at": 1_700_000_000.5,
        "method": "POST",
        "path": "/v1/chat/completions",
        "operation": "chat/completions",
        "request_headers": JSON,
        "response_headers": JSON,
        "status": 200,
    }
    return Record(**{**base, **fields})


def encode(record: Record, cents: float | None = 0.25, **options: Any) -> LogEntry:
    return Encoder(price=lambda record, body: cents, **options)(record)


def bodies(record: Record, **options: Any) -> dict[str, Any]:
    return unpack(encode(record, **options).bodies)


def test_a_record_becomes_a_flat_document_without_nulls() -> None:
    entry = encode(
        record(
            model="gpt4",
            response_model="gpt-4o-2024-08-06",
            metadata={"_user": "u1", "team": "a"},
            usage=Usage(1, 2, 3),
            attempts=[Attempt("config", status=200, duration_ms=5.0)],
            prompt_id="pp-1",
            request_body=b'{"user":"someone"}',
        )
    )
    doc = entry.doc
    assert (doc["model"], doc["asked_model"]) == ("gpt-4o-2024-08-06", "gpt4")
    assert (doc["prompt_tokens"], doc["completion_tokens"], doc["total_tokens"]) == (1, 2, 3)
    assert (doc["user"], doc["prompt"], doc["cost"]) == ("u1", "pp-1", 0.25)
    assert doc["attempts"] == [{"target": "config", "started_at": 0.0, "duration_ms": 5.0, "status": 200}]
    assert None not in doc.values()
    assert orjson.loads(orjson.dumps(doc)) == doc


def test_the_body_names_the_user_when_metadata_does_not() -> None:
    doc = encode(record(request_body=b'{"user":"someone"}')).doc
    assert (doc["user"], doc["metadata"]["_user"]) == ("someone", "someone")
    doc = encode(record(request_body=b'{"user":"someone"}', metadata={"_user": "other"})).doc
    assert (doc["user"], doc["metadata"]) == ("other", {"_user": "other"})


def test_an_unknown_price_is_flagged_and_never_zero() -> None:
    doc = encode(record(), cents=None).doc
    assert "cost" not in doc
    assert doc["price_unknown"] is True


def test_usage_is_read_from_the_answer_when_the_relay_told_none() -> None:
    answer = [b'{"usage":{"prompt_tokens":4,"completion_tokens":6,', b'"total_tokens":10}}']
    assert encode(record(response_body=answer)).doc["total_tokens"] == 10


@pytest.mark.parametrize("off", [{"keep_bodies": False}, {}])
def test_without_bodies_only_metrics_stay(off: dict[str, Any]) -> None:
    kept = record(request_body=b'{"user":"u"}', response_body=[b'{"model":"m"}'], keep_bodies=bool(off))
    entry = encode(kept, **off)
    assert (entry.bodies, entry.files, entry.doc["bodies"]) == (None, (), "none")
    assert entry.doc["model"] == "m"


def test_a_stream_is_stored_as_one_answer() -> None:
    first = {"index": 0, "delta": {"role": "assistant", "content": "Hel"}}
    second = {"index": 0, "delta": {"content": "lo"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    chunk = {"id": "c", "object": "chat.completion.chunk", "model": "gpt-4o"}
    events = [{**chunk, "choices": [first]}, {**chunk, "choices": [second]}, {"choices": [], "usage": usage}]
    stream = [b"data: " + orjson.dumps(event) + b"\n\n" for event in events] + [b"data: [DONE]\n\n"]
    headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
    entry = encode(record(stream=True, response_headers=headers, response_body=stream))
    answer = unpack(entry.bodies)["response"]["body"]
    assert answer["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
    ]
    assert answer["object"] == "chat.completion"
    assert entry.doc["total_tokens"] == 3


def test_a_stream_that_broke_off_counts_the_tokens_seen() -> None:
    events = [{"choices": [{"index": 0, "delta": {"content": "a"}}]}] * 7
    stream = [b"data: " + orjson.dumps(event) + b"\n\n" for event in events]
    headers = [(b"content-type", b"text/event-stream")]
    broken = record(stream=True, complete=False, response_headers=headers, response_body=stream)
    doc = encode(broken).doc
    assert (doc["completion_tokens"], doc["usage_estimated"], doc["complete"]) == (7, True, False)
    assert (
        "usage_estimated"
        not in encode(record(stream=True, response_headers=headers, response_body=stream)).doc
    )


def test_images_are_kept_apart() -> None:
    image = b"\x89PNG\r\n" + bytes(1000)
    text = b64encode(image).decode()
    entry = encode(
        record(
            request_body=orjson.dumps(
                {"messages": [{"content": [{"image_url": {"url": f"data:image/jpeg;base64,{text}"}}]}]}
            ),
            response_body=[orjson.dumps({"data": [{"b64_json": text}, {"b64_json": text}]})],
        )
    )
    assert [(f.name, f.media_type) for f in entry.files] == [
        ("request-0.jpg", "image/jpeg"),
        ("response-0.png", "image/png"),
        ("response-1.png", "image/png"),
    ]
    assert all(f.data == image for f in entry.files)
    kept = unpack(entry.bodies)
    assert kept["request"]["body"]["messages"][0]["content"][0]["image_url"]["url"] == "file:request-0.jpg"
    assert kept["response"]["body"]["data"] == [
        {"b64_json": "file:response-0.png"},
        {"b64_json": "file:response-1.png"},
    ]
    assert entry.doc["files"][1] == {"name": "response-0.png", "media_type": "image/png", "bytes": len(image)}


def test_a_sound_that_is_the_whole_answer_is_a_file() -> None:
    entry = encode(
        record(response_headers=[(b"Content-Type", b"audio/mpeg")], response_body=[b"ID3", b"\0\1"])
    )
    assert [(f.name, f.media_type, f.data) for f in entry.files] == [
        ("response-0.mp3", "audio/mpeg", b"ID3\0\1")
    ]


def test_a_form_is_stored_by_its_parts() -> None:
    form = (
        b'--B\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na cat\r\n'
        b'--B\r\nContent-Disposition: form-data; name="image"; filename="cat.png"\r\n'
        b"Content-Type: image/png\r\n\r\n\x89PNG\r\n\x00\r\n--B--\r\n"
    )
    headers = [(b"content-type", b"multipart/form-data; boundary=B")]
    assert bodies(record(request_headers=headers, request_body=form))["request"]["body"] == {
        "multipart": [
            {"name": "prompt", "value": "a cat"},
            {"name": "image", "filename": "cat.png", "content_type": "image/png", "bytes": 7},
        ]
    }


def test_credentials_are_masked_wherever_they_stand() -> None:
    key = "gw-" + "a" * 43
    secret = "sk-0123456789"
    headers = [
        (b"Authorization", f"Bearer {secret}".encode()),
        (b"x-portkey-api-key", key.encode()),
        (b"x-mine", b"hidden"),
        (b"x-portkey-config", b'{"targets":[{"api_key":"abc","provider":"openai"}]}'),
        *JSON,
    ]
    kept = record(
        request_headers=headers,
        sensitive_headers=frozenset({"x-mine"}),
        request_body=orjson.dumps({"text": f"my key is {key}"}),
        response_body=[orjson.dumps({"error": {"message": f"Incorrect API key provided: {secret}"}})],
        error_message=f"bad key {secret}",
    )
    entry = encode(kept)
    shown = orjson.dumps([unpack(entry.bodies), entry.doc]).decode()
    assert secret not in shown
    assert key not in shown
    assert "hidden" not in shown
    assert "abc" not in shown
    assert unpack(entry.bodies)["request"]["headers"]["x-portkey-config"] == (
        '{"targets":[{"api_key":"***","provider":"openai"}]}'
    )


def test_patterns_mask_bodies_streams_included() -> None:
    redact = Redaction.parse(r"\b\d{4}-\d{4}\b")
    stream = [
        b'data: {"choices":[{"index":0,"delta":{"content":"card 12"}}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"content":"34-5678"}}]}\n\n',
    ]
    kept = record(
        stream=True,
        response_headers=[(b"content-type", b"text/event-stream")],
        request_body=b'{"q":"1111-2222"}',
        response_body=stream,
    )
    found = bodies(kept, redaction=redact)
    assert found["request"]["body"] == {"q": "***"}
    assert found["response"]["body"]["choices"][0]["message"]["content"] == "card ***"


def test_a_pattern_that_breaks_the_json_leaves_masked_text() -> None:
    found = bodies(record(request_body=b'{"q":"secret"}'), redaction=Redaction.parse('secret"}'))
    assert found["request"]["body"] == '{"q":"***'


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        b"\xff\xfe",
        b"[" * 5000,
        b'{"a":' * 2000 + b"1" + b"}" * 2000,
        b"\0\1\2",
        b'"\\ud800"',
        b"NaN",
    ],
)
def test_hostile_bodies_leave_a_record(body: bytes) -> None:
    entry = encode(record(request_body=body, response_body=[body]))
    assert entry.doc["bodies"] == "kept"
    assert "body" in unpack(entry.bodies)["response"]


def test_hostile_streams_leave_a_record() -> None:
    for event in [
        b'{"choices":5}',
        b'{"choices":[5]}',
        b'{"choices":[{"index":-1}]}',
        b'{"choices":[{"delta":[]}]}',
        b'{"choices":[{"delta":{"tool_calls":[{"index":"x"}]}}]}',
        b'{"response":5}',
        b"[]",
        b'{"a":1},{"b":2}',
    ]:
        stream = [b"data: " + event + b"\n\n"] * 2
        kept = record(
            stream=True, response_headers=[(b"content-type", b"text/event-stream")], response_body=stream
        )
        assert encode(kept).doc["bodies"] == "kept"


def test_the_detail_has_portkeys_names() -> None:
    entry = encode(
        record(request_body=b'{"model":"m"}', response_body=[b'{"id":"x"}'], ttfb_ms=12.0, upstream_ms=10.0)
    )
    shown = log_object(entry)
    assert shown["_id"] == "r1"
    assert shown["created_at"] == "2023-11-14T22:13:20.500Z"
    assert shown["request"]["body"] == {"model": "m"}
    assert shown["response"]["body"] == {"id": "x"}
    assert shown["metrics"]["cost"] == 0.25
    assert shown["metrics"]["gateway_processing_time"] == 2.0
    assert shown["metrics"]["is_success"] is True


def test_a_bare_entry_shows_too() -> None:
    row = list_row(plain_entry(record(status=502, complete=False)).doc)
    assert row["metrics"]["is_success"] is False
    assert row["metrics"]["price_unknown"] is True


def test_images_are_kept_apart_however_small_and_wherever_they_stand() -> None:
    image = b64encode(b"tiny").decode()
    output = [{"type": "image_generation_call", "result": image}, {"type": "message", "result": "none"}]
    for answer, shown in [
        ({"data": [{"b64_json": image}]}, {"data": [{"b64_json": "file:response-0.png"}]}),
        ({"data": [{"b64_json": ""}]}, {"data": [{"b64_json": ""}]}),
        ({"output": output}, {"output": [{**output[0], "result": "file:response-0.png"}, output[1]]}),
    ]:
        entry = encode(record(response_body=[orjson.dumps(answer)]))
        assert unpack(entry.bodies)["response"]["body"] == shown
