import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.errors import TemplateInvalid
from gateway.core.mustache import Escape, Limits, Renderer, Template, compile_template, render

QUOTED = {"a": [1, 'b"', None]}

# Template, variables, what Portkey's engine makes of them (in JSON text). Where ours differs on
# purpose, the comment says so.
TABLE: list[tuple[str, Any, str]] = [
    # values
    ("{{x}}", {"x": "a\"b\\c<&>/'"}, "a\\\"b\\\\c<&>/'"),
    ("{{x}}", {"x": "a\nb\tc"}, "a\\nb\\tc"),  # Portkey leaves line breaks raw, which breaks the JSON
    ("{{{x}}}", {"x": 'a"b\\c\nd'}, 'a"b\\c\nd'),
    ("{{&x}}|", {"x": 'a"b'}, 'a"b|'),  # Portkey leaves "}}" behind
    ("{{a}}{{b}}{{c}}{{d}}", {"a": 0, "b": True, "c": False, "d": 1.5}, "0truefalse1.5"),
    ("[{{x}}{{y}}]", {"x": None}, "[]"),
    ("{{x}}", {"x": QUOTED}, '{"a":[1,"b\\"",null]}'),
    ("{{{x}}}", {"x": QUOTED}, '{"a":[1,"b\\"",null]}'),
    ("{{x}}", {"x": [1, 'a"b', {"c": "d"}, None, [1, 2], True]}, '1,"a\\"b",{"c":"d"},null,[1,2],true'),
    ("{{x}}", {"x": "{{y}}", "y": 1}, "{{y}}"),
    ("{{.}}", {"a": 1}, '{"a":1}'),
    # numbers
    ("{{x}}", {"x": 1.0}, "1"),
    ("{{x}}", {"x": -0.0}, "0"),
    ("{{x}}", {"x": 0.1}, "0.1"),
    ("{{x}}", {"x": 1e-5}, "0.00001"),
    ("{{x}}", {"x": 1e-7}, "1e-7"),
    ("{{x}}", {"x": 1e20}, "100000000000000000000"),
    ("{{x}}", {"x": 1.5e21}, "1.5e+21"),
    ("{{x}}", {"x": 1e21}, "1e+21"),
    # names
    ("{{a.b}}{{a.0.b}}{{c.1}}{{c.1.d}}", {"a": {"b": 1}, "c": [1, {"d": 3}]}, '1{"d":3}3'),
    ("{{c.length}}{{s.length}}", {"c": [1, 2], "s": "abc"}, "23"),
    ("{{phone number}}", {"phone number": 5}, "5"),
    ("{{a.b c}}", {"a": {"b c": 3}}, "3"),
    ("{{\nx\n}}", {"x": 1}, "1"),
    ("{{a.b}}", {"a.b": 7}, ""),
    ("{{toString}}{{constructor}}{{__class__}}{{x.__class__}}", {"x": {}}, ""),  # nothing inherited
    ('{"a":{"b":{{x}}}}', {"x": 1}, '{"a":{"b":1}}'),
    ('{"a":{"b":{{{x}}}}}', {"x": 1}, '{"a":{"b":1}}'),
    # sections
    ("{{#s}}T{{/s}}", {"s": "false"}, "T"),
    ("{{#s}}T{{.}}{{/s}}", {"s": 5}, "T5"),
    ("{{#s}}T{{/s}}", {"s": {}}, "T"),
    ("{{#s}}T{{/s}}", {"s": 0}, ""),
    ("{{#s}}T{{/s}}", {"s": 0.0}, ""),
    ("{{#s}}T{{/s}}", {"s": ""}, ""),
    ("{{#s}}T{{/s}}", {"s": []}, ""),
    ("{{#s}}T{{/s}}", {"s": None}, ""),
    ("{{#s}}T{{/s}}", {"s": False}, ""),
    ("{{#s}}T{{/s}}", {}, ""),
    ("{{#s}}[{{.}}]{{/s}}", {"s": [1, "a", {"b": 1}, None, [2]]}, '[1][a][{"b":1}][][2]'),
    ("{{#s}}x{{/s}}", {"s": [False, 0, ""]}, "xxx"),
    ("{{#s}}{{0}}{{/s}}", {"s": [[1, 2], [3]]}, "13"),
    ("{{#s}}{{#.}}<{{.}}>{{/.}}{{/s}}", {"s": [[1, 2], [3]]}, "<1><2><3>"),
    ("{{#s}}{{a}}{{p}}{{/s}}", {"s": {"a": 1}, "p": 2}, "12"),
    ("{{#a.b}}{{c}}{{/a.b}}", {"a": {"b": {"c": 1}}}, "1"),
    ("{{^s}}N{{/s}}", {"s": []}, "N"),
    ("{{^s}}N{{/s}}", {"s": {}}, ""),
    ("{{^s}}N{{/s}}", {"s": "0"}, ""),
    ("{{^a.b.c}}N{{/a.b.c}}", {"a": {}}, "N"),
    ("{{# s }}x{{/ s }}{{ # s}}y{{/s}}", {"s": 1}, "xy"),
    # lines that hold only tags
    ("a\n{{#s}}\nb\n{{/s}}\nc", {"s": True}, "a\nb\nc"),
    ("a\n  {{#s}}  \nb\n  {{/s}}\nc", {"s": True}, "a\nb\nc"),
    ("\r\n{{#s}}\r\nx\r\n{{/s}}\r\n", {"s": 1}, "\r\nx\r\n"),
    ("{{#s}} {{/s}}\nx", {"s": 1}, "x"),
    ("{{#s}}\n{{.}},\n{{/s}}", {"s": [1, 2]}, "1,\n2,\n"),
    ("a\n{{! c }}\nb", {}, "a\nb"),  # Portkey leaves "}}" behind
    ("a{{!c}}b", {}, "ab"),
    # delimiters
    ("{{=<% %>=}}<% x %>{{x}}", {"x": 1}, "1{{x}}"),
    ("{{= | | =}}|x|", {"x": 1}, "1"),
    ("{{=<% %>=}}<%={{ }}=%>{{x}}<%{x}%>", {"x": 1}, "1<%{x}%>"),
    # what Portkey does not call an error
    ("{{x", {"x": 1}, "{{x"),
    ("{{x}", {"x": 1}, "{{x}"),
    ("{{{x}}", {"x": 1}, "{{{x}}"),  # Portkey drops it without a word
    ("{{x {{y}}", {"y": 2}, "{{x 2"),  # here too
    ("a{{#s}}b", {"s": True}, "ab"),
    ("a{{#s}}b{{x}}", {"x": 2}, "a"),
    ("a{{#s}}b{{/t}}c", {"s": True}, "abc"),
    ("a{{/s}}b", {"s": True}, "ab"),
    ("a{{#s}}b{{#t}}c{{/s}}d{{/t}}e", {"s": True, "t": False}, "abde"),
    ("{{ }}|{{}}|", {}, "||"),
    ("Hi {{name}}, }} and {{ ok", {"name": "B"}, "Hi B, }} and {{ ok"),
]


