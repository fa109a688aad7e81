"""The OpenAI SDK's own classes against the emulator: chat, completions, errors."""

from collections.abc import Iterator

import openai
import pytest
from openai import AzureOpenAI, OpenAI

from emulators.answers.chat import FILTERED_ANSWER, FILTERED_PROMPT

HELLO = [{"role": "user", "content": "Hello there, General"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        },
    },
}


@pytest.fixture
def azure(openai_emulator) -> Iterator[AzureOpenAI]:
    with AzureOpenAI(
        azure_endpoint=openai_emulator.url, api_key="right-key", api_version="2024-10-21", max_retries=0
    ) as client:
        yield client


@pytest.fixture
def v1(openai_emulator) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{openai_emulator.url}/openai/v1", api_key="right-token", max_retries=0) as client:
        yield client


@pytest.fixture
def plain(openai_emulator) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{openai_emulator.url}/v1", api_key="right-key", max_retries=0) as client:
        yield client


def test_chat_answers_what_was_said_and_counts_tokens(azure):
    answer = azure.chat.completions.create(model="chat", messages=HELLO)
    assert answer.choices[0].message.content == "You said: Hello there, General"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "gpt-5.4"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (5, 8)
    assert answer.usage.total_tokens == 13


def test_same_question_gets_same_answer(azure):
    first, second = (azure.chat.completions.create(model="chat", messages=HELLO) for _ in range(2))
    assert first.model_dump() == second.model_dump()


def test_chat_carries_azure_headers_and_filter_results(azure):
    raw = azure.chat.completions.with_raw_response.create(model="chat", messages=HELLO)
    assert raw.headers["x-ms-region"] == "North Central US"
    assert raw.headers["apim-request-id"]
    body = raw.http_response.json()
    assert body["prompt_filter_results"][0]["content_filter_results"]["jailbreak"]["detected"] is False
    assert body["choices"][0]["content_filter_results"]["hate"]["severity"] == "safe"


def test_openai_dialect_has_no_azure_extras(plain):
    raw = plain.chat.completions.with_raw_response.create(model="chat", messages=HELLO)
    body = raw.http_response.json()
    assert "prompt_filter_results" not in body
    assert "content_filter_results" not in body["choices"][0]


