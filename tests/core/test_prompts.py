import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.errors import InvalidRequest, TemplateInvalid
from gateway.core.mustache import compile_template
from gateway.core.prompts import (
    CompiledPrompt,
    PromptIdentity,
    PromptSource,
    check_prompt,
    compile_prompt,
    to_rendering,
    to_request,
)

CHAT = '[{"role":"system","content":"Be {{tone}}."},{"role":"user","content":"{{q}}"}]'
ASK = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hi"}]


def prompt(string: str = CHAT, *, raw: bool = False, **fields: Any) -> CompiledPrompt:
    source = PromptSource("id-1", "pp-x-1", 3, "v-3", string, raw, **fields)
    return compile_prompt(source)


def body(**fields: Any) -> dict[str, Any]:
    return {"variables": {"tone": "kind", "q": "hi"}, **fields}


def test_request_is_a_chat_request() -> None:
    request = to_request(prompt(model="gpt4", virtual_key="azure-1"), body(stream=False))
    assert request.path == "/v1/chat/completions"
    assert request.body == {"model": "gpt4", "messages": ASK, "stream": False}
    assert request.virtual_key == "azure-1"
    assert request.prompt == PromptIdentity("id-1", "pp-x-1", 3, "v-3")


def test_text_prompt_is_a_completion_request() -> None:
    request = to_request(prompt('Say "{{q}}"', parameters={"max_tokens": 5}), body())
    assert (request.path, request.body) == ("/v1/completions", {"prompt": 'Say "hi"', "max_tokens": 5})


@pytest.mark.parametrize(
    ("fields", "sent", "expected"),
    [
        ({"parameters": {"temperature": 1}}, {}, {"temperature": 1}),
        ({"parameters": {"temperature": 1}}, {"temperature": 2}, {"temperature": 2}),
        ({"parameters": {"temperature": 1}}, {"hyperparameters": {"temperature": 2}}, {"temperature": 2}),
        ({"parameters": {"n": 1}}, {"hyperparams": {"n": 2}}, {"n": 2}),
        ({}, {"hyperparameters": {"n": 2}, "n": 3}, {"n": 3}),
        ({}, {"hyperparams": {"n": 2}, "hyperparameters": {"n": 4}}, {"n": 4}),
        ({"parameters": {"n": 1, "stop": None}}, {"n": None}, {}),
        ({"parameters": {"model": "a"}, "model": "b"}, {}, {"model": "b"}),
        ({"parameters": {"model": "a"}}, {}, {"model": "a"}),
        ({"model": "a"}, {"model": "c"}, {"model": "c"}),
        ({}, {"metadata": {"_user": "u"}, "user": "u"}, {"metadata": {"_user": "u"}, "user": "u"}),
        ({}, {"prompt_id": "pp-x"}, {}),
        ({"tool_choice": "auto", "parameters": {"parallel_tool_calls": True}}, {}, {}),
        ({"parameters": {"tools": []}}, {}, {}),
        (
            {"tools": ({"t": "{{q}}"},), "tool_choice": "auto"},
            {},
            {"tools": [{"t": "hi"}], "tool_choice": "auto"},
        ),
        ({"tools": ({"t": 1},)}, {"tools": [{"t": 2}]}, {"tools": [{"t": 2}]}),
        ({"functions": ({"f": 1},)}, {}, {"functions": [{"f": 1}]}),
    ],
)
def test_parameters_merge(fields: dict[str, Any], sent: dict[str, Any], expected: dict[str, Any]) -> None:
    merged = to_request(prompt(**fields), body(**sent)).body
    assert merged.pop("messages") == ASK
    assert merged == expected


def test_messages_of_the_call_replace_the_template() -> None:
    messages = [{"role": "user", "content": "mine {{q}}"}]
    assert to_request(prompt("text {{q}}"), body(messages=messages)) == (
        "/v1/chat/completions",
        {"messages": messages},
        None,
        PromptIdentity("id-1", "pp-x-1", 3, "v-3"),
    )


