"""Portkey's and OpenAI's Python SDKs against the gateway, as their users call them."""

import base64
import io
import json
import os
import struct
import wave
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI, AzureOpenAI, OpenAI
from portkey_ai import AsyncPortkey, Portkey, createHeaders

from emulators.steps import throttled
from tests.e2e.conftest import AZURE_KEY, DEPLOYMENTS, VERSION

HELLO: Any = [{"role": "user", "content": "Say this is a test"}]


@pytest.fixture
def open_portkey(gateway) -> Iterator[Callable[..., Portkey]]:
    """Portkey's client for the gateway; all share one HTTP client, since theirs stay open."""
    with httpx.Client(base_url=f"{gateway.url}/v1") as http:
        yield lambda **options: Portkey(
            **{"api_key": gateway.key, "base_url": f"{gateway.url}/v1", "http_client": http, **options}
        )


@pytest.fixture
def portkey(open_portkey, azure_slug) -> Portkey:
    return open_portkey(virtual_key=azure_slug)


@pytest.fixture
def stock(gateway, azure_slug) -> Iterator[OpenAI]:
    """OpenAI's own client, set up as Portkey's documentation shows."""
    with OpenAI(
        api_key="sk-anything",
        base_url=f"{gateway.url}/v1",
        default_headers=createHeaders(api_key=gateway.key, virtual_key=azure_slug),
        max_retries=0,
    ) as client:
        yield client


@pytest.fixture
def keyed(gateway) -> Iterator[OpenAI]:
    """OpenAI's own client with nothing but a gateway key; the model names the virtual key."""
    with OpenAI(api_key=gateway.key, base_url=f"{gateway.url}/v1", max_retries=0) as client:
        yield client


@pytest.fixture(params=["endpoint", "base_url"])
def azure(request, gateway, azure_slug) -> Iterator[AzureOpenAI]:
    place = (
        {"azure_endpoint": gateway.url} if request.param == "endpoint" else {"base_url": f"{gateway.url}/v1"}
    )
    if request.param == "base_url":
        place["base_url"] += "/deployments/chat"
    with AzureOpenAI(
        api_key=gateway.key,
        api_version=VERSION,
        default_headers={"x-portkey-virtual-key": azure_slug},
        max_retries=0,
        **place,
    ) as client:
        yield client


# --- the samples of Portkey's page on Azure OpenAI


def test_chat_by_virtual_key_and_deployment_alias(portkey, upstream):
    answer = portkey.chat.completions.create(messages=HELLO, model="gpt4")
    assert answer.choices[0].message.content == "You said: Say this is a test"
    assert upstream.last.target == f"/openai/deployments/chat/chat/completions?api-version={VERSION}"
    assert upstream.last.header("api-key") == AZURE_KEY


def test_chat_by_a_name_nobody_knows_takes_the_only_or_default_deployment(portkey, upstream):
    answer = portkey.chat.completions.create(messages=HELLO, model="custom_model_name")
    assert answer.choices[0].finish_reason == "stop"
    assert upstream.last.path == "/openai/deployments/chat/chat/completions"


def test_the_virtual_key_can_be_overridden_for_one_call(portkey, pictures_slug, upstream):
    portkey.with_options(virtual_key=pictures_slug).images.generate(prompt="Lucy", size="1024x1024")
    assert upstream.last.path == "/openai/deployments/pictures/images/generations"


def test_images_by_a_virtual_key_of_their_own(open_portkey, pictures_slug, upstream):
    portkey = open_portkey(virtual_key=pictures_slug)
    image = portkey.images.generate(prompt="Lucy in the sky with diamonds", size="1024x1024")
    assert base64.b64decode(image.data[0].b64_json).startswith(b"\x89PNG")
    assert "model" not in upstream.last.json()


def test_images_without_a_model_take_the_image_deployment(portkey, upstream):
    assert portkey.images.generate(prompt="Lucy", size="1024x1024").data
    assert upstream.last.path == "/openai/deployments/pictures/images/generations"


# --- chat streams


def test_portkey_streams_and_carries_the_response_headers(portkey):
    stream = portkey.with_options(trace_id="trace-7").chat.completions.create(
        messages=HELLO, model="gpt4", stream=True
    )
    headers = stream.response.headers
    words = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert "".join(words) == "You said: Say this is a test"
    assert headers["x-portkey-trace-id"] == "trace-7"
    assert headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize("asked", [True, False])
def test_a_stream_has_a_usage_chunk_only_where_it_was_asked_for(stock, asked):
    more: Any = {"stream_options": {"include_usage": True}} if asked else {}
    chunks = list(stock.chat.completions.create(messages=HELLO, model="gpt4", stream=True, **more))
    assert [bool(chunk.usage) for chunk in chunks].count(True) == int(asked)
    assert chunks[0].choices == []  # Azure's own first chunk stays