def test_azure_stream_starts_with_the_prompt_filter_chunk(azure):
    chunks = list(azure.chat.completions.create(model="chat", messages=HELLO, stream=True))
    assert chunks[0].choices == []
    assert chunks[0].id == chunks[0].model == ""
    assert chunks[0].model_extra["prompt_filter_results"]
    assert all(chunk.choices for chunk in chunks[1:])
    assert all("content_filter_results" in chunk.choices[0].model_extra for chunk in chunks[1:])
    assert "usage" not in chunks[1].model_fields_set
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[1:])
    assert text == "You said: Hello there, General"
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_stream_tells_usage_in_a_last_chunk_when_asked(v1):
    options = {"include_usage": True}
    chunks = list(
        v1.chat.completions.create(model="chat", messages=HELLO, stream=True, stream_options=options)
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == 13
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert "usage" in chunks[1].model_fields_set


def test_openai_stream_starts_with_the_role(plain):
    chunks = list(plain.chat.completions.create(model="chat", messages=HELLO, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
def test_tool_is_called_when_the_caller_insists(azure, choice):
    answer = azure.chat.completions.create(model="chat", messages=HELLO, tools=[TOOL], tool_choice=choice)
    call = answer.choices[0].message.tool_calls[0]
    assert answer.choices[0].finish_reason == "tool_calls"
    assert call.function.name == "weather"
    assert call.function.arguments == '{"city": "Hello there, General", "days": 1}'


def test_tool_call_streams_its_arguments_in_pieces(azure):
    chunks = list(
        azure.chat.completions.create(
            model="chat", messages=HELLO, tools=[TOOL], tool_choice="required", stream=True
        )
    )
    calls = [
        chunk.choices[0].delta.tool_calls[0] for chunk in chunks[1:] if chunk.choices[0].delta.tool_calls
    ]
    assert calls[0].function.name == "weather"
    assert "".join(call.function.arguments for call in calls) == '{"city": "Hello there, General", "days": 1}'
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_schema_gets_an_object_that_fits(azure):
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}, "kind": {"enum": ["a", "b"]}}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = azure.chat.completions.create(model="chat", messages=HELLO, response_format=form)
    assert answer.choices[0].message.content == '{"ok": true, "kind": "a"}'


def test_answer_stops_at_the_token_limit(azure):
    answer = azure.chat.completions.create(model="chat", messages=HELLO, max_completion_tokens=2)
    assert answer.choices[0].message.content == "You said:"
    assert answer.choices[0].finish_reason == "length"


def test_several_choices_are_numbered(azure):
    answer = azure.chat.completions.create(model="chat", messages=HELLO, n=2)
    assert [choice.index for choice in answer.choices] == [0, 1]


def test_reasoning_models_refuse_max_tokens_and_old_ones_take_it(azure):
    with pytest.raises(openai.BadRequestError) as refused:
        azure.chat.completions.create(model="chat", messages=HELLO, max_tokens=5)
    assert refused.value.code == "unsupported_parameter"
    assert refused.value.param == "max_tokens"
    answer = azure.chat.completions.create(model="old-chat", messages=HELLO, max_tokens=1)
    assert answer.choices[0].message.content == "You"


def test_prompt_filter_answers_400_with_its_findings(azure):
    with pytest.raises(openai.BadRequestError) as refused:
        azure.chat.completions.create(model="chat", messages=[{"role": "user", "content": FILTERED_PROMPT}])
    assert refused.value.code == "content_filter"
    inner = refused.value.response.json()["error"]["innererror"]
    assert inner["content_filter_result"]["jailbreak"] == {"filtered": True, "detected": True}


def test_filtered_answer_ends_by_content_filter(azure):
    said = [{"role": "user", "content": FILTERED_ANSWER}]
    answer = azure.chat.completions.create(model="chat", messages=said)
    assert answer.choices[0].finish_reason == "content_filter"
    assert answer.choices[0].model_extra["content_filter_results"]["violence"]["filtered"] is True


def test_completions_answer_and_stream(azure):
    answer = azure.completions.create(model="old-chat", prompt="one two")
    assert answer.choices[0].text == "You said: one two"
    chunks = list(azure.completions.create(model="old-chat", prompt="one two", stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == "You said: one two"


def test_wrong_key_is_401(openai_emulator):
    with (
        AzureOpenAI(
            azure_endpoint=openai_emulator.url, api_key="wrong", api_version="2024-10-21", max_retries=0
        ) as client,
        pytest.raises(openai.AuthenticationError, match="Access denied due to invalid subscription key"),
    ):
        client.chat.completions.create(model="chat", messages=HELLO)


def test_known_token_works_and_unknown_does_not(openai_emulator):
    def ask(token: str) -> str:
        with AzureOpenAI(
            azure_endpoint=openai_emulator.url,
            azure_ad_token=token,
            api_version="2024-10-21",
            max_retries=0,
        ) as client:
            return client.chat.completions.create(model="chat", messages=HELLO).choices[0].message.content

    assert ask("right-token").startswith("You said")
    with pytest.raises(openai.AuthenticationError):
        ask("right-key")


def test_resource_without_keys_says_so(openai_emulator):
    openai_emulator.app.local_auth = False
    with (
        AzureOpenAI(
            azure_endpoint=openai_emulator.url, api_key="right-key", api_version="2024-10-21", max_retries=0
        ) as client,
        pytest.raises(openai.PermissionDeniedError) as refused,
    ):
        client.chat.completions.create(model="chat", messages=HELLO)
    assert refused.value.code == "AuthenticationTypeDisabled"


def test_openai_dialect_names_a_wrong_key(openai_emulator):
    with (
        OpenAI(base_url=f"{openai_emulator.url}/v1", api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as refused,
    ):
        client.chat.completions.create(model="chat", messages=HELLO)
    assert refused.value.code == "invalid_api_key"


def test_unknown_deployment_is_404(azure, plain):
    with pytest.raises(openai.NotFoundError) as refused:
        azure.chat.completions.create(model="nope", messages=HELLO)
    assert refused.value.code == "DeploymentNotFound"
    with pytest.raises(openai.NotFoundError) as refused:
        plain.chat.completions.create(model="nope", messages=HELLO)
    assert refused.value.code == "model_not_found"


def test_operation_that_the_model_cannot_do_is_refused(azure):
    with pytest.raises(openai.BadRequestError) as refused:
        azure.chat.completions.create(model="pictures", messages=HELLO)
    assert refused.value.code == "OperationNotSupported"
    assert (
        "chatCompletion operation does not work with the specified model, gpt-image-2"
        in refused.value.message
    )
