import subprocess
import sys

import pytest
from genai_prices import Usage, calc_price

from gateway.adapters.prices import PriceTable
from gateway.core.cost import Spent


@pytest.mark.parametrize(
    "model", ["gpt-4o", "gpt-4o-2024-08-06", "gpt-35-turbo", "text-embedding-3-small", "gpt-5.4"]
)
@pytest.mark.parametrize(
    "spent", [Spent(1000, 400, output=100), Spent(5), Spent(600_000, output=70_000), Spent()]
)
def test_cents_are_those_of_the_package(model: str, spent: Spent) -> None:
    usage = Usage(input_tokens=spent.input, cache_read_tokens=spent.cached, output_tokens=spent.output)
    expected = float(calc_price(usage, model_ref=model, provider_id="openai").total_price) * 100
    assert PriceTable()("openai", model, spent) == pytest.approx(expected, abs=1e-8)


def test_azure_is_priced_too() -> None:
    assert PriceTable()("azure-openai", "gpt-4o", Spent(1_000_000)) == pytest.approx(250)


def test_image_and_audio_tokens_have_their_own_price() -> None:
    table = PriceTable()
    assert table("openai", "gpt-image-1", Spent(100, input_image=100)) > table(
        "openai", "gpt-image-1", Spent(100)
    )  # type: ignore[operator]
    assert table("openai", "gpt-realtime", Spent(100, input_audio=100)) == pytest.approx(100 * 32e-6 * 100)


@pytest.mark.parametrize(
    ("provider", "model"), [("openai", "nonsense"), ("azure-openai", ""), ("other", "gpt-4o")]
)
def test_an_unknown_model_has_no_price(provider: str, model: str) -> None:
    assert PriceTable()(provider, model, Spent(10, output=10)) is None


def test_the_table_is_loaded_only_when_asked() -> None:
    code = (
        "import sys, gateway.adapters.prices as p; p.PriceTable(); assert 'genai_prices' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