@pytest.mark.parametrize(("template", "variables", "expected"), TABLE)
def test_render_as_portkey_does(template: str, variables: Any, expected: str) -> None:
    assert render(compile_template(template), variables, escape=Escape.JSON) == expected


PARTIALS: list[tuple[str, Any, dict[str, str], str]] = [
    ("{{>p}}|{{>p@5}}|{{>nope}}|", {"x": 1}, {"p": "P{{x}}", "p@5": "five"}, "P1|five||"),
    ("{{>>v}}", {"v": "p"}, {"p": "PP"}, "PP"),
    ("{{>>a.b}}|{{>>c}}|", {"a": {"b": "p"}}, {"p": "PP"}, "PP||"),
    ("{{>a b}}", {}, {"a b": "Z"}, "Z"),
    ("{{>p}}", {}, {"p": "{{>q}}", "q": "Q"}, "Q"),
    ("{{#a}}{{>p}}{{/a}}", {"a": [1, 2]}, {"p": "<{{.}}>"}, "<1><2>"),
    ("  {{>p}}\nx", {}, {"p": "a\n\nb\n"}, "  a\n\n  b\nx"),
    ("- {{>p}}\nx", {}, {"p": "a\nb"}, "- a\nb\nx"),
    ("  {{>p}}\nx", {"v": "1\n2"}, {"p": "{{{v}}}\n"}, "  1\n2\nx"),
    ("{{=<% %>=}}<%>p%>", {"x": 1}, {"p": "{{x}}"}, "1"),
    ("{{>" + "n" * 50 + "}}", {}, {"n" * 50: "Z"}, "Z"),
    ("{{>" + "n" * 51 + "}}", {}, {"n" * 51: "Z"}, "{{>" + "n" * 51 + "}}"),
    ("{{>tree}}", {"v": 1, "k": [{"v": 2, "k": []}]}, {"tree": "({{v}}{{#k}}{{>tree}}{{/k}})"}, "(1(2))"),
]


