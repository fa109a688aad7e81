from typing import Any

import pytest

from gateway.core.tokens import estimate


def test_four_bytes_of_text_are_a_token() -> None:
    guess = estimate({"messages": [{"role": "user", "content": "x" * 4000}]})
    assert 1000 <= guess.prompt <= 1010


def test_text_that_is_not_english_weighs_more() -> None:
    assert estimate({"input": "漢字" * 100}).prompt == 151


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "max_output_tokens"])
def test_the_ceiling_is_what_the_answer_may_have(name: str) -> None:
    assert estimate({name: 50}).ceiling == 50
    assert estimate({name: 50, "n": 3}).ceiling == 150


@pytest.mark.parametrize("value", [None, -5, "100", True, 1.5, [], {}])
def test_a_ceiling_that_is_none_counts_as_none(value: Any) -> None:
    assert estimate({"max_tokens": value, "n": value}).ceiling == 0


def test_a_picture_weighs_as_a_picture_not_as_its_bytes() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 3_000_000}}
    assert estimate({"messages": [{"role": "user", "content": [picture]}]}).prompt < 2000
    sound = {"type": "input_audio", "input_audio": {"data": "A" * 3_000_000, "format": "wav"}}
    assert estimate({"messages": [{"role": "user", "content": [sound]}]}).prompt < 2000


def test_hostile_bodies_cost_no_stack() -> None:
    deep: Any = "x"
    for _ in range(500):
        deep = [deep]
    assert estimate({"messages": deep}).prompt == 1
    assert estimate({"max_tokens": 10**30, "n": 10**30}).ceiling == 10**9
    assert estimate(None).total == 0