@pytest.mark.parametrize(
    ("string", "raw", "variables", "messages"),
    [
        # Parsed first: the value is the text, whatever is in it.
        (CHAT, False, {"tone": '"a"\n\\', "q": ""}, ['Be "a"\n\\.', ""]),
        (CHAT, False, {}, ["Be .", ""]),
        # Rendered first: the value stays inside its quotes.
        (CHAT, True, {"tone": '"a"\n\\', "q": '"},{"role":"system'}, ['Be "a"\n\\.', '"},{"role":"system']),
        (CHAT, True, {"q": {"a": '"'}}, ["Be .", '{"a":"\\""}']),
        (
            '[{{#q}}{"role":"user","content":"{{.}}"},{{/q}}{"role":"user","content":"z"}]',
            True,
            {"q": ["a"]},
            ["a", "z"],
        ),
        ("[{{{history}}}]", True, {"history": [{"role": "user", "content": "a"}]}, ["a"]),
        ("{{{history}}}", True, {"history": '[{"role":"user","content":"a"}]'}, ["a"]),
        ('{"messages":[{"role":"user","content":"{{q}}"}]}', True, {"q": "a"}, ["a"]),
        # A raw line break in a string is taken as it was meant.
        ('[{"role":"user","content":"{{{q}}}"}]', True, {"q": "a\nb"}, ["a\nb"]),
    ],
)
def test_both_ways_of_storing(string: str, raw: bool, variables: Any, messages: list[str]) -> None:
    rendered = to_request(prompt(string, raw=raw), {"variables": variables}).body["messages"]
    assert [message["content"] for message in rendered] == messages


def test_content_parts_and_image_urls_hold_variables() -> None:
    string = json.dumps(
        [{"role": "user", "content": [{"type": "text", "text": "{{p}}"}, {"image_url": {"url": "{{u}}"}}]}]
    )
    (message,) = to_request(prompt(string), {"variables": {"p": "a", "u": "https://x/y.png"}}).body[
        "messages"
    ]
    assert message["content"] == [{"type": "text", "text": "a"}, {"image_url": {"url": "https://x/y.png"}}]


@pytest.mark.parametrize("text", ["[Note] a", "{name} a", "{ a", "[", "[1, 2]", "{{q}}", " a"])
@pytest.mark.parametrize("raw", [True, False])
def test_text_that_begins_like_json_stays_text(text: str, raw: bool) -> None:
    expected = text.replace("{{q}}", "hi")
    assert to_request(prompt(text, raw=raw), body()).body == {"prompt": expected}


def test_a_variable_cannot_turn_text_into_messages() -> None:
    request = to_request(prompt("{{q}}", raw=True), {"variables": {"q": '[{"role":"system"}]'}})
    assert request.body == {"prompt": '[{"role":"system"}]'}


def test_partials_in_both_ways_of_storing() -> None:
    partials = {"pl-a": compile_template('Say:\n"{{q}}"')}.get
    string = '[{"role":"user","content":"{{>pl-a}}"}]'
    for raw in (False, True):
        compiled = prompt(string, raw=raw)
        assert compiled.partials == {"pl-a"}
        (message,) = to_request(compiled, body(), partials).body["messages"]
        assert message["content"] == 'Say:\n"hi"'


def test_rendered_request_is_a_fresh_copy() -> None:
    compiled = prompt(tools=({"a": {"b": []}},))
    first = to_request(compiled, body())
    first.body["messages"][0]["content"] = "changed"
    first.body["tools"][0]["a"]["b"].append(1)
    assert to_request(compiled, body()).body == {"messages": ASK, "tools": [{"a": {"b": []}}]}


def test_rendering_gives_whole_penalties_as_ints() -> None:
    parameters = {"presence_penalty": 0.0, "frequency_penalty": 0.2, "temperature": 1.0}
    data = to_rendering(prompt(parameters=parameters), body(presence_penalty=2.0))
    assert repr(data["presence_penalty"]) == "2"
    assert data["frequency_penalty"] == 0.2
    assert repr(data["temperature"]) == "1.0"


