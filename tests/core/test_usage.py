from typing import Any

import pytest

from gateway.core.record import Usage
from gateway.core.usage import is_usage_only, merge, usage_of

CHAT = {
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "total_tokens": 15,
    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 1},
}
RESPONSES = {
    "input_tokens": 8,
    "input_tokens_details": {"cached_tokens": 6},
    "output_tokens": 9,
    "output_tokens_details": {"reasoning_tokens": 7},
    "total_tokens": 17,
}
IMAGES = {
    "input_tokens": 50,
    "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
    "output_tokens": 1056,
    "total_tokens": 1106,
}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"usage": CHAT}, Usage(10, 5, 15, 4, 3, 3)),
        ({"usage": RESPONSES}, Usage(8, 9, 17, 6, 7)),
        ({"type": "response.completed", "response": {"usage": RESPONSES}}, Usage(8, 9, 17, 6, 7)),
        ({"type": "image_generation.completed", "usage": IMAGES}, Usage(50, 1056, 1106, image_tokens=40)),
        ({"object": "list", "usage": {"prompt_tokens": 7, "total_tokens": 7}}, Usage(7, None, 7)),
        ({"usage": {"prompt_tokens": 7, "completion_tokens": 1}}, Usage(7, 1, 8)),
        (
            {
                "usage": {
                    "type": "tokens",
                    "input_tokens": 14,
                    "input_token_details": {"audio_tokens": 14},
                    "output_tokens": 45,
                    "total_tokens": 59,
                }
            },
            Usage(14, 45, 59, audio_tokens=14),
        ),
        ({"usage": {"type": "duration", "seconds": 12}}, Usage()),
        ({"usage": None}, Usage()),
        ({"choices": []}, Usage()),
        ([], Usage()),
        (None, Usage()),
        ({"usage": [1]}, Usage()),
        ({"usage": {"prompt_tokens": -1, "completion_tokens": True, "total_tokens": "9"}}, Usage()),
        ({"usage": {"prompt_tokens": 2.0, "completion_tokens": 1e300, "total_tokens": 2}}, Usage(2, None, 2)),
        ({"usage": {"prompt_tokens": 1, "prompt_tokens_details": 5}}, Usage(1, None, 1)),
    ],
)
def test_usage_is_read_from_every_shape(answer: Any, expected: Usage) -> None:
    assert usage_of(answer) == expected


def test_only_the_event_that_include_usage_adds_is_usage_only() -> None:
    assert is_usage_only({"choices": [], "usage": CHAT})
    assert not is_usage_only({"choices": [], "prompt_filter_results": []})
    assert not is_usage_only({"choices": [], "usage": None})
    assert not is_usage_only({"choices": [{"delta": {}}], "usage": CHAT})
    assert not is_usage_only("[DONE]")


def test_merge_keeps_the_newest_told_value() -> None:
    assert merge(Usage(1, 2, 3, 4), Usage(9, None, 0)) == Usage(9, 2, 0, 4)
