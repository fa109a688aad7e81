"""The stateless operations: each takes a call and the model behind its deployment, and gives the answer."""

import base64
import re
from collections.abc import Callable, Sequence
from typing import Any

from emulators.answers import audio, chat, embeddings, errors, images
from emulators.call import Call
from emulators.plan import EVENT_STREAM, Answer, json_answer

_REASONING = re.compile(r"(o\d|gpt-5)")  # these models know `max_completion_tokens` alone
_KINDS = (
    (re.compile(r"gpt-image|dall-e"), "image"),
    (re.compile(r"text-embedding"), "embedding"),
    (re.compile(r"whisper|.*transcribe"), "transcription"),
    (re.compile(r"tts|.*-tts"), "speech"),
    (re.compile(r"o\d|gpt-"), "chat"),
)


def model_kind(model: str) -> str | None:
    """What a model of that name does; None when the name does not tell."""
    return next((kind for pattern, kind in _KINDS if pattern.match(model)), None)


def stream(events: Sequence[bytes]) -> Answer:
    return Answer(200, (("content-type", EVENT_STREAM),), events, streamed=True)


def require(call: Call, name: str, kind: type | tuple[type, ...]) -> Any:
    value = call.fields.get(name)
    if not value or not isinstance(value, kind):
        raise errors.typed(400, "missing_required_parameter", f"Missing required parameter: '{name}'.", name)
    return value


def check_range(call: Call, name: str, low: int, high: int) -> None:
    """A number outside, or no number at all, is refused as the service does."""
    value = call.fields.get(name)
    if value is None:
        return
    try:
        fits = low <= int(value) <= high
    except (TypeError, ValueError):
        fits = False
    if not fits:
        message = f"Invalid '{name}': expected an integer from {low} to {high}, got {value!r}."
        raise errors.typed(400, "invalid_value", message, name)


def chat_completions(call: Call, model: str) -> Answer:
    require(call, "messages", list)
    _check_prompt(call)
    check_range(call, "n", 1, 128)
    if _REASONING.match(model) and "max_tokens" in call.fields:
        raise errors.unsupported_max_tokens()
    said = chat.chat_reply(call.fields)
    if call.fields.get("stream"):
        return stream(chat.chat_events(call.fields, said, model, azure=call.azure))
    return json_answer(chat.chat_body(call.fields, said, model, azure=call.azure))


def completions(call: Call, model: str) -> Answer:
    require(call, "prompt", (str, list))
    _check_prompt(call)
    prompt = chat.prompt_text(call.fields)
    said = chat.say(call.fields, prompt, prompt)
    if call.fields.get("stream"):
        return stream(chat.completion_events(call.fields, said, model, azure=call.azure))
    return json_answer(chat.completion_body(call.fields, said, model, azure=call.azure))


def embed(call: Call, model: str) -> Answer:
    require(call, "input", (str, list))
    check_range(call, "dimensions", 1, 3072)
    return json_answer(embeddings.embedding_body(call.fields, model))


def image_generations(call: Call, model: str) -> Answer:
    return _images(call, model, 0, "image_generation")


def image_edits(call: Call, model: str) -> Answer:
    pictures = [part for part in call.files if part.name in ("image", "image[]")]
    masks = [part for part in call.files if part.name == "mask"]
    if not pictures:
        raise errors.typed(400, "missing_required_parameter", "Missing required parameter: 'image'.", "image")
    for part in (*pictures, *masks):
        if not part.content.startswith((b"\x89PNG", b"\xff\xd8")):
            raise errors.typed(400, "invalid_image_file", f"Invalid image file {part.filename!r}.", part.name)
    return _images(call, model, len(pictures), "image_edit")


def _images(call: Call, model: str, images_in: int, kind: str) -> Answer:
    fields = call.fields
    prompt = require(call, "prompt", str)
    check_range(call, "n", 1, 10)
    check_range(call, "partial_images", 0, 3)
    if chat.FILTERED_PROMPT in prompt:
        raise errors.image_prompt_filtered()
    if "response_format" in fields and not model.startswith("dall-e"):
        raise errors.unknown_parameter("response_format")
    if fields.get("output_format", "png") not in ("png", "jpeg"):
        value = fields["output_format"]
        raise errors.typed(
            400, "invalid_value", f"Invalid value: '{value}'. Supported: 'png', 'jpeg'.", "output_format"
        )
    if str(fields.get("stream", "")).lower() == "true":
        return stream(images.image_events(fields, prompt, images_in, kind))
    return json_answer(images.image_body(fields, prompt, images_in))


def speech(call: Call, model: str) -> Answer:
    text = require(call, "input", str)
    kind = call.fields.get("response_format", "mp3")
    if kind not in audio.MEDIA_TYPES:
        raise errors.typed(400, "invalid_value", f"Invalid value: '{kind}'.", "response_format")
    chunks = audio.speech_chunks(text, kind)
    if call.fields.get("stream_format") == "sse":
        return stream(audio.speech_events(text, chunks, lambda chunk: base64.b64encode(chunk).decode()))
    return Answer(200, (("content-type", audio.MEDIA_TYPES[kind]),), chunks, streamed=True)


def transcriptions(call: Call, model: str) -> Answer:
    return _transcribe(call, translated=False)


def translations(call: Call, model: str) -> Answer:
    return _transcribe(call, translated=True)


def _transcribe(call: Call, *, translated: bool) -> Answer:
    file = next((part for part in call.files if part.name == "file"), None)
    if file is None or not file.filename or not file.content:
        raise errors.typed(400, "missing_required_parameter", "Missing required parameter: 'file'.", "file")
    text = audio.transcript(file.filename, file.content, translated=translated)
    if str(call.fields.get("stream", "")).lower() == "true":
        return stream(audio.transcript_events(text))
    body = audio.transcript_body(text, call.fields.get("response_format", "json"), translated=translated)
    if isinstance(body, str):
        return Answer(200, (("content-type", "text/plain; charset=utf-8"),), (body.encode(),))
    return json_answer(body)


def _check_prompt(call: Call) -> None:
    if chat.FILTERED_PROMPT in chat.prompt_text(call.fields):
        if call.azure:
            raise errors.prompt_filtered(chat.SAFE)
        raise errors.typed(400, "content_filter", "The prompt was refused by the content filter.", "prompt")


# Operation: what does it, the kind of model it needs, and its name in Azure's error messages.
OPERATIONS: dict[str, tuple[Callable[[Call, str], Answer], str, str]] = {
    "chat/completions": (chat_completions, "chat", "chatCompletion"),
    "completions": (completions, "chat", "completion"),
    "embeddings": (embed, "embedding", "embeddings"),
    "images/generations": (image_generations, "image", "imageGenerations"),
    "images/edits": (image_edits, "image", "imageEdits"),
    "audio/speech": (speech, "speech", "textToSpeech"),
    "audio/transcriptions": (transcriptions, "transcription", "audioTranscription"),
    "audio/translations": (translations, "transcription", "audioTranslation"),
}