@pytest.mark.parametrize(("template", "variables", "partials", "expected"), PARTIALS)
def test_partials(template: str, variables: Any, partials: dict[str, str], expected: str) -> None:
    compiled = {name: compile_template(text) for name, text in partials.items()}
    assert render(compile_template(template), variables, compiled.get) == expected


@pytest.mark.parametrize(
    ("template", "variables"),
    [
        ('["{{x}}"]', {"x": {"a": 'b"\n'}}),
        ('["{{x}}"]', {"x": ["a", "b"]}),
        ('["say \\"{{x}}\\""]', {"x": 'a"\\'}),
        ("[{{x}}]", {"x": {"a": "b"}}),
        ("[{{x}}]", {"x": ["a", "b"]}),
        ('["{{>p}}", "{{x}}"]', {"x": "\u2028\x00"}),
    ],
)
def test_json_templates_stay_json(template: str, variables: Any) -> None:
    partials = {"p": compile_template('line 1\n"line 2": {{x}}')}
    assert json.loads(render(compile_template(template), variables, partials.get, escape=Escape.JSON))


def test_object_between_quotes_reaches_the_model_as_json_text() -> None:
    text = render(compile_template('["{{x}}"]'), {"x": {"a": 'b"'}}, escape=Escape.JSON)
    assert json.loads(json.loads(text)[0]) == {"a": 'b"'}


def test_plain_text_is_not_escaped() -> None:
    assert render(compile_template("{{x}} {{y}}"), {"x": 'a"\n', "y": {"b": '"'}}) == 'a"\n {"b":"\\""}'


@pytest.mark.parametrize(
    ("template", "place", "name", "fatal"),
    [
        ("a\n {{#list}}b", (2, 2), "list", True),
        ("{{#a}}\n{{/b}}", (2, 1), "b", True),
        ("x {{/b}}", (1, 3), "b", True),
        ("x\ny {{=|=}}", (2, 3), "", True),
        ("abc {{name", (1, 5), "name", False),
        ("{{! never", (1, 1), "", False),
    ],
)
def test_problems_name_the_variable_and_its_place(
    template: str, place: tuple[int, int], name: str, fatal: bool
) -> None:
    problem = compile_template(template).problems[0]
    assert ((problem.line, problem.column), problem.name, problem.fatal) == (place, name, fatal)


def test_template_lists_what_it_names() -> None:
    template = compile_template("{{a}}{{#b.c}}{{{d}}}{{/b.c}}{{>p}}{{>>q}}{{>p@2}}")
    assert template.variables == {"a", "b.c", "d", "q"}
    assert template.partials == {"p", "p@2"}


