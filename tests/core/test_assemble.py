from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.assemble import assemble
from gateway.core.record import Usage


def stream(*events: Any, end: bytes = b"\n") -> bytes:
    lines = [b"data: " + orjson.dumps(event) + end + end for event in events]
    return b"".join(lines) + b"data: [DONE]" + end + end


def chunk(delta: dict[str, Any], index: int = 0, **fields: Any) -> dict[str, Any]:
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        "model": "gpt-4o",
        "choices": [{"index": index, "delta": delta, "finish_reason": None, **fields}],
    }


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_texts_are_joined_choice_by_choice(end: bytes) -> None:
    answer, usage, _ = assemble(
        stream(
            {"choices": [], "prompt_filter_results": [{"prompt_index": 0}]},
            chunk({"role": "assistant", "content": ""}),
            chunk({"content": "A"}),
            chunk({"content": "B"}, index=1),
            chunk({"content": "é"}, content_filter_results={"hate": {"filtered": False}}),
            chunk({}, finish_reason="stop"),
            {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}},
            end=end,
        ),
    )
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Aé"},
            "finish_reason": "stop",
            "content_filter_results": {"hate": {"filtered": False}},
        },
        {"index": 1, "message": {"content": "B"}},
    ]
    assert answer["object"] == "chat.completion"
    assert answer["prompt_filter_results"] == [{"prompt_index": 0}]
    assert usage == Usage(1, 2, 3)


def test_tool_calls_are_put_together() -> None:
    answer, *_ = assemble(
        stream(
            chunk(
                {
                    "tool_calls": [
                        {
                            "index": 0,
                            "id": "a",
                            "type": "function",
                            "function": {"name": "f", "arguments": ""},
                        }
                    ]
                }
            ),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"x"'}}]}),
            chunk({"tool_calls": [{"index": 1, "id": "b", "function": {"name": "g", "arguments": "{}"}}]}),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}),
        ),
    )
    assert answer["choices"][0]["message"]["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
        {"id": "b", "function": {"name": "g", "arguments": "{}"}},
    ]


def test_completions_and_their_log_probabilities_are_joined() -> None:
    one = {"object": "text_completion", "choices": [{"index": 0, "text": "a", "logprobs": {"tokens": ["a"]}}]}
    two = {"object": "text_completion", "choices": [{"index": 0, "text": "b", "logprobs": {"tokens": ["b"]}}]}
    answer, *_ = assemble(stream(one, two))
    assert answer["choices"] == [{"index": 0, "text": "ab", "logprobs": {"tokens": ["a", "b"]}}]


def test_responses_and_images_are_their_last_event() -> None:
    done = {"id": "resp_1", "output": [{"type": "message"}], "usage": {"input_tokens": 1, "output_tokens": 2}}
    events = [
        {"type": "response.created", "response": {"id": "resp_1", "usage": None}},
        {"type": "response.output_text.delta", "delta": "x"},
        {"type": "response.output_text.done", "text": "x"},
        {"type": "response.completed", "response": done},
    ]
    assert assemble(stream(*events)) == (done, Usage(1, 2, 3), 1)
    image = {"type": "image_generation.completed", "b64_json": "AAAA", "usage": {"input_tokens": 1}}
    assert assemble(stream({"type": "image_generation.partial_image", "b64_json": "A"}, image))[0] == image


def test_what_was_seen_of_a_broken_stream_is_kept() -> None:
    chat = stream(chunk({"content": "half"}))[:-14] + b'data: {"choices":[{"del'
    assert assemble(chat)[0]["choices"][0]["message"] == {"content": "half"}
    events = [
        {"type": "response.created", "response": {"id": "resp_1"}},
        {"type": "response.output_text.delta", "delta": "ha"},
        {"type": "response.output_text.delta", "delta": "lf"},
    ]
    assert assemble(stream(*events))[0] == {"id": "resp_1", "output_text": "half"}
    assert assemble(b"") == ({}, Usage(), 0)


def test_an_error_in_mid_stream_is_kept() -> None:
    answer, *_ = assemble(stream(chunk({"content": "a"}), {"error": {"message": "broke"}}))
    assert answer["error"] == {"message": "broke"}
    assert answer["choices"][0]["message"] == {"content": "a"}


texts = st.lists(st.text(alphabet='a"\\{}\n\u00e9\U0001f600 ', max_size=4), max_size=12)


@given(texts, st.integers(0, 1), st.booleans())
def test_runs_of_like_events_give_what_each_by_itself_gives(
    pieces: list[str], index: int, logged: bool
) -> None:
    fields: dict[str, Any] = {"logprobs": {"content": [{"token": "x"}]}} if logged else {}
    events = [chunk({"content": piece}, index, **fields) for piece in pieces]
    whole, _, counted = assemble(stream(*events))
    spaced = [stream(event)[7:-14] for event in events]  # spelt differently, no event is like another
    each, _, counted_each = assemble(b"".join(b"data: {" + b" " * n + rest for n, rest in enumerate(spaced)))
    assert (whole, counted) == (each, counted_each)
    if pieces:
        assert whole["choices"][0]["message"]["content"] == "".join(pieces)
        assert len(whole["choices"][0].get("logprobs", {}).get("content", [])) == len(pieces) * logged


def test_pieces_of_two_choices_in_one_event_are_kept_apart() -> None:
    def both(one: str, other: str) -> dict[str, Any]:
        event = chunk({"content": one})
        event["choices"].append({"index": 1, "delta": {"content": other}})
        return event

    answer, *_ = assemble(stream(both("a", "x"), both("b", "x"), both("c", "x")))
    assert [choice["message"]["content"] for choice in answer["choices"]] == ["abc", "xxx"]


def test_an_unreadable_event_costs_no_other() -> None:
    events = stream(chunk({"content": "a"}), chunk({"content": "CUT"}), chunk({"content": "b"}))
    answer, *_ = assemble(events.replace(b"CUT", b"\xff"))
    assert answer["choices"][0]["message"] == {"content": "ab"}


def test_an_emoji_cut_in_two_is_whole_again() -> None:
    events = stream(chunk({"content": "1"}), chunk({"content": "2"}))
    halves = events.replace(b'"1"', rb'"\ud83d"').replace(b'"2"', rb'"\ude00"')
    assert assemble(halves)[0]["choices"][0]["message"] == {"content": "\U0001f600"}
