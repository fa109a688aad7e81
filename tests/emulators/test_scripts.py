"""Scripted failures as a client sees them, and the log of what was received."""

import socket
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from emulators.azure_openai import AzureOpenAI
from emulators.base import ANY
from emulators.request_log import Received, RequestLog
from emulators.server import Server
from emulators.steps import (
    AsyncFilter,
    Empty,
    EndEarly,
    ErrorMidStream,
    Hang,
    Html,
    HugeBody,
    InvalidJson,
    Normal,
    Reply,
    Reset,
    ResetMidStream,
    Slow,
    SplitEverywhere,
    parse_step,
    throttled,
)

CHAT = "/openai/deployments/chat/chat/completions?api-version=2024-10-21"
BODY = {"messages": [{"role": "user", "content": "Grüße, 世界 🌍!"}]}
STREAM = {**BODY, "stream": True}


@pytest.fixture
def client(openai_emulator) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=openai_emulator.url, headers={"api-key": "right-key"}, timeout=20) as client:
        yield client


def test_steps_are_taken_in_turn_then_the_ordinary_answer_returns(openai_emulator, client):
    openai_emulator.app.script(
        "chat", [throttled(12), Normal(), Reply(503, {"X-Why": "test"}, {"error": "x"})]
    )
    answers = [client.post(CHAT, json=BODY) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [429, 200, 503, 200]
    assert answers[0].headers["retry-after"] == "12"
    assert answers[0].headers["retry-after-ms"] == "12000"
    assert "Please retry after 12 seconds" in answers[0].json()["error"]["message"]
    assert answers[2].headers["x-why"] == "test"


def test_throttling_without_a_time_names_its_policy(openai_emulator, client):
    openai_emulator.app.script("chat", [throttled()])
    answer = client.post(CHAT, json=BODY)
    assert "retry-after" not in answer.headers
    assert answer.headers["policy-id"] == "DeploymentRatelimit-Token"


def test_script_acts_on_its_deployment_alone(openai_emulator, client):
    openai_emulator.app.script("old-chat", [Reply(500)])
    assert client.post(CHAT, json=BODY).status_code == 200
    other = CHAT.replace("/chat/chat", "/old-chat/chat")
    assert client.post(other, json=BODY).status_code == 500


def test_script_for_any_request_can_stay_until_cleared(openai_emulator, client):
    openai_emulator.app.script(ANY, [Reply(503)], forever=True)
    assert [client.post(CHAT, json=BODY).status_code for _ in range(3)] == [503, 503, 503]
    openai_emulator.app.clear_scripts()
    assert client.post(CHAT, json=BODY).status_code == 200


@pytest.mark.parametrize("step", [Reset(), Reset(orderly=True)])
def test_reset_sends_not_a_byte(openai_emulator, client, step):
    openai_emulator.app.script("chat", [step])
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        client.post(CHAT, json=BODY)


def test_reset_is_a_tcp_reset(openai_emulator):
    openai_emulator.app.script("chat", [Reset()])
    with connect(openai_emulator) as connection, pytest.raises(ConnectionResetError):
        connection.recv(100)


def _collect(answer: httpx.Response, into: list[bytes]) -> None:
    for piece in answer.iter_raw():
        into.append(piece)  # noqa: PERF402  what came before the break counts


@pytest.mark.parametrize("orderly", [False, True])
def test_stream_breaks_after_the_named_events(openai_emulator, client, orderly):
    openai_emulator.app.script("chat", [ResetMidStream(after_events=2, orderly=orderly)])
    received: list[bytes] = []
    with (
        client.stream("POST", CHAT, json=STREAM) as answer,
        pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)),
    ):
        _collect(answer, received)
    if orderly:  # a reset may take with it what the client has not read yet
        assert b"".join(received).count(b"\n\n") == 2


def test_answer_in_one_piece_breaks_in_its_middle(openai_emulator, client):
    openai_emulator.app.script("chat", [ResetMidStream(orderly=True)])
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
        client.post(CHAT, json=BODY)


def test_stream_may_end_without_done(openai_emulator, client):
    openai_emulator.app.script("chat", [EndEarly(2)])
    text = client.post(CHAT, json=STREAM).text
    assert text.count("\n\n") == 2
    assert "[DONE]" not in text


def test_error_may_come_in_mid_stream(openai_emulator, client):
    openai_emulator.app.script("chat", [ErrorMidStream(1, message="broken")])
    text = client.post(CHAT, json=STREAM).text
    assert '"message":"broken"' in text.split("\n\n")[1]


def test_async_filter_annotates_after_the_end(openai_emulator, client):
    openai_emulator.app.script("chat", [AsyncFilter()])
    events = client.post(CHAT, json=STREAM).text.split("\n\n")
    assert "content_filter_offsets" in events[-3]
    assert '"finish_reason":"stop"' in events[-4]
    assert '"delta"' not in events[-3]


def test_split_everywhere_keeps_every_byte(openai_emulator, client):
    whole = client.post(CHAT, json=STREAM).content
    openai_emulator.app.script("chat", [SplitEverywhere()])
    with client.stream("POST", CHAT, json=STREAM) as answer:
        pieces = list(answer.iter_raw())
    assert b"".join(pieces) == whole
    assert len(pieces) > whole.count(b"\n\n")


@pytest.mark.parametrize(
    ("step", "status", "kind", "body"),
    [
        (Html(502), 502, "text/html", "502 Bad Gateway"),
        (Empty(200), 200, "application/json", ""),
        (InvalidJson(), 200, "application/json", '{"id"'),
        (Reply(500, {}, "plain"), 500, None, "plain"),
    ],
)
def test_bodies_that_are_no_answer(openai_emulator, client, step, status, kind, body):
    openai_emulator.app.script("chat", [step])
    answer = client.post(CHAT, json=BODY)
    assert (answer.status_code, answer.headers.get("content-type")) == (status, kind)
    assert body in answer.text
    assert body or answer.content == b""


