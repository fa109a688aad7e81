"""The reader itself: what the other tests of this folder rest on."""

from pathlib import Path

import pytest
from bicep_eval import Unknown, deploy
from bicep_parser import BicepError, parse


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("'a${1 == 1 ? 'b' : 'c'}d'", "abd"),
        ("true && !false ? 1\n : 2", 1),
        ("null ?? 'x'", "x"),
        ("map([1, 2], n => n + 1)", [2, 3]),
        ("{ a: 1, ...{ b: 2 } }", {"a": 1, "b": 2}),
        ("[for (n, i) in ['x', 'y']: '${n}${i}']", ["x0", "y1"]),
        ("map(items({ b: 1, a: 2 }), e => e.key)", ["a", "b"]),
        ("{ a: null }.?b ?? 'none'", "none"),
        ("string({ a: [true] })", '{"a":[true]}'),
        ("mapValues(groupBy([1, 2, 1], n => 'k${n}'), all => length(all))", {"k1": 2, "k2": 1}),
        ("'it\\'s ${'nes${'ted'}'}'", "it's nested"),
        ("cidrSubnet('10.0.0.0/23', 24, 1)", "10.0.1.0/24"),
        ("1 /* one */ + 1 // two", 2),
    ],
)
def test_expressions_have_the_value_bicep_gives_them(tmp_path: Path, expression: str, value: object) -> None:
    path = tmp_path / "a.bicep"
    path.write_text(f"output x any = {expression}\n")
    assert deploy(path, {}).outputs == {"x": value}


def test_conditions_loops_and_modules_decide_what_is_deployed(tmp_path: Path) -> None:
    (tmp_path / "inner.bicep").write_text(
        "param name string\nresource r 'A.B/c@2020-01-01' = { name: name }\noutput id string = r.id\n"
    )
    (tmp_path / "outer.bicep").write_text(
        "param on bool\n"
        "module one 'inner.bicep' = if (on) { params: { name: 'one' } }\n"
        "module many 'inner.bicep' = [for n in ['x', 'y']: { params: { name: n } }]\n"
        "output id string = many[1].outputs.id\n"
    )
    off = deploy(tmp_path / "outer.bicep", {"on": False})
    assert [r.name for r in off.of("A.B/c")] == ["x", "y"]
    assert off.outputs["id"] == Unknown("many[1]/r.id")
    assert [r.name for r in deploy(tmp_path / "outer.bicep", {"on": True}).of("A.B/c")] == ["one", "x", "y"]


@pytest.mark.parametrize(
    "text",
    [
        "param a int\n@allowed([1])\nparam b int = 2\n",
        "@maxLength(1)\nparam a string = 'xx'\n",
        "param a string\n",
    ],
)
def test_parameters_are_held_to_their_limits(tmp_path: Path, text: str) -> None:
    path = tmp_path / "limits.bicep"
    path.write_text(text)
    with pytest.raises(BicepError):
        deploy(path, {})


@pytest.mark.parametrize("text", ["var a = 'open\n", "var a = ^\n", "nonsense a = 1\n", "var a = (1\n"])
def test_what_is_not_bicep_is_refused(text: str) -> None:
    with pytest.raises(BicepError):
        parse(text)