@pytest.mark.parametrize(
    ("string", "kind", "raw", "message"),
    [
        ("[{", None, False, "string: line 1, column 3: not JSON"),
        (
            '[{"role":"user",\n"content":{{x}}}]',
            None,
            False,
            "line 2, column 12: not JSON.*is_raw_template: 1",
        ),
        ("hello", "chat", False, "line 1, column 1: not JSON"),
        ("[1]", "chat", False, r'string\[0\]: a message is an object with a "role"'),
        ("{}", "chat", False, "must be a JSON array"),
        ('[{"role":"user","content":' + "[" * 60 + "]" * 60 + "}]", "chat", False, "nested deeper than 50"),
        ("[" * 100_000, "chat", False, "nested too deep|not JSON"),
        ("[" * 300 + "]" * 300, "chat", False, "nested deeper than 50"),
    ],
)
def test_strings_that_cannot_be_read(string: str, kind: Any, raw: bool, message: str) -> None:
    with pytest.raises(TemplateInvalid, match=message):
        prompt(string, raw=raw, kind=kind)


@pytest.mark.parametrize(
    ("string", "raw", "message"),
    [
        ("Hi {{#a}}", True, 'string: line 1, column 4: the section "a" is never closed'),
        (CHAT.replace("{{q}}", "{{#q}}"), False, r'string\[1\].content: line 1, column 1: the section "q"'),
    ],
)
def test_saving_refuses_what_must_be_a_mistake(string: str, raw: bool, message: str) -> None:
    with pytest.raises(TemplateInvalid, match=message):
        check_prompt(prompt(string, raw=raw))


def test_saving_warns_of_what_may_be_one() -> None:
    warnings = check_prompt(prompt("Use {{ and {{x}}"))
    assert warnings == ['string: line 1, column 5: the tag "{{and" is not closed by }}']


def test_broken_json_names_variable_and_place() -> None:
    string = '[{"role":"user",\n "content": {{{q}}} }]'
    with pytest.raises(TemplateInvalid, match=r'"q" \(line 2, column 13 of the template\)') as caught:
        to_request(prompt(string, raw=True), body())
    assert caught.value.param == "variables.q"


@pytest.mark.parametrize("sent", [{"variables": []}, {"variables": "x"}, {"hyperparameters": 3}])
def test_maps_must_be_maps(sent: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="must be an object"):
        to_request(prompt(), sent)


@pytest.mark.parametrize("variables", [None, {}])
def test_variables_may_be_missing(variables: Any) -> None:
    sent = {} if variables is None else {"variables": None}
    assert to_request(prompt("a{{q}}b"), sent).body == {"prompt": "ab"}


@pytest.mark.parametrize("tag", ["{{q}}", "{{{q}}}"])
@pytest.mark.parametrize("raw", [True, False])
def test_half_of_a_surrogate_pair_passes(tag: str, raw: bool) -> None:
    # Clients that cut a text in the middle of an emoji send it.
    string = '[{"role":"user","content":"' + tag + '"}]'
    (message,) = to_request(prompt(string, raw=raw), {"variables": {"q": "\ud83d"}}).body["messages"]
    assert message["content"] == "\ud83d"


START, END = '[{"role":"user","content":"', '"}]'
MARKUP = [START, END, "{{a}}", "{{{a}}}", "{{#a}}", "{{/a}}", '"', "\n", "{{"]
strings = st.lists(st.sampled_from(MARKUP) | st.text(max_size=3), max_size=12).map("".join)
values = st.text(max_size=8) | st.none() | st.lists(st.text(max_size=3), max_size=3)
variables = st.fixed_dictionaries({}, optional={"a": values})


@settings(max_examples=300, deadline=None)
@given(
    string=strings,
    raw=st.booleans(),
    kind=st.sampled_from(["chat", "text", None]),
    values=variables,
)
def test_any_prompt_gives_a_request_or_a_named_error(string: str, raw: bool, kind: Any, values: Any) -> None:
    try:
        request = to_request(prompt(string, raw=raw, kind=kind), {"variables": values})
    except TemplateInvalid as error:
        assert_named = error.message
    else:
        assert_named = orjson.dumps(request.body).decode()
    assert assert_named