def test_a_stream_can_be_left_and_the_upstream_hears_of_it(stock, upstream):
    from emulators.steps import Slow

    upstream.app.script("chat", [Slow(between_chunks_s=0.05)])
    with stock.chat.completions.create(messages=HELLO, model="gpt4", stream=True) as stream:
        next(iter(stream))
    assert upstream.app.log.wait_until(lambda entries: entries[-1].client_left)


async def test_the_async_clients(gateway, azure_slug):
    http = httpx.AsyncClient()
    portkey = AsyncPortkey(
        api_key=gateway.key, virtual_key=azure_slug, base_url=f"{gateway.url}/v1", http_client=http
    )
    async with http:
        answer = await portkey.chat.completions.create(messages=HELLO, model="gpt4")
    assert answer.choices[0].message.content == "You said: Say this is a test"
    async with AsyncOpenAI(api_key=gateway.key, base_url=f"{gateway.url}/v1", max_retries=0) as client:
        stream = await client.chat.completions.create(
            messages=HELLO, model=f"@{azure_slug}/chat-two", stream=True
        )
        text = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
    assert "".join(text) == "You said: Say this is a test"


# --- ways to name the virtual key


def test_a_model_may_name_the_virtual_key(keyed, azure_slug, upstream):
    answer = keyed.chat.completions.create(messages=HELLO, model=f"@{azure_slug}/chat-two")
    assert answer.model.startswith("gpt-5.4-mini")
    assert upstream.last.path == "/openai/deployments/chat-two/chat/completions"
    assert upstream.last.json()["model"] == "chat-two"
    assert upstream.last.header("authorization") is None


def test_a_provider_may_name_the_virtual_key(open_portkey, azure_slug, upstream):
    portkey = open_portkey(provider=f"@{azure_slug}")
    portkey.chat.completions.create(messages=HELLO, model="chat-two")
    assert upstream.last.path == "/openai/deployments/chat-two/chat/completions"


@pytest.mark.parametrize("config", [{"virtual_key": "{slug}"}, {"provider": "@{slug}"}])
def test_a_config_may_name_the_virtual_key(open_portkey, azure_slug, upstream, config):
    config = json.loads(json.dumps(config).replace("{slug}", azure_slug))
    config["override_params"] = {"model": "chat-two"}
    portkey = open_portkey(config=config)
    portkey.chat.completions.create(messages=HELLO, model="whatever")
    assert upstream.last.path == "/openai/deployments/chat-two/chat/completions"


def test_a_base_url_without_v1_or_with_a_slash_too_many(gateway, azure_slug):
    for base in (gateway.url, f"{gateway.url}/v1/", f"{gateway.url}//v1"):
        with OpenAI(api_key=gateway.key, base_url=base, max_retries=0) as client:
            assert client.chat.completions.create(messages=HELLO, model=f"@{azure_slug}/gpt4").choices


# --- the other operations


@pytest.fixture(params=["portkey", "stock", "azure"])
def client(request) -> Any:
    if request.param == "azure":
        gateway, slug = request.getfixturevalue("gateway"), request.getfixturevalue("azure_slug")
        return AzureOpenAI(
            azure_endpoint=gateway.url,
            api_key=gateway.key,
            api_version=VERSION,
            default_headers={"x-portkey-virtual-key": slug},
            max_retries=0,
        )
    return request.getfixturevalue(request.param)


def test_embeddings_as_floats_and_in_base64(client):
    packed = client.embeddings.create(model="vectors", input="hello world")
    floats = client.embeddings.create(model="vectors", input="hello world", encoding_format="float")
    there = packed.data[0].embedding
    if isinstance(there, str):
        there = list(struct.unpack("<1536f", base64.b64decode(there)))
    assert list(there) == pytest.approx(floats.data[0].embedding)


def test_images_are_edited_with_their_file_names(client, upstream):
    picture = client.images.generate(model="pictures", prompt="a cat").data[0].b64_json
    source = io.BytesIO(base64.b64decode(picture))
    source.name = "cat.png"
    edited = client.images.edit(model="pictures", image=source, prompt="a hat")
    assert base64.b64decode(edited.data[0].b64_json).startswith(b"\x89PNG")
    assert b'filename="cat.png"' in upstream.last.body


def test_images_stream_partial_images(stock, upstream):
    events = list(stock.images.generate(model="pictures", prompt="a cat", stream=True, partial_images=2))
    assert [event.type for event in events] == [
        "image_generation.partial_image",
        "image_generation.partial_image",
        "image_generation.completed",
    ]


