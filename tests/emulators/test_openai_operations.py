"""The OpenAI SDK's own classes against the emulator: everything but chat."""

import base64
import json
import struct
import wave
import zlib
from collections.abc import Iterator
from io import BytesIO

import httpx
import openai
import pytest
from openai import AzureOpenAI, OpenAI

from emulators.answers.chat import FILTERED_PROMPT
from emulators.answers.images import jpeg, png
from emulators.azure_openai import AzureOpenAI as Emulator
from emulators.server import Server

VERSION = "2025-04-01-preview"


@pytest.fixture
def azure(openai_emulator) -> Iterator[AzureOpenAI]:
    with AzureOpenAI(
        azure_endpoint=openai_emulator.url, api_key="right-key", api_version=VERSION, max_retries=0
    ) as client:
        yield client


@pytest.fixture
def v1(openai_emulator) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{openai_emulator.url}/openai/v1", api_key="right-token", max_retries=0) as client:
        yield client


@pytest.fixture(params=["azure", "v1"])
def client(request) -> OpenAI:
    return request.getfixturevalue(request.param)


def check_png(data: bytes) -> None:
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    length, kind = struct.unpack(">I4s", data[8:16])
    assert (length, kind) == (13, b"IHDR")
    assert zlib.crc32(data[12:29]) == struct.unpack(">I", data[29:33])[0]


def test_embeddings_as_floats_and_base64_agree(client):
    floats = client.embeddings.create(model="vectors", input="hello world", encoding_format="float")
    packed = client.embeddings.create(model="vectors", input="hello world", encoding_format="base64")
    numbers = struct.unpack("<1536f", base64.b64decode(packed.data[0].embedding))
    assert floats.data[0].embedding == pytest.approx(numbers)
    assert sum(number**2 for number in numbers) == pytest.approx(1)
    assert floats.usage.prompt_tokens == 3


def test_embeddings_of_similar_texts_are_near(client):
    texts = ["how do I reset my password", "how do I reset the password", "bananas are yellow fruit"]
    found = client.embeddings.create(model="vectors", input=texts, dimensions=256)
    one, two, three = (item.embedding for item in found.data)
    assert sum(map(float.__mul__, one, two)) > 0.6 > 0.3 > sum(map(float.__mul__, one, three))


def test_image_generation_gives_real_images_and_usage(client):
    answer = client.images.generate(model="pictures", prompt="a red cube", n=2, quality="low")
    for image in answer.data:
        check_png(base64.b64decode(image.b64_json))
    assert answer.data[0].b64_json != answer.data[1].b64_json
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (3, 544)


def test_images_may_be_jpeg_but_not_webp(client):
    answer = client.images.generate(model="pictures", prompt="x", output_format="jpeg")
    assert base64.b64decode(answer.data[0].b64_json) == jpeg()
    assert jpeg().startswith(b"\xff\xd8\xff\xdb")
    with pytest.raises(openai.BadRequestError, match="webp"):
        client.images.generate(model="pictures", prompt="x", output_format="webp")


@pytest.mark.parametrize("wrong", [{"n": 11}, {"n": 0}, {"partial_images": 4}, {"n": "many"}])
def test_image_numbers_have_limits(client, wrong):
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.generate(model="pictures", prompt="x", extra_body=wrong)
    assert refused.value.param == next(iter(wrong))


def test_image_prompt_filter_has_its_own_shape(client):
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.generate(model="pictures", prompt=FILTERED_PROMPT)
    assert refused.value.code == "content_policy_violation"
    assert refused.value.response.json()["error"]["inner_error"]["code"] == "ResponsibleAIPolicyViolation"


def test_image_models_refuse_response_format(client):
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.generate(model="pictures", prompt="x", response_format="b64_json")
    assert refused.value.code == "unknown_parameter"


