"""Upstreams that fail in every way: the client gets its own clear error, and a whole one."""

import gzip
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from emulators.steps import (
    Empty,
    EndEarly,
    ErrorMidStream,
    Hang,
    Html,
    HugeBody,
    InvalidJson,
    Reply,
    Reset,
    ResetMidStream,
    Slow,
    SplitEverywhere,
    throttled,
)
from tests.e2e.conftest import azure_key

HELLO: Any = [{"role": "user", "content": "Say this is a test"}]
TEXT = "You said: Say this is a test"


@pytest.fixture
def ask(gateway, azure_slug) -> Iterator[Callable[..., httpx.Response]]:
    """A chat request; its answer, read to the end."""
    headers = {"x-portkey-api-key": gateway.key, "x-portkey-virtual-key": azure_slug}
    with httpx.Client(base_url=gateway.url, headers=headers, timeout=60) as client:

        def run(*, headers: Any = None, stream: bool = False, **more: Any) -> httpx.Response:
            body = {"model": "gpt4", "messages": HELLO, **({"stream": True} if stream else {}), **more}
            return client.post("/v1/chat/completions", json=body, headers=headers)

        yield run


@pytest.fixture
def client(gateway, azure_slug) -> Iterator[OpenAI]:
    with OpenAI(
        api_key=gateway.key,
        base_url=f"{gateway.url}/v1",
        default_headers={"x-portkey-virtual-key": azure_slug},
        max_retries=0,
    ) as client:
        yield client


