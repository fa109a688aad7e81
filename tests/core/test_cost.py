from typing import Any

import pytest

from gateway.core.bodies import Body
from gateway.core.cost import Spent, own_price, pricer, spent_of
from gateway.core.record import Record, Usage


def table(provider: str, model: str, spent: Spent) -> float | None:
    return {"gpt-4o": 1.0, "gpt-4": 2.0}.get(model)


def priced(response: Any = None, **fields: Any) -> float | None:
    base: dict[str, Any] = {"method": "POST", "status": 200, "usage": Usage(1, 1, 2), "provider": "openai"}
    record = Record(id="", trace_id="", created_at=0, path="", **{**base, **fields})
    return pricer(table)(record, Body(value=response))


@pytest.mark.parametrize(
    ("fields", "cents"),
    [
        ({"model": "gpt-4"}, 2.0),
        ({"model": "gpt-4", "response_model": "gpt-4o"}, 1.0),
        ({"model": "gpt-4", "price_model": "gpt-4o", "response_model": "gpt-4"}, 1.0),
        ({"model": "chat-prod", "response_model": "unheard-of", "deployment": "gpt-4o"}, 1.0),
        ({"model": "@azure/gpt-4o"}, 1.0),
        ({"model": "unheard-of"}, None),
        ({"model": "gpt-4o", "usage": Usage()}, None),
        ({"model": "gpt-4o", "usage": Usage(), "status": 500}, 0.0),
        ({"model": "unheard-of", "cache_status": "HIT"}, 0.0),
        ({"model": "gpt-4o", "method": "GET"}, 0.0),
    ],
)
def test_the_best_known_name_gives_the_price(fields: dict[str, Any], cents: float | None) -> None:
    assert priced(**fields) == cents


PRICES = {"request_token": {"price": 0.5}, "response_token": {"price": 2}}


@pytest.mark.parametrize(
    ("pricing", "usage", "answer", "cents"),
    [
        (PRICES, Usage(10, 3, 13), None, 11.0),
        ({"pay_as_you_go": PRICES}, Usage(10, 3, 13), None, 11.0),
        ({**PRICES, "cache_read_input_token": 0.1}, Usage(10, 3, 13, cached_tokens=4), None, 9.4),
        ({"request_token": 0.5}, Usage(10, None, 10), None, 5.0),
        ({"request_token": 0.5}, Usage(10, 3, 13), None, None),
        (PRICES, Usage(), None, None),
        ({"request_token": True}, Usage(10, None, 10), None, None),
        ({"image": 4}, Usage(), {"data": [{}, {}]}, 8.0),
        ({"image": {"high": {"1024x1024": 16, "default": 9}, "default": 1}}, Usage(),
         {"data": [{}], "quality": "high", "size": "1024x1024"}, 16.0),
        ({"image": {"high": {"default": 9}, "default": 1}}, Usage(), {"data": [{}], "size": "1x1"}, 1.0),
        ({"image": {"high": {"default": 9}}}, Usage(), {"data": [{}], "quality": "low"}, None),
    ],
)  # fmt: skip
def test_a_deployments_own_prices_win(pricing: Any, usage: Usage, answer: Any, cents: float | None) -> None:
    found = own_price(pricing, usage, Body(value=answer))
    assert found == (None if cents is None else pytest.approx(cents))
    assert priced(answer, pricing=pricing, usage=usage, model="gpt-4o") == found


def test_audio_and_image_tokens_are_told_apart() -> None:
    answer = {
        "usage": {
            "prompt_tokens_details": {"audio_tokens": 3, "image_tokens": 2},
            "completion_tokens_details": {"audio_tokens": 4},
        }
    }
    assert spent_of(Usage(10, 6, 16, cached_tokens=1), Body(value=answer)) == Spent(10, 1, 3, 2, 6, 4)