def test_image_stream_sends_partial_images_then_the_whole(client):
    events = list(client.images.generate(model="pictures", prompt="x", stream=True, partial_images=2))
    assert [event.type for event in events] == [
        "image_generation.partial_image",
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    assert [event.partial_image_index for event in events[:2]] == [0, 1]
    check_png(base64.b64decode(events[0].b64_json))
    assert events[-1].usage.total_tokens == 1057


def test_image_edit_takes_images_and_a_mask(client, openai_emulator):
    images = [("a.png", png("a"), "image/png"), ("b.png", png("b"), "image/png")]
    answer = client.images.edit(model="pictures", image=images, mask=("m.png", png("m")), prompt="blue")
    check_png(base64.b64decode(answer.data[0].b64_json))
    assert answer.usage.input_tokens_details.image_tokens == 646
    assert png("b") in openai_emulator.app.requests[-1].body


def test_image_edit_streams_under_its_own_event_names(client):
    events = client.images.edit(
        model="pictures", image=("a.png", png("a")), prompt="blue", stream=True, partial_images=1
    )
    assert [event.type for event in events] == ["image_edit.partial_image", "image_edit.completed"]


def test_image_edit_refuses_what_is_no_image(client):
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.edit(model="pictures", image=("a.png", b"text"), prompt="x")
    assert refused.value.code == "invalid_image_file"


def test_speech_is_binary_and_streams(client):
    with client.audio.speech.with_streaming_response.create(
        model="voice", voice="alloy", input="one two three four five six seven eight nine"
    ) as answer:
        assert answer.headers["content-type"] == "audio/mpeg"
        assert "content-length" not in answer.headers
        data = b"".join(answer.iter_bytes())
    assert data.startswith(b"ID3")
    assert len(data) > 8192


def test_wav_speech_is_a_wav_file(client):
    answer = client.audio.speech.create(model="voice", voice="alloy", input="hello", response_format="wav")
    with wave.open(BytesIO(answer.content)) as sound:
        assert (sound.getnchannels(), sound.getframerate()) == (1, 24_000)
        assert sound.getnframes() > 0


def test_speech_may_come_as_events(openai_emulator):
    body = {"model": "voice", "voice": "alloy", "input": "hello", "stream_format": "sse"}
    headers = {"api-key": "right-key"}
    text = httpx.post(f"{openai_emulator.url}/openai/v1/audio/speech", json=body, headers=headers).text
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    assert [event["type"] for event in events][-2:] == ["speech.audio.delta", "speech.audio.done"]


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the SDK marks translations so
def test_transcription_and_translation_see_the_file(client):
    file = ("speech.mp3", b"\x00\r\n--binary\xff", "audio/mpeg")
    assert (
        client.audio.transcriptions.create(model="ears", file=file).text
        == "Transcript of speech.mp3, 12 bytes."
    )
    assert client.audio.translations.create(model="ears", file=file).text.startswith(
        "Translation of speech.mp3"
    )
    as_text = client.audio.transcriptions.create(model="ears", file=file, response_format="text")
    assert as_text == "Transcript of speech.mp3, 12 bytes.\n"
    verbose = client.audio.transcriptions.create(model="ears", file=file, response_format="verbose_json")
    assert verbose.segments[0].end == 2.0
    srt = client.audio.transcriptions.create(model="ears", file=file, response_format="srt")
    assert srt.startswith("1\n00:00:00,000 -->")


def test_transcription_streams(client):
    events = list(client.audio.transcriptions.create(model="ears", file=("a.mp3", b"x"), stream=True))
    assert events[-1].text == "Transcript of a.mp3, 1 bytes."
    assert "".join(event.delta for event in events[:-1]) == events[-1].text


def test_empty_sound_file_is_refused(client):
    with pytest.raises(openai.BadRequestError, match="file"):
        client.audio.transcriptions.create(model="ears", file=("a.mp3", b""))


def test_response_is_stored_read_and_deleted(client):
    made = client.responses.create(model="chat", input="hello", instructions="be brief")
    assert made.output_text == "You said: hello"
    assert made.usage.input_tokens == 4
    assert client.responses.retrieve(made.id).output_text == "You said: hello"
    items = client.responses.input_items.list(made.id).data
    assert items[0].content[0].text == "hello"
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_response_follows_another(client):
    first = client.responses.create(model="chat", input="one")
    second = client.responses.create(model="chat", input="two", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="chat", input="x", previous_response_id="resp_none")


def test_response_that_is_not_stored_is_gone(client):
    made = client.responses.create(model="chat", input="hello", store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_background_response_is_queued_then_done_or_cancelled(client):
    made = client.responses.create(model="chat", input="x", background=True)
    assert made.status == "queued"
    assert client.responses.cancel(made.id).status == "cancelled"
    again = client.responses.create(model="chat", input="x", background=True)
    assert client.responses.retrieve(again.id).status == "completed"


def test_response_streams_numbered_events(client):
    events = list(client.responses.create(model="chat", input="hello there", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == "You said: hello there"
    assert events[-1].type == "response.completed"
    assert events[-1].response.usage.output_tokens == 6


def test_response_calls_a_tool(client):
    tool = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {"a": {}}}}
    made = client.responses.create(model="chat", input="hi", tools=[tool], tool_choice="required")
    assert (made.output[0].name, made.output[0].arguments) == ("f", '{"a": "hi"}')
    events = list(
        client.responses.create(model="chat", input="hi", tools=[tool], tool_choice="required", stream=True)
    )
    deltas = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    assert "".join(deltas) == '{"a": "hi"}'


def test_responses_by_dated_path_know_unknown_deployments(azure):
    with pytest.raises(openai.NotFoundError) as refused:
        azure.responses.create(model="nope", input="x")
    assert refused.value.code == "DeploymentNotFound"


def test_files_are_kept_listed_read_and_deleted(client):
    made = client.files.create(file=("train.jsonl", b'{"a":1}\n'), purpose="fine-tune")
    assert (made.filename, made.bytes) == ("train.jsonl", 8)
    assert client.files.retrieve(made.id) == made
    assert [file.id for file in client.files.list()] == [made.id]
    assert client.files.content(made.id).content == b'{"a":1}\n'
    assert client.files.delete(made.id).deleted is True
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(made.id)


def test_batch_is_worked_off(client):
    def line(name: str, model: str) -> bytes:
        body = {"model": model, "messages": [{"role": "user", "content": name}]}
        call = {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}
        return json.dumps(call).encode() + b"\n"

    source = client.files.create(file=("b.jsonl", line("one", "chat") + line("two", "nope")), purpose="batch")
    made = client.batches.create(
        input_file_id=source.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    statuses = [made.status, client.batches.retrieve(made.id).status, client.batches.retrieve(made.id).status]
    assert statuses == ["validating", "validating", "completed"]
    assert (made.request_counts.completed, made.request_counts.failed) == (1, 1)
    results = [json.loads(text) for text in client.files.content(made.output_file_id).text.splitlines()]
    assert results[0]["response"]["body"]["choices"][0]["message"]["content"] == "You said: one"
    assert results[1]["response"]["status_code"] == 404
    assert [batch.id for batch in client.batches.list()] == [made.id]


def test_batch_is_cancelled(client):
    source = client.files.create(file=("b.jsonl", b"\n"), purpose="batch")
    made = client.batches.create(
        input_file_id=source.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    assert client.batches.cancel(made.id).status == "cancelling"
    client.batches.retrieve(made.id)
    assert client.batches.retrieve(made.id).status == "cancelled"


def test_fine_tuning_job_runs(client):
    source = client.files.create(file=("t.jsonl", b"{}"), purpose="fine-tune")
    made = client.fine_tuning.jobs.create(model="gpt-5.4-mini", training_file=source.id)
    client.fine_tuning.jobs.retrieve(made.id)
    done = client.fine_tuning.jobs.retrieve(made.id)
    assert (done.status, done.fine_tuned_model) == ("succeeded", "gpt-5.4-mini.ft-emulator")
    assert [job.id for job in client.fine_tuning.jobs.list()] == [made.id]
    assert [event.level for event in client.fine_tuning.jobs.list_events(made.id)] == ["info"]
    assert list(client.fine_tuning.jobs.checkpoints.list(made.id)) == []
    assert client.fine_tuning.jobs.cancel(made.id).status == "cancelled"


@pytest.fixture
def plain(openai_emulator) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{openai_emulator.url}/v1", api_key="right-key", max_retries=0) as client:
        yield client


def test_models_are_listed(azure, v1, plain, openai_emulator):
    assert "gpt-5.4" in [model.id for model in azure.models.list()]
    assert "gpt-5.4" in [model.id for model in v1.models.list()]
    assert [model.id for model in plain.models.list()] == sorted(openai_emulator.app.deployments)
    assert azure.models.retrieve("gpt-5.4").model_extra["capabilities"]["chat_completion"] is True


@pytest.mark.parametrize(
    "path",
    [
        "/openai/deployments/chat/chat/completions",
        "/openai/chat/completions?api-version=2024-10-21",
        "/openai/deployments/chat/nope?api-version=2024-10-21",
        "/openai/nope?api-version=2024-10-21",
        "/nope",
        "/",
    ],
)
def test_unknown_path_or_missing_version_is_404(openai_emulator, path):
    answer = httpx.post(openai_emulator.url + path, json={"model": "chat"}, headers={"api-key": "right-key"})
    assert answer.status_code == 404
    assert answer.json() == {"error": {"code": "404", "message": "Resource not found"}}


@pytest.mark.parametrize(
    ("content_type", "body", "said"),
    [
        ("application/json", b"{", "could not parse the JSON"),
        ("application/json", b"[]", "must be a JSON object"),
        ("application/json", b"{}", "Missing required parameter: 'messages'"),
        ("multipart/form-data", b"x", "boundary"),
        ("multipart/form-data; boundary=b", b"--b\r\nx", "closing boundary"),
    ],
)
def test_broken_bodies_are_400(openai_emulator, content_type, body, said):
    url = f"{openai_emulator.url}/openai/deployments/chat/chat/completions?api-version=1"
    answer = httpx.post(url, content=body, headers={"api-key": "right-key", "content-type": content_type})
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]


def test_any_deployment_name_works_when_none_are_configured():
    with (
        Server(Emulator()) as server,
        AzureOpenAI(azure_endpoint=server.url, api_key="any", api_version=VERSION) as client,
    ):
        answer = client.chat.completions.create(model="whatever", messages=[{"role": "user", "content": "x"}])
        assert answer.model == "whatever"
        assert client.images.generate(model="whatever", prompt="x").data