def check_error(answer: httpx.Response, status: int, code: str) -> str:
    """The universal body with the headers of every response; its message."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-portkey-trace-id"]
    assert answer.headers["x-portkey-retry-attempt-count"]
    assert body["error"]["code"] == code
    assert body["message"] == body["error"]["message"] != ""
    assert (body["status"], body["success"]) == ("failure", False)
    return str(body["message"])


BROKEN = {
    "reset before the answer": (Reset(), 502, "upstream_broken"),
    "closed before the answer": (Reset(orderly=True), 502, "upstream_broken"),
    "reset in the body": (ResetMidStream(), 502, "upstream_broken"),
    "closed in the body": (ResetMidStream(orderly=True), 502, "upstream_broken"),
    "a page with status 200": (Html(200), 502, "upstream_html"),
    "no body": (Empty(), 502, "upstream_empty"),
    "half a JSON": (InvalidJson(), 502, "upstream_invalid_json"),
    "a redirect": (Reply(302, {"location": "http://169.254.169.254/"}), 502, "upstream_broken"),
    "a redirect for ever": (Reply(308, {"location": "/openai"}), 502, "upstream_broken"),
    "gzip that is none": (
        Reply(200, {"content-encoding": "gzip", "content-type": "application/json"}, b"{}"),
        502,
        "upstream_invalid_encoding",
    ),
    "JSON in no known encoding": (
        Reply(200, {"content-encoding": "br", "content-type": "application/json"}, b"\x0b\x02\x80{}\x03"),
        502,
        "upstream_invalid_json",
    ),
}


@pytest.mark.parametrize(("step", "status", "code"), BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("stream", [False, True])
def test_a_broken_answer_is_an_error_of_its_own(ask, upstream, step, status, code, stream):
    if stream and isinstance(step, ResetMidStream):
        pytest.skip("a stream that breaks in its middle has its own tests")
    upstream.app.script("chat", [step])
    check_error(ask(stream=stream), status, code)
    assert len(upstream.app.requests) == 1


STATUSES = {
    "a page": (Html(502), 502, "502 Bad Gateway"),
    "a page with 503": (Html(503), 503, "503 Error"),
    "nothing": (Empty(500), 500, "empty body"),
    "half a JSON": (InvalidJson(500), 500, "chatcmpl-1"),
    "text": (Reply(429, {"content-type": "text/plain"}, "slow down"), 429, "slow down"),
    "API Management's": (Reply(401, {}, {"statusCode": 401, "message": "no subscription"}), 401, "no sub"),
    "an error that is a text": (Reply(403, {}, {"error": "forbidden here"}), 403, "forbidden here"),
    "a bare array": (Reply(500, {}, [1, 2]), 500, "[1,2]"),
    "null": (Reply(500, {}, b"null"), 500, "null"),
    "an error object without a message": (Reply(500, {}, {"error": {"code": 7}}), 500, "gave no message"),
}


@pytest.mark.parametrize(("step", "status", "said"), STATUSES.values(), ids=STATUSES)
def test_an_error_status_stays_and_its_text_is_quoted(ask, upstream, step, status, said):
    upstream.app.script("chat", [step])
    answer = ask()
    assert answer.status_code == status
    body = answer.json()
    assert said in body["message"]
    assert body["message"] == body["error"]["message"]
    assert body["provider"] == "azure-openai"
    assert "<" not in body["message"]


def test_a_refused_connection_is_a_503(gateway, ask):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets it, nobody answers
        port = taken.getsockname()[1]
        answer = httpx.post(
            f"{gateway.url}/v1/chat/completions",
            headers={
                "x-portkey-api-key": gateway.key,
                "x-portkey-provider": "azure-openai",
                "x-portkey-custom-host": f"http://127.0.0.1:{port}",
                "x-portkey-azure-api-version": "v1",
                "api-key": "k" * 16,
            },
            json={"model": "chat", "messages": HELLO},
        )
    assert answer.status_code == 400  # not a trusted host: nothing is connected to at all
    assert answer.json()["error"]["code"] == "invalid_custom_host"


def test_an_upstream_that_is_down_is_a_503(start_gateway):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{taken.getsockname()[1]}"
        gateway = start_gateway(GATEWAY_TRUSTED_HOSTS=host)
        answer = httpx.post(
            f"{gateway.url}/v1/chat/completions",
            headers={
                "x-portkey-api-key": gateway.key,
                "x-portkey-provider": "azure-openai",
                "x-portkey-custom-host": f"http://{host}",
                "x-portkey-azure-api-version": "v1",
                "api-key": "k" * 16,
            },
            json={"model": "chat", "messages": HELLO},
        )
    message = check_error(answer, 503, "upstream_unreachable")
    assert host not in message


@pytest.mark.parametrize("stream", [False, True])
def test_a_time_out_of_the_request_is_a_408_that_names_it(ask, upstream, stream):
    upstream.app.script("chat", [Hang()])
    answer = ask(headers={"x-portkey-request-timeout": "150"}, stream=stream)
    message = check_error(answer, 408, "upstream_timeout")
    assert message == "Request exceeded the timeout sent in the request: 150ms"
    assert upstream.app.log.wait_until(lambda entries: entries[-1].client_left)


def test_a_huge_error_body_is_cut_and_its_connection_dropped(ask, upstream):
    upstream.app.script("chat", [HugeBody(8, 500)])
    answer = ask()
    assert answer.status_code == 500
    assert len(answer.content) < 10_000


def test_a_large_answer_passes_whole(ask, upstream):
    upstream.app.script("chat", [HugeBody(8)])
    assert len(ask().json()["padding"]) == 8 * 2**20


def test_gzip_that_nobody_asked_for_is_unpacked(ask, upstream):
    packed = gzip.compress(json.dumps({"id": "x", "choices": []}).encode())
    upstream.app.script(
        "chat", [Reply(200, {"content-encoding": "gzip", "content-type": "application/json"}, packed)]
    )
    answer = ask(headers={"accept-encoding": "identity"})
    assert answer.json() == {"id": "x", "choices": []}
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("status", [400, 500])
def test_a_gzipped_error_is_unpacked(ask, upstream, status):
    packed = gzip.compress(json.dumps({"error": {"code": "x", "message": "told so"}}).encode())
    upstream.app.script(
        "chat", [Reply(status, {"content-encoding": "gzip", "content-type": "application/json"}, packed)]
    )
    answer = ask(headers={"accept-encoding": "identity"})
    assert (answer.status_code, answer.json()["message"]) == (status, "told so")


def test_a_gzipped_stream_arrives_as_events(ask, upstream):
    events = b'data: {"choices":[]}\n\ndata: [DONE]\n\n'
    headers = {"content-encoding": "gzip", "content-type": "text/event-stream"}
    upstream.app.script("chat", [Reply(200, headers, gzip.compress(events))])
    assert ask(stream=True).content == events  # httpx unpacks what still says that it is packed


def test_headers_that_mean_something_pass_and_the_hop_by_hop_do_not(ask, upstream):
    upstream.app.script(
        "chat",
        [
            Reply(
                429,
                {
                    "retry-after": "3",
                    "retry-after-ms": "3000",
                    "x-ratelimit-remaining-tokens": "0",
                    "set-cookie": "a=b",
                    "x-portkey-trace-id": "forged",
                    "x-should-retry": "true",
                },
                {"error": {"code": "429", "message": "slow"}},
            )
        ],
    )
    headers = ask(headers={"x-portkey-trace-id": "mine"}).headers
    assert headers["retry-after"] == "3"
    assert headers["x-ratelimit-remaining-tokens"] == "0"
    assert headers["apim-request-id"]
    assert headers["x-portkey-trace-id"] == "mine"
    assert "set-cookie" not in headers
    assert "x-should-retry" not in headers


def test_spent_retries_tell_the_client_not_to_retry(ask, upstream):
    upstream.app.script("chat", [throttled(0), throttled(0)])
    config = {"retry": {"attempts": 1, "on_status_codes": [429]}}
    answer = ask(headers={"x-portkey-config": json.dumps(config)})
    assert answer.status_code == 429
    assert answer.headers["x-portkey-retry-attempt-count"] == "-1"
    assert answer.headers["x-should-retry"] == "false"
    assert len(upstream.app.requests) == 2


# --- streams


def test_a_reset_in_mid_stream_raises_in_the_client(client, upstream):
    upstream.app.script("chat", [ResetMidStream(after_events=3)])
    with pytest.raises(openai.APIError, match="broke off in mid-stream"):
        list(client.chat.completions.create(model="gpt4", messages=HELLO, stream=True))


def test_a_reset_in_mid_stream_is_an_error_event_after_whole_events(ask, upstream):
    upstream.app.script("chat", [ResetMidStream(after_events=3)])
    answer = ask(stream=True)
    *events, last = answer.content.rstrip(b"\n").split(b"\n\n")
    assert len(events) == 3
    assert last.startswith(b"event: error\ndata: ")
    told = json.loads(last.removeprefix(b"event: error\ndata: "))
    assert told["error"]["code"] == "upstream_broken"
    assert told["message"] == told["error"]["message"]


def test_an_error_event_of_the_upstream_passes_as_it_is(client, upstream):
    upstream.app.script("chat", [ErrorMidStream(after_events=3)])
    with pytest.raises(openai.APIError, match="had an error processing"):
        list(client.chat.completions.create(model="gpt4", messages=HELLO, stream=True))


def test_a_stream_that_ends_early_stays_well_formed(ask, upstream):
    upstream.app.script("chat", [EndEarly(after_events=3)])
    content = ask(stream=True).content
    assert content.count(b"data: ") == 3
    assert content.endswith(b"\n\n")


@pytest.mark.parametrize("asked", [True, False])
def test_a_stream_cut_everywhere_gives_the_very_same_bytes(ask, upstream, asked):
    more = {"stream_options": {"include_usage": True}} if asked else {}
    whole = ask(stream=True, **more).content
    for sizes in ((1,), (2, 3), (5, 7, 11), (64, 1)):
        upstream.app.script("chat", [SplitEverywhere(sizes)])
        assert _same(ask(stream=True, **more).content) == _same(whole)
    assert (b'"usage":{' in whole) == asked


def test_a_late_first_byte_is_waited_for(ask, upstream):
    upstream.app.script("chat", [Slow(first_byte_s=0.3)])
    assert ask(stream=True).content.endswith(b"data: [DONE]\n\n")


def test_a_broken_stream_of_bytes_is_no_whole_answer(client, upstream):
    upstream.app.script("voice", [ResetMidStream()])
    with pytest.raises(openai.APIConnectionError):
        client.audio.speech.create(model="voice", voice="alloy", input="hello " * 200)


# --- clients that leave


@pytest.mark.parametrize(
    ("step", "stream"),
    [(Hang(), False), (Hang(), True), (Slow(between_chunks_s=0.05), True)],
    ids=["before a whole answer", "before a stream", "during a stream"],
)
def test_a_client_that_leaves_ends_the_upstream_request(gateway, azure_slug, upstream, step, stream):
    upstream.app.script("chat", [step])
    body = {"model": "gpt4", "messages": HELLO, "stream": stream}
    headers = {"x-portkey-api-key": gateway.key, "x-portkey-virtual-key": azure_slug}
    with httpx.Client(base_url=gateway.url, headers=headers) as http:
        if isinstance(step, Hang):
            with pytest.raises(httpx.ReadTimeout):
                http.post("/v1/chat/completions", json=body, timeout=0.4)
        else:
            with http.stream("POST", "/v1/chat/completions", json=body) as answer:
                next(answer.iter_raw())
    assert upstream.app.log.wait_until(lambda entries: bool(entries) and entries[-1].client_left)


def _same(content: bytes) -> list[bytes]:
    """Events without what differs from answer to answer."""
    found = []
    for event in content.split(b"\n\n"):
        if event.startswith(b"data: {"):
            value = json.loads(event.removeprefix(b"data: "))
            event = json.dumps({k: v for k, v in value.items() if k not in ("id", "created")}).encode()
        found.append(event)
    return found


def test_an_azure_resource_that_takes_no_keys_says_so(ask, upstream):
    upstream.app.local_auth = False
    try:
        answer = ask()
    finally:
        upstream.app.local_auth = True
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "AuthenticationTypeDisabled"


def test_a_wrong_key_is_caught_at_creation_when_validation_is_asked_for(gateway, upstream):
    answer = httpx.post(
        f"{gateway.url}/v1/virtual-keys",
        headers={"x-portkey-api-key": gateway.key},
        json=azure_key(upstream, key="wrong-key-0123456789", validate=True),
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "key"
    assert "wrong-key" not in answer.text


@pytest.mark.parametrize("version", ["2024-10-21", "v1"])
def test_a_deployment_that_is_not_there_is_caught_too(gateway, upstream, version):
    def create(**deployment):
        wanted = azure_key(upstream, deploymentConfig=[{"apiVersion": version, **deployment}], validate=True)
        headers = {"x-portkey-api-key": gateway.key}
        return httpx.post(f"{gateway.url}/v1/virtual-keys", headers=headers, json=wanted)

    answer = create(deploymentName="elsewhere")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "deployment_name")
    for name in ("chat", "pictures"):  # a model that does not chat is there all the same
        assert create(deploymentName=name).status_code == 200


def test_several_deployments_without_a_default_can_be_validated(gateway, upstream):
    items = [{"apiVersion": "2024-10-21", "deploymentName": name} for name in ("chat", "chat-two")]
    wanted = azure_key(upstream, deploymentConfig=items, validate=True)
    headers = {"x-portkey-api-key": gateway.key}
    assert httpx.post(f"{gateway.url}/v1/virtual-keys", headers=headers, json=wanted).status_code == 200
