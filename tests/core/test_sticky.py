from hypothesis import given
from hypothesis import strategies as st

from gateway.core.health import Event
from gateway.core.sticky import Pins, draw, pin_key


def test_a_pin_lasts_for_its_ttl() -> None:
    now = [0.0]
    pins = Pins(lambda: now[0])
    pins.put("k", 1, 10.0)
    now[0] = 9.9
    assert pins.get("k") == 1
    now[0] = 10.0
    assert pins.get("k") is None


def test_the_least_recently_used_pins_go_first() -> None:
    pins = Pins(lambda: 0.0, limit=2)
    pins.put("a", 1, 10.0)
    pins.put("b", 1, 10.0)
    assert pins.get("a") == 1
    pins.put("c", 1, 10.0)
    assert [pins.get(key) for key in "abc"] == [1, None, 1]


def test_instances_agree_on_the_pin_that_lasts_longer() -> None:
    told: list[Event] = []
    one, two = Pins(lambda: 0.0, told.append), Pins(lambda: 0.0)
    one.put("k", 1, 10.0)
    two.put("k", 0, 5.0)
    two.absorb(told)
    assert two.get("k") == 1
    two.absorb([Event("pin", "k", 7.0, "0"), Event("pin", "j", 7.0, "x"), Event("open", "i", 7.0, "1")])
    assert [two.get(key) for key in "kji"] == [1, None, None]


def test_a_key_tells_nothing_of_its_values() -> None:
    key = pin_key("digest|config", ["user@example.com"])
    assert "user" not in key
    assert key == pin_key("digest|config", ["user@example.com"])
    assert key != pin_key("digest|config", ["other@example.com"])
    assert key != pin_key("digest|config.targets[0]", ["user@example.com"])


@given(st.text())
def test_a_draw_is_a_point_below_one(text: str) -> None:
    assert 0 <= draw(pin_key("name", [text])) < 1