SMALL = Limits(template_chars=1000, output_chars=100, nesting=5, partial_depth=4, depth=8, steps=2000)


@pytest.mark.parametrize(
    ("template", "variables", "message"),
    [
        ("x" * 1001, {}, "has 1001 characters"),
        ("{{#a}}" * 6, {}, '"a" is nested deeper than 5'),
        ("{{x}}" * 3, {"x": "y" * 40}, "longer than 100 characters"),
        ("{{>loop}}", {}, r"nested deeper than 4 partials \(loop > loop > loop > loop\)"),
        ("{{>a}}", {}, r"\(b > a > b > a\)"),
        ("{{>wide}}", {}, "nested deeper|more than 2000 steps"),
        ("{{>deep}}", {"s": True}, "nested deeper than 8 levels"),
        ("{{#a}}{{#b}}{{/b}}{{/a}}", {"a": [0] * 300, "b": [0] * 300}, "more than 2000 steps"),
    ],
)
def test_bounds(template: str, variables: Any, message: str) -> None:
    partials = {
        "loop": "{{>loop}}",
        "a": "{{>b}}",
        "b": "{{>a}}",
        "wide": "{{>w2}}" * 40,
        "w2": "{{>w3}}" * 40,
        "w3": "{{>none}}" * 40,
        "deep": "{{#s}}{{#s}}{{#s}}{{>deep}}{{/s}}{{/s}}{{/s}}",
    }
    compiled = {name: compile_template(text) for name, text in partials.items()}
    with pytest.raises(TemplateInvalid, match=message):
        render(compile_template(template, SMALL), variables, compiled.get, limits=SMALL)


def test_templates_of_one_renderer_share_its_bounds() -> None:
    renderer = Renderer(SMALL, lambda name: None, [{"x": "y" * 60}])
    template = compile_template("{{x}}")
    renderer.text(template)
    with pytest.raises(TemplateInvalid, match="longer than 100"):
        renderer.text(template)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none(value: float) -> None:
    text = render(compile_template("{{x}}{{#x}}T{{/x}}"), {"x": value})
    assert text == {"nan": "NaN", "inf": "InfinityT", "-inf": "-InfinityT"}[str(value)]


# Characters that make tags likely.
markup = st.text(alphabet='{}#^/>&!=. \n"\\abc<%', max_size=60) | st.text(max_size=20)
pieces = st.lists(
    st.sampled_from(["{{", "}}", "{{{", "}}}", "{{#a}}", "{{/a}}", "{{^b}}", "{{/b}}", "{{>p}}", "{{>>a}}"])
    | st.sampled_from(["{{=<% %>=}}", "<%a%>", "{{! ", "{{.}}", "{{a.b}}", "{{& a}}", "\n", " ", '"', "x"]),
    max_size=25,
).map("".join)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=400, deadline=None)
@given(
    template=markup | pieces,
    partial=markup | pieces,
    variables=st.dictionaries(
        st.sampled_from(["a", "b", "p", "x y"]), json_values | st.just("p"), max_size=4
    ),
    escape=st.sampled_from(Escape),
)
def test_render_returns_text_or_a_named_error(
    template: str, partial: str, variables: dict[str, Any], escape: Escape
) -> None:
    try:
        known: dict[str, Template] = {"p": compile_template(partial)}
        outcome: object = render(compile_template(template), variables, known.get, escape=escape)
    except TemplateInvalid as error:
        outcome = error.message
    assert isinstance(outcome, str)


@given(st.text(max_size=40).filter(lambda text: "{{" not in text))
def test_text_without_tags_is_unchanged(text: str) -> None:
    assert render(compile_template(text), {}) == text


@given(
    value=st.text(max_size=30)
    | st.lists(st.text(max_size=5))
    | st.dictionaries(st.text(max_size=3), st.text())
)
def test_any_value_between_quotes_stays_json(value: Any) -> None:
    assert json.loads(render(compile_template('["{{x}}"]'), {"x": value}, escape=Escape.JSON))
