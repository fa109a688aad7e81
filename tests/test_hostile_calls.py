"""What hostile clients and odd upstreams put into one call, the gateway in this process."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest

from tests.support.asgi import Exchange
from tests.support.local import ADMIN_KEY, Local, chat_answer, chat_body, local_gateway

KEY = "azure-key-0123456789abcdef"
CHAT = "/v1/chat/completions"
DIRECT = {
    "x-portkey-provider": "azure-openai",
    "x-portkey-azure-resource-name": "res",
    "x-portkey-azure-deployment-id": "dep",
    "x-portkey-azure-api-version": "2024-10-21",
    "api-key": KEY,
}


@pytest.fixture
def azure(local):
    return local.answer_by(lambda request: httpx.Response(200, json=chat_answer()))


async def ask(local: Local, *, headers: Any = (), json: Any = None, **options: Any) -> Exchange:
    more = headers.items() if isinstance(headers, dict) else headers
    if json is None and "body" not in options:
        json = chat_body()
    return await local.client.request("POST", CHAT, headers=[*DIRECT.items(), *more], json=json, **options)


# --- what comes back


@pytest.mark.parametrize("status", [600, 999])
async def test_a_status_that_is_none_is_a_502(local, status):
    local.answer_by(lambda request: httpx.Response(status, json={}))
    answer = await ask(local)
    assert (answer.status, answer.json()["error"]["code"]) == (502, "upstream_broken")
    assert local.records.only.attempts[0].status == status


@pytest.mark.parametrize("body", [b"[]", b"null"])
async def test_an_answer_that_is_no_object_is_a_502(local, body):
    local.answer_by(
        lambda request: httpx.Response(200, headers={"content-type": "application/json"}, content=body)
    )
    answer = await ask(local)
    assert (answer.status, answer.json()["error"]["code"]) == (502, "upstream_invalid_json")


async def test_headers_for_the_next_hop_alone_end_here(local):
    hop = {"connection": "keep-alive, X-Hop", "x-hop": "1", "x-a": "2"}
    local.answer_by(lambda request: httpx.Response(200, headers=hop, json=chat_answer()))
    answer = await ask(local)
    assert answer.headers["x-a"] == "2"
    assert not {"connection", "x-hop"} & answer.headers.keys()


# --- what goes upstream

OURS = {
    "x-portkey-trace-id": "t",
    "x-portkey-metadata": '{"a": "b"}',
    "x-functions-key": "function-key-0123456789",
    "x-ms-invocation-id": "1",
    "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
    "cookie": "session=1",
    "connection": "keep-alive, x-secret-hop",
    "proxy-authorization": "Basic eA==",
    "te": "trailers",
    "upgrade": "h2c",
    "x-forwarded-for": "10.0.0.1",
    "x-stainless-lang": "python",
}


@pytest.mark.parametrize("forward", [None, ", ".join(OURS), json.dumps(list(OURS))])
async def test_nothing_of_the_gateways_own_goes_upstream(local, azure, forward):
    headers = {**OURS, "authorization": f"Bearer {ADMIN_KEY}"}
    if forward is not None:
        headers["x-portkey-forward-headers"] = forward
    answer = await local.client.request(
        "POST", f"{CHAT}?code=function-key-0123456789&x=1", headers={**DIRECT, **headers}, json=chat_body()
    )
    assert answer.status == 200, answer.body
    names = set(azure[0].headers)
    assert not [name for name in names if name.startswith("x-portkey-")]
    kept = {"x-forwarded-for", "x-stainless-lang"} if forward else set()
    assert names & set(OURS) == kept
    everything = str(azure[0].url) + str(azure[0].headers.raw)
    assert ADMIN_KEY not in everything
    assert "function-key" not in everything
    assert azure[0].url.params == httpx.QueryParams({"x": "1", "api-version": "2024-10-21"})


@pytest.mark.parametrize("value", [ADMIN_KEY, f"Bearer {ADMIN_KEY}", f"key={ADMIN_KEY};"])
async def test_the_callers_key_is_not_forwarded_under_another_name(local, azure, value):
    await ask(local, headers={"x-custom": value, "x-portkey-forward-headers": "x-custom"})
    assert ADMIN_KEY not in str(azure[0].headers.raw)


async def test_headers_are_forwarded_by_any_spelling(local, azure):
    headers = [
        ("x-portkey-forward-headers", "CustomHeader,x_my_header, Another-One"),
        ("-custom-header", "1"),
        ("x-my-header", "2"),
        ("another_one", "3"),
        ("unasked", "4"),
    ]
    await ask(local, headers=headers)
    sent = azure[0].headers
    assert (sent["custom-header"], sent["x-my-header"], sent["another-one"]) == ("1", "2", "3")
    assert "unasked" not in sent


async def test_forward_headers_must_not_name_themselves(local, azure):
    answer = await ask(local, headers={"x-portkey-forward-headers": "x-portkey-forward-headers"})
    assert answer.status == 400
    assert azure == []


# --- bytes that are no text

ODD_HEADERS = ["accept", "idempotency-key", "x-portkey-openai-beta", "x-custom", "api-key", "authorization"]


@pytest.mark.parametrize("name", ODD_HEADERS)
@pytest.mark.parametrize("value", ["caf\u00e9", "\u00ff\u00fe", "a\tb"])
async def test_odd_bytes_in_a_clients_header_are_no_bug_of_ours(local, azure, name, value):
    headers = {**DIRECT, name: value, "x-portkey-forward-headers": "x-custom"}
    answer = await local.client.request("POST", CHAT, headers=headers, json=chat_body())
    assert answer.status in (200, 400), answer.body
    assert answer.json()
    assert answer.headers["x-portkey-trace-id"]


@pytest.mark.parametrize("raw", ["caf\u00e9".encode(), "\u65e5\u672c".encode(), b"\xff\xfe", b"a\tb"])
async def test_odd_bytes_in_an_upstreams_header_pass_as_they_are(local, raw):
    headers = [(b"x-odd", raw), (b"content-type", b"application/json")]
    local.answer_by(lambda request: httpx.Response(200, headers=headers, content=orjson.dumps(chat_answer())))
    answer = await ask(local)
    assert answer.status == 200, answer.body
    assert dict(answer.raw_headers)[b"x-odd"] == raw


async def test_odd_bytes_in_an_upstreams_content_type(local):
    headers = [(b"content-type", b"audio/\xe6\x97\xa5")]
    local.answer_by(lambda request: httpx.Response(200, headers=headers, content=b"sound"))
    answer = await ask(local)
    assert (answer.status, answer.body) == (200, b"sound")


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "\u65e5", "%0d%0ax-evil:1", "a" * 5000])
async def test_a_trace_id_comes_back_safe(local, azure, value):
    value = value.encode().decode("latin-1")
    answer = await ask(local, headers={"x-portkey-trace-id": value, "x-portkey-metadata": value})
    back = answer.headers["x-portkey-trace-id"]
    assert 0 < len(back) <= 256
    assert back.isascii()
    assert back.isprintable()


# --- bodies


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize("depth", [100, 300, 900, 1000, 1020, 5000, 100_000])
@pytest.mark.parametrize("model", ["gpt-4o", "@slug/chat"])
async def test_a_deep_body_is_passed_on_or_refused(local, azure, depth, model):
    await local.create_key(slug="slug", deploymentName="chat", apiVersion="v1")
    body = f'{{"model": "{model}", "messages": {nested(depth)}}}'.encode()
    answer = await local.client.request(
        "POST",
        CHAT,
        headers={"x-portkey-virtual-key": "slug", "content-type": "application/json"},
        body=body,
    )
    assert answer.status in (200, 400), answer.body
    if depth <= 300:
        assert answer.status == 200


@pytest.mark.parametrize("depth", [10, 900, 1000, 1020, 5000])
@pytest.mark.parametrize("header", ["x-portkey-metadata", "x-portkey-config"])
async def test_a_deep_header_is_read_or_refused(local, azure, header, depth):
    answer = await ask(local, headers={header: '{"a": ' + nested(depth) + "}"})
    assert answer.status in (200, 400), answer.body


BODIES = {
    "no JSON": b"{",
    "empty": b"",
    "blank": b"  ",
    "an array": b"[]",
    "a text": b'"a"',
    "null": b"null",
    "NaN": b'{"temperature": NaN}',
    "no UTF-8": b'{"a": "\xff"}',
    "UTF-16": '{"messages": [], "stream": true}'.encode("utf-16"),
    "a model that is no text": b'{"model": 7}',
    "a model that is an object": b'{"model": {}}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_a_bad_body_is_a_400(local, azure, body):
    answer = await ask(local, headers={"content-type": "application/json"}, body=body)
    assert answer.status == 400, answer.body
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert azure == []


GOOD = {
    "lone surrogate": b'{"messages": [{"role": "user", "content": "\\ud83d"}]}',
    "big integer": b'{"messages": [], "seed": 123456789012345678901234567890}',
    "long fraction": b'{"messages": [], "temperature": 0.10000000000000000000001}',
    "duplicate keys": b'{"messages": [], "user": "a", "user": "b"}',
    "odd spacing": b' \n{ "messages" : [ ] }\t',
    "byte order mark": b'\xef\xbb\xbf{"messages": []}',
    "unknown parameters": b'{"messages": [], "data_sources": [{"type": "azure_search"}], "x": null}',
}


@pytest.mark.parametrize("body", GOOD.values(), ids=GOOD)
async def test_a_body_that_needs_no_change_goes_as_its_very_bytes(local, azure, body):
    answer = await ask(local, headers={"content-type": "application/json"}, body=body)
    assert answer.status == 200, answer.body
    assert azure[0].content == body


async def test_a_lone_surrogate_survives_a_change_of_the_model(local, azure):
    await local.create_key(slug="slug", deploymentName="chat", apiVersion="v1")
    body = GOOD["lone surrogate"].replace(b"{", b'{"model": "@slug/x", ', 1)
    answer = await local.client.request("POST", CHAT, headers={"content-type": "application/json"}, body=body)
    assert answer.status == 200, answer.body
    wanted = json.loads(body) | {"model": "chat"}
    assert json.loads(azure[0].content) == wanted


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/octet-stream",
    ],
)
async def test_a_content_type_that_is_not_jsons_is_a_415(local, azure, kind):
    answer = await ask(local, headers={"content-type": kind}, body=b'{"messages": []}')
    assert answer.status == 415, answer.body
    assert azure == []


@pytest.mark.parametrize(
    "kind", ["application/json", "application/json; charset=utf-8", "Application/JSON", ""]
)
async def test_jsons_content_types(local, azure, kind):
    headers = {"content-type": kind} if kind else {}
    answer = await ask(local, headers=headers, body=b'{"messages": []}')
    assert answer.status == 200, answer.body
    assert azure[0].headers["content-type"] == (kind or "application/json")


@pytest.mark.parametrize(
    "kind", ["application/json", "multipart/form-data", "multipart/form-data; boundary="]
)
async def test_a_form_that_is_none_is_refused(local, azure, kind):
    answer = await local.client.request(
        "POST", "/v1/images/edits", headers={**DIRECT, "content-type": kind}, body=b"{}"
    )
    assert answer.status in (400, 415), answer.body
    assert azure == []


# --- sizes


async def test_a_body_over_the_limit_is_a_413(tmp_path):
    async with local_gateway(tmp_path, max_body_mb=1) as local:
        azure = local.answer_by(lambda request: httpx.Response(200, json=chat_answer()))
        big = b'{"messages": "' + b"x" * 2**20 + b'"}'
        said = {"content-type": "application/json", "content-length": str(len(big))}
        for headers, body in ((said, [big]), ({"content-type": "application/json"}, [big[:9], big[9:]])):
            answer = await ask(local, headers=headers, body=body)
            assert answer.status == 413
            assert "GATEWAY_MAX_BODY_MB" in answer.json()["message"]
        assert azure == []


@pytest.mark.parametrize("length", ["9" * 30, "-1", "abc", "\u00b2"])
async def test_an_odd_content_length_is_not_believed(local, azure, length):
    answer = await ask(
        local,
        headers={"content-length": length, "content-type": "application/json"},
        body=b'{"messages": []}',
    )
    assert answer.status in (200, 413), answer.body


# --- paths and verbs

PATHS = [
    ("GET", "/v1/nowhere", 404),
    ("POST", "/", 404),
    ("GET", "*", 404),
    ("OPTIONS", "*", 404),
    ("POST", "/v1/chat/completions/x/y/z", 400),
    ("PUT", CHAT, 405),
    ("DELETE", "/v1/embeddings", 405),
    ("GET", "/openai/deployments/d/embeddings", 405),
    ("PATCH", "/v1/virtual-keys", 405),
    ("POST", "/v1/virtual-keys/%00", 405),
    ("GET", "/v1/virtual-keys/%00", 404),
    ("GET", "/v1/virtual-keys/..%2f..", 404),
    ("GET", "/v1/virtual-keys/" + "a" * 3000, 404),
    ("GET", "//", 200),
    ("GET", "/v1", 200),
    ("GET", "/v1//", 200),
    ("GET", "/\u00e9", 404),
    ("GET", "", 200),
]


@pytest.mark.parametrize(("method", "path", "status"), PATHS)
async def test_paths_and_verbs(local, method, path, status):
    answer = await local.client.request(method, path)
    assert answer.error is None
    assert answer.status == status, answer.body
    assert answer.json()
    assert answer.headers["x-portkey-trace-id"]
    if status == 405:
        assert answer.headers["allow"]


async def test_head_has_the_headers_of_get_and_no_body(local):
    for path in ("/v1/models", "/v1/virtual-keys", "/"):
        answer = await local.client.request("HEAD", path)
        assert (answer.status, answer.body) == (200, b"")
        assert int(answer.headers["content-length"]) > 0


async def test_paths_do_not_climb_out_of_the_upstreams_base(local, azure):
    for path in ("/v1/files/../../secret", "/v1/files/%2e%2e/%2e%2e/secret", "/v1/files/..%2f..%2fsecret"):
        answer = await local.client.request("GET", path, headers=DIRECT)
        assert answer.status in (200, 400, 404), answer.body
    for request in azure:
        assert request.url.raw_path.startswith(b"/openai/files/"), request.url


# --- streams


class Upstream(httpx.AsyncByteStream):
    """A stream whose pieces the test lets go; ends, or breaks with `error`."""

    def __init__(self, *pieces: Any) -> None:
        self.pieces = pieces
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            if isinstance(piece, asyncio.Event):
                await piece.wait()
            elif isinstance(piece, BaseException):
                raise piece
            elif callable(piece):
                piece()
            else:
                yield piece

    async def aclose(self) -> None:
        self.closed = True

    def close(self) -> None:
        self.closed = True


def stream_of(local: Local, *pieces: Any, **headers: str) -> Upstream:
    body = Upstream(*pieces)
    kind = {"content-type": "text/event-stream", **headers}
    local.answer_by(lambda request: httpx.Response(200, headers=kind, stream=body))
    return body


ONE = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
DONE = b"data: [DONE]\n\n"


async def test_a_quiet_stream_is_kept_alive_by_comments_between_events(tmp_path):
    async with local_gateway(tmp_path, ping_seconds=0.01) as local:
        go = asyncio.Event()
        stream_of(local, ONE[:9], ONE[9:], go, DONE)

        def three_pings(exchange: Exchange) -> bool:
            if exchange.chunks.count(b": ping\n\n") >= 3:
                go.set()
            return False

        answer = await ask(local, json=chat_body(stream=True), leave_when=three_pings)
        assert answer.chunks[0] == ONE
        assert answer.chunks[-1] == DONE
        assert set(answer.chunks[1:-1]) == {b": ping\n\n"}
        assert answer.ended
        assert local.records.only.complete


async def test_a_stream_that_is_quiet_from_the_start_is_begun(tmp_path, monkeypatch):
    monkeypatch.setattr("gateway.pipeline.FIRST_EVENT", 0.01)
    async with local_gateway(tmp_path, ping_seconds=0.01) as local:
        go = asyncio.Event()
        stream_of(local, go, ONE, DONE)
        answer = await ask(
            local,
            json=chat_body(stream=True),
            leave_when=lambda exchange: go.set() if exchange.chunks else None,
        )
        assert answer.chunks[0] == b": ping\n\n"
        assert answer.body.endswith(ONE + DONE)


async def test_no_ping_is_written_into_bytes_that_are_no_events(tmp_path):
    async with local_gateway(tmp_path, ping_seconds=0.005) as local:
        go = asyncio.Event()
        packed = gzip.compress(ONE + DONE)
        stream_of(local, packed[:10], go, packed[10:], **{"content-encoding": "gzip"})
        asyncio.get_running_loop().call_later(0.05, go.set)
        answer = await ask(local, json=chat_body(stream=True))
        body = (
            gzip.decompress(answer.body) if answer.headers.get("content-encoding") == "gzip" else answer.body
        )
        assert body.replace(b": ping\n\n", b"") == ONE + DONE


CUTS = [ONE[:5], ONE[:-1], ONE, ONE + DONE[:4]]


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("head", CUTS, ids=len)
async def test_a_break_inside_an_event_leaves_whole_events_and_an_error(local, head, asked):
    body = stream_of(local, head, httpx.ReadError("reset"))
    more = {"stream_options": {"include_usage": True}} if asked else {}
    answer = await ask(local, json=chat_body(stream=True, **more))
    whole = ONE if head.startswith(ONE) else b""
    assert answer.body.startswith(whole + b"event: error\ndata: ")
    assert answer.body.endswith(b"}\n\n")
    assert answer.body.count(b"\n\n") == (2 if whole else 1)
    record = local.records.only
    assert (record.complete, record.error_class, record.status) == (False, "upstream_broken", 200)
    assert body.closed


async def test_a_stream_without_done_is_incomplete(local):
    stream_of(local, ONE)
    answer = await ask(local, json=chat_body(stream=True))
    assert (answer.body, answer.ended) == (ONE, True)
    assert local.records.only.error_class == "stream_cut_short"


@pytest.mark.parametrize(
    "done", [b"data: [DONE]", b"data: [DONE]\n", b"data:[DONE]\r\n\r\n", b"\n\ndata: [DONE]\n\n"]
)
async def test_every_spelling_of_done_counts_and_passes(local, done):
    stream_of(local, ONE, done)
    answer = await ask(local, json=chat_body(stream=True))
    assert answer.body == ONE + done
    assert local.records.only.complete


async def test_a_stream_of_bytes_that_breaks_is_cut(local):
    stream_of(local, b"sound", httpx.ReadError("reset"), **{"content-type": "audio/mpeg"})
    answer = await ask(local)
    assert isinstance(answer.error, ConnectionResetError)
    assert not answer.ended
    assert not local.records.only.complete


async def test_a_client_that_leaves_in_mid_stream_leaves_a_record(local):
    body = stream_of(local, ONE, asyncio.Event())
    answer = await ask(local, json=chat_body(stream=True), leave_when=lambda exchange: bool(exchange.chunks))
    record = local.records.only
    assert (record.complete, record.error_class) == (False, "client_left")
    assert body.closed
    assert answer.body == ONE


async def test_a_client_that_leaves_before_the_answer_cancels_the_upstream(local):
    left, cancelled = asyncio.Event(), asyncio.Event()

    async def never(request: httpx.Request) -> httpx.Response:
        left.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        raise AssertionError("unreachable")

    local.answer_by(never)
    answer = await ask(local, leave=left)
    assert cancelled.is_set()
    record = local.records.only
    assert (record.status, record.error_class, record.complete) == (499, "client_left", False)
    assert answer.status == 499


async def test_a_server_that_stops_cancels_the_stream_and_the_record_says_so(local):
    reached = asyncio.Event()
    stream_of(local, ONE, reached.set, asyncio.Event())
    task = asyncio.create_task(ask(local, json=chat_body(stream=True)))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert local.records.only.error_class == "cancelled"


# --- secrets


async def test_no_secret_shows_in_errors_and_reprs(local):
    seen = local.answer_by(lambda request: (_ for _ in ()).throw(RuntimeError(f"bug near {KEY}")))
    answer = await ask(local)
    assert answer.status == 500
    assert answer.headers["x-portkey-gateway-exception"] == "true"
    assert KEY not in answer.body.decode()
    assert len(seen) == 1
    for shown in (repr(local.records.only), repr(local.services.gateway.authenticator)):
        assert KEY not in shown
        assert ADMIN_KEY not in shown


ODD_URLS = {
    "a query of 70,000 characters": ("?x=" + "y" * 70_000, {}),
    "a query with odd bytes": ("?x=\x7f\u00e9", {}),
    "a version with a line end": ("", {"api_version": "2024-10-21\r\nx: y"}),
    "a version that adds to the query": ("", {"api_version": "2024-10-21&x=1"}),
    "a version in another script": ("", {"api_version": "\u0662\u0660"}),
}


@pytest.mark.parametrize(("query", "more"), ODD_URLS.values(), ids=ODD_URLS)
async def test_an_odd_url_is_no_bug_of_ours(local, azure, query, more):
    config = {
        "provider": "azure-openai",
        "api_key": KEY,
        "resource_name": "res",
        "deployment_id": "dep",
        "api_version": "2024-10-21",
        **more,
    }
    answer = await local.client.request(
        "POST", CHAT + query, headers={"x-portkey-config": json.dumps(config)}, json=chat_body()
    )
    assert answer.status in (200, 400), answer.body
    for request in azure:
        assert request.url.raw_path.startswith(b"/openai/deployments/dep/chat/completions?")
        assert request.url.raw_path.isascii()
        assert b"&x=1" not in request.url.raw_path