def test_huge_body_has_its_size(openai_emulator, client):
    openai_emulator.app.script("chat", [HugeBody(megabytes=3)])
    assert len(client.post(CHAT, json=BODY).json()["padding"]) == 3 * 2**20


def test_slow_answer_arrives_complete(openai_emulator, client):
    openai_emulator.app.script("chat", [Slow(first_byte_s=0.01, between_chunks_s=0.001)])
    assert client.post(CHAT, json=STREAM).text.endswith("data: [DONE]\n\n")


def connect(openai_emulator, *, length: int = 2) -> socket.socket:
    """A connection on which a request to the chat deployment was sent, with two bytes of body."""
    connection = socket.create_connection(("127.0.0.1", int(openai_emulator.url.rpartition(":")[2])))
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\napi-key: right-key\r\ncontent-length: {length}\r\n\r\n{{}}"
    connection.sendall(head.encode())
    return connection


@pytest.mark.parametrize("step", [Hang(), Slow(first_byte_s=3600)])
def test_silence_ends_when_the_client_leaves(openai_emulator, step):
    log = openai_emulator.app.log
    openai_emulator.app.script("chat", [step])
    with connect(openai_emulator):
        assert log.wait_until(lambda entries: len(entries) == 1)
        assert openai_emulator.app.disconnects == 0
    assert log.wait_until(lambda entries: entries[0].client_left)
    assert openai_emulator.app.disconnects == 1


def test_client_that_leaves_while_sending_is_noted(openai_emulator):
    connect(openai_emulator, length=100).close()
    assert openai_emulator.app.log.wait_until(lambda entries: len(entries) == 1)
    assert openai_emulator.app.requests[0].client_left


def test_slow_stream_ends_when_the_client_leaves(openai_emulator, client):
    openai_emulator.app.script("chat", [Slow(between_chunks_s=3600)])
    with client.stream("POST", CHAT, json=STREAM) as answer:
        next(answer.iter_raw())
    assert openai_emulator.app.log.wait_until(lambda entries: entries[-1].client_left)


def test_complete_answers_count_no_disconnect(openai_emulator, client):
    client.post(CHAT, json=BODY)
    client.post(CHAT, json=STREAM)
    client.close()
    assert openai_emulator.app.disconnects == 0


def test_log_keeps_order_raw_path_duplicates_and_bytes(openai_emulator, client):
    headers = [("x-two", "1"), ("api-key", "right-key"), ("x-two", "2"), ("content-type", "application/json")]
    body = b'{ "messages" : [ {"role":"user","content":"x"} ] }'
    target = "/openai/deployments/ch%61t/chat/completions?api-version=2024-10-21&x=%20"
    client.request("POST", target, headers=headers, content=body)
    client.get("/nothing?a=1")
    first, second = openai_emulator.app.requests
    assert (first.method, first.target, first.path) == (
        "POST",
        target,
        target.partition("?")[0].replace("%61", "a"),
    )
    assert [value for name, value in first.headers if name == "x-two"] == ["1", "2"]
    assert first.body == body
    assert (second.number, second.target) == (2, "/nothing?a=1")


def test_log_is_bounded_by_bytes_and_count():
    log = RequestLog(keep=3, keep_bytes=100)
    for size in (10, 10, 10, 10, 95):
        log.add(Received("POST", "/", "/", [], b"x" * size))
    assert [len(entry.body) for entry in log.entries()] == [95]
    assert log.entries()[0].number == 5


def test_control_over_http(openai_emulator, client):
    steps = [{"kind": "reply", "status": 429, "headers": {"retry-after": "1"}, "body": {"error": 1}}]
    assert client.post("/emulator/script", json={"key": "chat", "steps": steps}).json()["steps"] == 1
    assert client.post(CHAT, json=BODY).status_code == 429
    listed = client.get("/emulator/requests").json()
    assert listed["total"] == 1
    assert listed["data"][0]["target"] == CHAT
    assert "Grüße" in listed["data"][0]["body"]
    client.post("/emulator/script", json={"key": "*", "steps": [{"kind": "reset"}], "forever": True})
    client.delete("/emulator/script")
    assert client.post(CHAT, json=BODY).status_code == 200
    client.delete("/emulator/requests")
    assert client.get("/emulator/requests").json()["data"] == []


@pytest.mark.parametrize("steps", [[{"kind": "nope"}], [{"kind": "hang", "colour": 1}], ["reset"]])
def test_wrong_scripts_are_refused_with_a_reason(openai_emulator, client, steps):
    answer = client.post("/emulator/script", json={"key": "chat", "steps": steps})
    assert answer.status_code == 400
    assert "step" in answer.json()["error"]["message"]


def test_every_kind_of_step_parses():
    assert parse_step({"kind": "reset_mid_stream", "after_events": 5}) == ResetMidStream(5)
    assert parse_step({"kind": "split_everywhere", "sizes": [1]}) == SplitEverywhere([1])


def test_server_fails_loudly_on_a_taken_port():
    with Server(AzureOpenAI()) as server, pytest.raises(OSError, match="in use"):
        Server(AzureOpenAI(), port=server.port)


def test_command_prints_its_url_first_and_serves():
    with subprocess.Popen([sys.executable, "-m", "emulators"], stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().strip()
            assert httpx.post(url + CHAT, json=BODY, headers={"api-key": "any"}).status_code == 200
        finally:
            process.terminate()
        assert process.wait(20) == 0
