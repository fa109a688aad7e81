"""What a call costs, in cents, from the prices that a deployment carries itself.

Prices follow Portkey's model configuration: cents per token under `request_token`, `response_token`,
`cache_read_input_token`, each `{"price": cents}` or a
number; and `image`: cents per image, a number or `{quality: {size: cents}}` with `default` for either.
Source: the `model-configs` of Portkey's OpenAPI.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.core.bodies import Body
from gateway.core.record import Record, Usage


@dataclass(frozen=True, slots=True)
class Spent:
    """Tokens by what they cost; `cached`, `input_audio` and `input_image` are parts of `input`."""

    input: int = 0
    cached: int = 0
    input_audio: int = 0
    input_image: int = 0
    output: int = 0
    output_audio: int = 0  # a part of `output`


# Cents by a table of known prices: (provider, model, tokens).
Table = Callable[[str, str, Spent], float | None]

_INPUT_DETAILS = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
_OUTPUT_DETAILS = ("completion_tokens_details", "output_tokens_details", "output_token_details")
_FREE = ("HIT", "SEMANTIC HIT")


def pricer(table: Table) -> Callable[[Record, Body], float | None]:
    """A price for each record: its deployment's own prices, else the table's; None when unknown."""

    def price(record: Record, response: Body) -> float | None:
        # Reading back a stored answer tells its usage again, and costs nothing.
        if record.cache_status.upper() in _FREE or record.method != "POST":
            return 0.0
        if record.pricing:
            return own_price(record.pricing, record.usage, response)
        if record.usage.total_tokens is None:
            return _unpriced(record)
        return _first_known(table, record, response)

    return price


def _unpriced(record: Record) -> float | None:
    """An error costs nothing; an answer without usage costs something unknown."""
    return 0.0 if record.status >= 400 else None


def _first_known(table: Table, record: Record, response: Body) -> float | None:
    # What answered is told best by the answer; a deployment's name may be anything.
    names = (record.price_model, record.response_model, response.model, record.model, record.deployment)
    spent = spent_of(record.usage, response)
    for name in dict.fromkeys(name for name in names if name):
        cents = table(record.provider or "", name.rpartition("/")[2], spent)
        if cents is not None:
            return cents
    return None


def spent_of(usage: Usage, response: Body) -> Spent:
    """Tokens by price, the answer's own details included."""
    told = response.value.get("usage") if isinstance(response.value, dict) else None
    told = told if isinstance(told, dict) else {}
    return Spent(
        input=usage.prompt_tokens or 0,
        cached=usage.cached_tokens or 0,
        input_audio=_detail(told, "audio_tokens", *_INPUT_DETAILS),
        input_image=_detail(told, "image_tokens", *_INPUT_DETAILS),
        output=usage.completion_tokens or 0,
        output_audio=_detail(told, "audio_tokens", *_OUTPUT_DETAILS),
    )


def _detail(told: Mapping[str, Any], name: str, *sections: str) -> int:
    for section in sections:
        details = told.get(section)
        value = details.get(name) if isinstance(details, dict) else None
        if isinstance(value, int) and value > 0:
            return value
    return 0


def own_price(pricing: Mapping[str, Any], usage: Usage, response: Body) -> float | None:
    """Cents by a deployment's own prices; None when they have no price for what was used."""
    pricing = _section(pricing)
    if (image := pricing.get("image")) is not None:
        return _images(image, response)
    rate_in, rate_out = _rate(pricing, "request_token"), _rate(pricing, "response_token")
    if usage.prompt_tokens is None or rate_in is None or (usage.completion_tokens and rate_out is None):
        return None
    cached = min(usage.cached_tokens or 0, usage.prompt_tokens)
    rate_cached = _rate(pricing, "cache_read_input_token")
    cents = (usage.prompt_tokens - cached) * rate_in
    cents += cached * (rate_in if rate_cached is None else rate_cached)
    return cents + (usage.completion_tokens or 0) * (rate_out or 0.0)


def _section(pricing: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = pricing.get("pay_as_you_go")
    return inner if isinstance(inner, Mapping) else pricing


def _rate(pricing: Mapping[str, Any], name: str) -> float | None:
    value = pricing.get(name)
    if isinstance(value, Mapping):
        value = value.get("price")
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _images(prices: Any, response: Body) -> float | None:
    answer = response.value if isinstance(response.value, dict) else {}
    images = answer.get("data")
    count = len(images) if isinstance(images, list) else 1
    for name in ("quality", "size"):
        if isinstance(prices, Mapping) and "price" not in prices:
            prices = prices.get(answer.get(name) or "default", prices.get("default"))
    each = _rate({"image": prices}, "image")
    return None if each is None else count * each
