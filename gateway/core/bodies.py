"""Reads a record's request and answer for the log: JSON as it is, streams assembled, files kept apart."""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.core.assemble import assemble
from gateway.core.multipart import summary
from gateway.core.ports import StoredFile
from gateway.core.record import Record, Usage

Clean = Callable[[bytes], bytes]

MAX_BODY_BYTES = 4 * 1024 * 1024  # of one body without its images; a longer one is cut
_DEEPEST = 64
_SHORTEST_FILE = 512  # characters of base64 in a field that may hold anything; less stays where it is
# What a body with an image or a sound in it has somewhere.
_WITH_FILES = (
    b"b64_json",
    b";base64,",
    b"image_generation_call",
    b"_image_b64",
    b'"input_audio"',
    b'"audio"',
)
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[\w=.+-]+)*;base64,", re.ASCII)
_EXTENSIONS = {"image/jpeg": "jpg", "audio/mpeg": "mp3", "image/svg+xml": "svg"}


@dataclass(slots=True)
class Body:
    """What the log knows of one body. `json` is what is stored, ready for orjson."""

    json: Any = None
    value: Any = None  # the JSON as Python objects, where it is JSON
    model: str | None = None
    user: str | None = None
    usage: Usage | None = None
    pieces: int = 0  # of text that a stream had: about its tokens
    content_filter: Any = None
    files: list[StoredFile] = field(default_factory=list)


def read_request(record: Record, clean: Clean) -> Body:
    """The request's body: JSON, a multipart form's fields and file names, or text."""
    kind = _content_type(record.request_headers)
    if kind.startswith("multipart/form-data") and record.request_body is not None:
        return Body(json=_cleaned(summary(record.request_body, kind), clean))
    body = _read(record.request_body, kind, "request", clean)
    if isinstance(body.value, dict) and isinstance(user := body.value.get("user"), str):
        body.user = user[:128]
    return body


def read_variables(record: Record, clean: Clean) -> Body:
    """What the prompt was filled with: the request's body holds them no more, once it is rendered."""
    return _read(record.prompt_variables, "application/json", "variables", clean)


def read_response(record: Record, clean: Clean) -> Body:
    """The answer's body; the events of a stream are put together into one answer."""
    raw = b"".join(record.response_body)
    kind = _content_type(record.response_headers)
    if kind.startswith("text/event-stream") or (record.stream and raw.startswith((b"data:", b"event:"))):
        answer, usage, pieces = assemble(raw)
        body = _read(orjson.dumps(answer), "application/json", "response", clean)
        body.usage, body.pieces = usage, pieces
    else:
        body = _read(raw or None, kind, "response", clean)
    if isinstance(body.value, dict):
        model = body.value.get("model")
        body.model = model if isinstance(model, str) and model else None
        body.content_filter = content_filter(body.value)
    return body


def content_filter(answer: Mapping[str, Any]) -> dict[str, Any] | None:
    """What Azure's content filter says of the prompt and of each choice, where it says anything."""
    found: dict[str, Any] = {}
    for name in ("prompt_filter_results", "content_filters"):
        if results := answer.get(name):
            found[name] = results
    choices = answer.get("choices")
    results = [
        choice["content_filter_results"]
        for choice in (choices if isinstance(choices, list) else [])
        if isinstance(choice, dict) and choice.get("content_filter_results")
    ]
    if results:
        found["choices"] = results
    error = answer.get("error")
    inner = error.get("innererror") if isinstance(error, dict) else None
    if isinstance(inner, dict) and inner.get("content_filter_result"):
        found["error"] = inner["content_filter_result"]
    return found or None


def _read(raw: bytes | None, kind: str, side: str, clean: Clean) -> Body:
    if not raw:
        return Body()
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return _unread(raw, kind, side, clean)
    body = Body(value=value)
    if any(mark in raw for mark in _WITH_FILES):
        value = _without_files(value, side, body.files)
        raw = orjson.dumps(value)
    cleaned = clean(raw)
    body.json = orjson.Fragment(cleaned) if cleaned is raw or _is_json(cleaned) else _text(cleaned)
    raw = cleaned
    if len(raw) > MAX_BODY_BYTES:
        body.json = _text(raw)
    return body


def _is_json(raw: bytes) -> bool:
    """Whether masking left JSON; a pattern may take a quote with it."""
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        return False
    return True


def _unread(raw: bytes, kind: str, side: str, clean: Clean) -> Body:
    if kind.startswith(("image/", "audio/")):
        media_type = kind.partition(";")[0].strip()
        name = f"{side}-0.{_extension(media_type)}"
        return Body(json={"file": name}, files=[StoredFile(name, media_type, raw)])
    if b"\0" in raw[:1024]:
        return Body(json={"omitted": kind or "binary", "bytes": len(raw)})
    return Body(json=_text(clean(raw)))


def _text(raw: bytes) -> str:
    text = raw[:MAX_BODY_BYTES].decode(errors="replace")
    return text if len(raw) <= MAX_BODY_BYTES else f"{text}... ({len(raw)} bytes, cut)"


def _cleaned(value: Any, clean: Clean) -> Any:
    raw = clean(orjson.dumps(value))
    return orjson.Fragment(raw) if _is_json(raw) else _text(raw)


def _without_files(value: Any, side: str, files: list[StoredFile], depth: int = 0) -> Any:
    """The value with each image or sound in base64 replaced by the name of its file."""
    if depth > _DEEPEST:
        return value
    if isinstance(value, list):
        return [_without_files(item, side, files, depth + 1) for item in value]
    if isinstance(value, str) and value.startswith("data:") and (found := _DATA_URL.match(value)):
        name = _take(value[found.end() :], found.group(1), side, files)
        return f"file:{name}" if name else value
    if not isinstance(value, dict):
        return value
    out = {}
    for key, item in value.items():
        name = None
        if isinstance(item, str):
            if key in ("b64_json", "partial_image_b64") or (
                key == "result" and value.get("type") == "image_generation_call"
            ):
                name = _take(item, f"image/{value.get('output_format') or 'png'}", side, files)
            elif key == "data" and isinstance(value.get("format", "wav"), str) and len(item) > _SHORTEST_FILE:
                name = _take(item, f"audio/{value.get('format', 'wav')}", side, files)
        out[key] = f"file:{name}" if name else _without_files(item, side, files, depth + 1)
    return out


def _take(text: str, media_type: str, side: str, files: list[StoredFile]) -> str | None:
    """Adds the decoded text to `files` and gives its name; None when it is empty or not base64."""
    try:
        data = b64decode(text, validate=True)
    except (Base64Error, ValueError):
        return None
    if not data:
        return None
    name = f"{side}-{len(files)}.{_extension(media_type)}"
    files.append(StoredFile(name, media_type, data))
    return name


def _extension(media_type: str) -> str:
    known = _EXTENSIONS.get(media_type)
    return known or re.sub(r"[^a-z0-9]", "", media_type.partition("/")[2].lower())[:8] or "bin"


def _content_type(headers: list[tuple[bytes, bytes]] | None) -> str:
    for name, value in headers or ():
        if name.lower() == b"content-type":
            return value.decode("latin-1")
    return ""