def test_speech_and_back(client, tmp_path):
    sound = client.audio.speech.create(
        model="voice", voice="alloy", input="hello there", response_format="wav"
    ).read()
    assert sound.startswith(b"RIFF")
    # Portkey's client opens the file by its name, to tell how long the sound is.
    (tmp_path / "voice.wav").write_bytes(sound)
    with (tmp_path / "voice.wav").open("rb") as voice:
        assert client.audio.transcriptions.create(model="ears", file=voice).text


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # OpenAI's, of a name of its own
def test_transcription_as_plain_text_and_translation(stock, upstream):
    text = stock.audio.transcriptions.create(model="ears", file=_wave(), response_format="text")
    assert isinstance(text, str)
    assert text.strip()
    assert stock.audio.translations.create(model="ears", file=_wave()).text


def test_speech_as_a_stream_of_bytes(stock):
    with stock.audio.speech.with_streaming_response.create(
        model="voice", voice="alloy", input="hello there"
    ) as answer:
        assert answer.headers["x-portkey-provider"] == "azure-openai"
        assert b"".join(answer.iter_bytes())


def test_legacy_completions(stock):
    assert stock.completions.create(model="chat", prompt="hello").choices[0].text
    chunks = list(stock.completions.create(model="chat", prompt="hello", stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)
    assert not any(chunk.usage for chunk in chunks)


def test_responses_live_and_die(stock, upstream):
    made = stock.responses.create(model="gpt4", input="hello")
    assert upstream.last.json()["model"] == "chat"
    assert upstream.last.path == "/openai/responses"
    assert stock.responses.retrieve(made.id).output_text == made.output_text != ""
    assert stock.responses.input_items.list(made.id).data
    stock.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        stock.responses.retrieve(made.id)


def test_responses_stream(stock):
    kinds = [event.type for event in stock.responses.create(model="gpt4", input="hello", stream=True)]
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"


def test_files_and_a_batch(client, upstream):
    line = {"custom_id": "1", "method": "POST", "url": "/chat/completions"}
    line["body"] = {"model": "chat", "messages": HELLO}
    content = io.BytesIO(json.dumps(line).encode() + b"\n")
    content.name = "batch.jsonl"
    made = client.files.create(file=content, purpose="batch")
    assert made.id in [item.id for item in client.files.list().data]
    batch = client.batches.create(
        input_file_id=made.id, endpoint="/chat/completions", completion_window="24h"
    )
    client.batches.retrieve(batch.id)
    done = client.batches.retrieve(batch.id)
    assert done.status == "completed"
    lines = client.files.content(done.output_file_id).read()
    assert b"Say this is a test" in lines
    assert client.files.delete(made.id).deleted


def test_models_are_the_deployments_in_reach(keyed, portkey, azure_slug):
    everything = [model.id for model in keyed.models.list().data]
    assert f"@{azure_slug}/gpt4" in everything
    assert {model.id for model in portkey.models.list().data} == {"gpt4", *DEPLOYMENTS} - {"chat"}


# --- AzureOpenAI with the gateway as its endpoint


def test_azure_client_with_a_gateway_key(azure, upstream):
    answer = azure.chat.completions.create(model="chat", messages=HELLO)
    assert answer.choices[0].message.content == "You said: Say this is a test"
    assert upstream.last.target == f"/openai/deployments/chat/chat/completions?api-version={VERSION}"
    assert upstream.last.header("api-key") == AZURE_KEY


def test_azure_client_streams(azure):
    chunks = list(azure.chat.completions.create(model="chat", messages=HELLO, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "You said: Say this is a test"


def test_azure_client_needs_nothing_but_a_key_when_the_model_names_the_virtual_key(
    gateway, azure_slug, upstream
):
    with AzureOpenAI(
        azure_endpoint=gateway.url, api_key=gateway.key, api_version=VERSION, max_retries=0
    ) as client:
        answer = client.chat.completions.create(model=f"@{azure_slug}/chat-two", messages=HELLO)
    assert answer.choices[0].message.content
    assert upstream.last.path == "/openai/deployments/chat-two/chat/completions"


def test_openai_client_on_azures_v1_path(gateway, azure_slug, upstream):
    with OpenAI(base_url=f"{gateway.url}/openai/v1", api_key=gateway.key, max_retries=0) as client:
        assert client.chat.completions.create(model=f"@{azure_slug}/chat-two", messages=HELLO).choices


def test_azure_client_with_a_token_of_entra_sends_it_on(gateway, upstream):
    from tests.e2e.conftest import AZURE_TOKEN

    with AzureOpenAI(
        azure_endpoint=gateway.url,
        azure_ad_token=AZURE_TOKEN,
        api_version=VERSION,
        default_headers=createHeaders(api_key=gateway.key, provider="azure-openai", custom_host=upstream.url),
        max_retries=0,
    ) as client:
        assert client.chat.completions.create(model="chat", messages=HELLO).choices
    assert upstream.last.header("authorization") == f"Bearer {AZURE_TOKEN}"
    assert upstream.last.header("api-key") is None


# --- errors as each client reads them


def test_an_unknown_slug_is_a_404_that_names_it(open_portkey):
    portkey = open_portkey(virtual_key="azure-nowhere")
    from portkey_ai._vendor import openai as vendored

    with pytest.raises(vendored.NotFoundError, match="azure-nowhere"):
        portkey.chat.completions.create(messages=HELLO, model="gpt4")


def test_a_wrong_gateway_key_is_a_401(gateway):
    with (
        OpenAI(api_key="gw-wrong", base_url=f"{gateway.url}/v1", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError, match="Invalid API Key"),
    ):
        client.chat.completions.create(messages=HELLO, model="gpt4")


def test_azures_throttling_arrives_as_a_rate_limit_error_with_its_times(stock, upstream):
    upstream.app.script("chat", [throttled(7)])
    with pytest.raises(openai.RateLimitError, match="exceeded token rate limit") as caught:
        stock.chat.completions.create(messages=HELLO, model="gpt4")
    assert caught.value.response.headers["retry-after"] == "7"
    assert caught.value.response.headers["x-portkey-provider"] == "azure-openai"
    assert caught.value.body["code"] == "429"


def test_portkey_does_not_retry_what_the_gateway_answered(portkey, upstream):
    from portkey_ai._vendor import openai as vendored

    from emulators.steps import Html

    upstream.app.script("chat", [Html(500), Html(500), Html(500)])
    with pytest.raises(vendored.InternalServerError):
        portkey.chat.completions.create(messages=HELLO, model="gpt4")
    assert len(upstream.app.requests) == 1


def test_content_filter_details_are_kept(stock):
    with pytest.raises(openai.BadRequestError) as caught:
        stock.chat.completions.create(
            messages=[{"role": "user", "content": "filter-this-prompt"}], model="gpt4"
        )
    body: Any = caught.value.body
    assert body["code"] == "content_filter"
    assert body["innererror"]["content_filter_result"]["jailbreak"]["filtered"]


# --- virtual keys through the SDK


@pytest.mark.filterwarnings("ignore:The `dict` method is deprecated")  # Portkey's, in its own code
def test_virtual_keys_are_created_read_updated_and_deleted(open_portkey, upstream):
    portkey = open_portkey()
    made = portkey.virtual_keys.create(
        name="Azure Prod EU",
        provider="azure-openai",
        key=AZURE_KEY,
        note="made by a test",
        resourceName=f"{upstream.server.url}/openai/deployments/chat/chat/completions?api-version={VERSION}",
        deploymentConfig=[
            {"alias": "quick", "apiVersion": VERSION, "deploymentName": "chat-two", "is_default": False},
            {"alias": "clever", "apiVersion": VERSION, "deploymentName": "chat", "is_default": True},
        ],
    )
    assert made.slug.startswith("azure-prod-eu-")
    assert made.object == "virtual-key"
    user = open_portkey(virtual_key=made.slug)
    user.chat.completions.create(messages=HELLO, model="quick")
    assert upstream.last.path == "/openai/deployments/chat-two/chat/completions"

    listed = {item["slug"]: item for item in portkey.virtual_keys.list().data}
    assert listed[made.slug]["note"] == "made by a test"
    assert AZURE_KEY not in str(portkey.virtual_keys.list())
    assert AZURE_KEY not in str(portkey.virtual_keys.retrieve(slug=made.slug))

    portkey.virtual_keys.update(slug=made.slug, note="changed")
    assert portkey.virtual_keys.retrieve(slug=made.slug).note == "changed"
    user.chat.completions.create(messages=HELLO, model="quick")

    portkey.virtual_keys.delete(slug=made.slug)
    from portkey_ai._vendor import openai as vendored

    with pytest.raises(vendored.NotFoundError):
        user.chat.completions.create(messages=HELLO, model="quick")


def _wave() -> io.BytesIO:
    sound = io.BytesIO()
    with wave.open(sound, "wb") as out:
        out.setparams((1, 2, 8000, 800, "NONE", ""))
        out.writeframes(bytes(1600))
    sound.seek(0)
    sound.name = "silence.wav"
    return sound


def test_the_environment_of_the_suite_has_no_key_of_an_sdk():
    assert not {"OPENAI_API_KEY", "PORTKEY_API_KEY"} & set(os.environ)
