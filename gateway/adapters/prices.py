"""Prices of public models, from the table that the package genai-prices brings along; no network."""

from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from gateway.core.cost import Spent

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice

_MILLION = 1_000_000
_CENTS = 100
# Azure sells OpenAI's models at OpenAI's prices; the table knows some under one name only.
_SELLERS = {"azure-openai": ("azure", "openai"), "azure-ai": ("azure", "openai"), "openai": ("openai",)}
_MOST_MODELS = 512  # a client may name any model


class PriceTable:
    """Cents of a model's tokens: `table(provider, model, spent)`, None for a model it does not know.

    The package is imported at the first call: it costs 200 ms.
    """

    def __init__(self) -> None:
        self._counter: Callable[[str, str], Callable[[Spent], float] | None] = lru_cache(_MOST_MODELS)(
            _counter
        )

    def __call__(self, provider: str, model: str, spent: Spent) -> float | None:
        count = self._counter(provider, model)
        return None if count is None else count(spent)


def _counter(provider: str, model: str) -> Callable[[Spent], float] | None:
    """What counts a model's cents."""
    price = _find(provider, model)
    if price is None:
        return None
    if _is_tiered(price):
        return lambda spent: _cents(price, _usage(spent))
    return _linear(price)


def _linear(price: "ModelPrice") -> Callable[[Spent], float]:
    """The same by six rates: a call of the package takes 70 microseconds."""
    per = [
        _cents(price, fields) / _MILLION
        for fields in (
            {"input_tokens": _MILLION},
            {"input_tokens": _MILLION, "cache_read_tokens": _MILLION},
            {"input_tokens": _MILLION, "input_audio_tokens": _MILLION},
            {"input_tokens": _MILLION, "input_image_tokens": _MILLION},
            {"output_tokens": _MILLION},
            {"output_tokens": _MILLION, "output_audio_tokens": _MILLION},
        )
    ]
    plain, cached, audio, image, out, out_audio = per

    def count(spent: Spent) -> float:
        cents = spent.input * plain + spent.output * out
        cents += spent.cached * (cached - plain) + spent.output_audio * (out_audio - out)
        cents += spent.input_audio * (audio - plain) + spent.input_image * (image - plain)
        return round(max(0.0, cents), 9)

    return count


def _find(provider: str, model: str) -> "ModelPrice | None":
    from genai_prices import Usage, calc_price

    for seller in _SELLERS.get(provider, ()):
        try:
            found = calc_price(Usage(input_tokens=1, output_tokens=1), model_ref=model, provider_id=seller)
        except LookupError:
            continue
        if any(isinstance(value, Decimal) for value in vars(found.model_price).values()) or _is_tiered(
            found.model_price
        ):
            return found.model_price
    return None


def _is_tiered(price: "ModelPrice") -> bool:
    from genai_prices.types import TieredPrices

    return any(isinstance(value, TieredPrices) for value in vars(price).values())


def _usage(spent: Spent) -> dict[str, int]:
    return {
        "input_tokens": spent.input,
        "cache_read_tokens": min(spent.cached, spent.input),
        "input_audio_tokens": min(spent.input_audio, spent.input),
        "input_image_tokens": min(spent.input_image, spent.input),
        "output_tokens": spent.output,
        "output_audio_tokens": min(spent.output_audio, spent.output),
    }


def _cents(price: "ModelPrice", fields: dict[str, Any]) -> float:
    from genai_prices import Usage

    return float(price.calc_price(Usage(**fields))["total_price"] * _CENTS)
