"""What is read of a stream while it passes, wherever it is cut."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.record import Record
from gateway.core.tally import Tally

FIRST = b'data: {"id":"","choices":[],"prompt_filter_results":[{"prompt_index":0}]}\n\n'
WORD = 'data: {"model":"gpt-5.4","choices":[{"delta":{"content":"caf\u00e9 \U0001f600"}}],"usage":null}\n\n'.encode()
LAST_WITH_USAGE = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}\n\n'
USAGE = b'data: {"model":"gpt-5.4","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\n\n'
DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"


def record() -> Record:
    return Record("id", "trace", 0.0, "POST", "/v1/chat/completions")


def run(chunks: list[bytes], *, strip: bool) -> tuple[bytes, Record, bool]:
    kept = record()
    tally = Tally(kept, strip=strip)
    passed = b"".join(tally.feed(chunk) for chunk in chunks) + tally.rest()
    return passed, kept, tally.done


@pytest.mark.parametrize("strip", [True, False])
def test_usage_is_read_and_taken_out_only_where_nobody_asked(strip):
    events = [FIRST, WORD, USAGE, DONE]
    passed, kept, done = run(events, strip=strip)
    assert passed == b"".join(event for event in events if event is not USAGE or not strip)
    assert (kept.usage.prompt_tokens, kept.usage.completion_tokens, kept.usage.total_tokens) == (3, 2, 5)
    assert kept.response_model == "gpt-5.4"
    assert done


def test_usage_beside_a_choice_stays():
    passed, kept, _ = run([LAST_WITH_USAGE, DONE], strip=True)
    assert passed == LAST_WITH_USAGE + DONE
    assert kept.usage.prompt_tokens == 1


@pytest.mark.parametrize(
    "end",
    [DONE, b"data: [DONE]", b"data: [DONE]\n", b"data:[DONE]\n\n", b"data: [DONE]\r\n\r\n", b"\n\n" + DONE],
)
def test_the_end_is_known_in_every_spelling(end):
    passed, _, done = run([WORD, end], strip=True)
    assert done
    assert passed == WORD + end


def test_a_text_that_speaks_of_the_end_is_none():
    event = b'data: {"choices":[{"delta":{"content":"say [DONE]"}}]}\n\n'
    assert run([event], strip=True) == (event, run([event], strip=True)[1], False)


@pytest.mark.parametrize(
    "event",
    [b'data: {"usage": \n\n', b'data: "usage"\n\n', b'data: {"usage":7}\n\n', b'data: [{"usage":{}}]\n\n'],
)
def test_events_that_only_look_like_usage_pass(event):
    assert run([event, DONE], strip=True)[0] == event + DONE


def test_half_an_event_waits_for_its_end():
    tally = Tally(record(), strip=False)
    assert tally.feed(WORD[:20]) == b""
    assert tally.feed(WORD[20:] + FIRST[:5]) == WORD
    assert tally.rest() == FIRST[:5]


events = st.lists(st.sampled_from([FIRST, WORD, LAST_WITH_USAGE, USAGE, PING, DONE]), max_size=8)
ends = st.sampled_from([b"\n", b"\r\n", b"\r"])


@given(events, ends, st.booleans(), st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_any_cut_gives_the_client_the_same_bytes(stream, end, strip, sizes):
    stream = [event.replace(b"\n", end) for event in stream]
    whole = b"".join(stream)
    chunks, start = [], 0
    while start < len(whole):
        size = sizes[len(chunks) % len(sizes)]
        chunks.append(whole[start : start + size])
        start += size
    passed, kept, done = run(chunks, strip=strip)
    usage = USAGE.replace(b"\n", end)
    assert passed == b"".join(event for event in stream if event != usage or not strip)
    assert done == (DONE.replace(b"\n", end) in stream)
    if usage in stream and LAST_WITH_USAGE.replace(b"\n", end) not in stream:
        assert kept.usage.total_tokens == 5


@given(st.lists(st.binary(max_size=50), max_size=10))
def test_bytes_that_are_no_events_pass_unchanged(chunks):
    chunks = [chunk.replace(b'"usage"', b"") for chunk in chunks]
    assert run(chunks, strip=True)[0] == b"".join(chunks)


def test_json_of_the_samples_is_json():
    for event in (FIRST, WORD, LAST_WITH_USAGE, USAGE):
        assert json.loads(event.removeprefix(b"data: "))
