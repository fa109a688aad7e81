"""Speech, transcriptions and translations."""

import struct
from hashlib import sha256
from typing import Any

from emulators.answers.text import named_event, pieces, tokens

MEDIA_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
_STARTS = {"mp3": b"ID3\x04", "opus": b"OggS", "aac": b"\xff\xf1", "flac": b"fLaC", "pcm": b""}
_PIECE = 4096  # bytes of one chunk
_RATE = 24_000  # samples a second, of 16 bits, one channel: what the service sends as wav and pcm


def speech_chunks(text: str, kind: str) -> list[bytes]:
    """Binary chunks that depend on the text, about a chunk for three words; the start is the format's."""
    count = max(2, len(pieces(text)) // 3)
    noise = [sha256(f"{text} {index}".encode()).digest() * (_PIECE // 32) for index in range(count)]
    start = _wav_header(_PIECE * count) if kind == "wav" else _STARTS[kind]
    return [start + noise[0], *noise[1:]]


def speech_events(text: str, chunks: list[bytes], encode: Any) -> list[bytes]:
    """The chunks as SSE (`stream_format: "sse"`); `encode` gives base64 text."""
    usage = {"input_tokens": tokens(text), "output_tokens": 20 * len(chunks)}
    usage["total_tokens"] = sum(usage.values())
    events: list[dict[str, Any]] = [
        {"type": "speech.audio.delta", "audio": encode(chunk)} for chunk in chunks
    ]
    events.append({"type": "speech.audio.done", "usage": usage})
    return [named_event(event) for event in events]


def _wav_header(size: int) -> bytes:
    form = struct.pack("<IHHIIHH", 16, 1, 1, _RATE, _RATE * 2, 2, 16)
    return b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + form + b"data" + struct.pack("<I", size)


def transcript(filename: str, content: bytes, *, translated: bool) -> str:
    verb = "Translation" if translated else "Transcript"
    return f"{verb} of {filename}, {len(content)} bytes."


def transcript_body(text: str, form: str, *, translated: bool) -> str | dict[str, Any]:
    """By `response_format`: text formats are strings, the JSON ones objects."""
    end = "00:00:02"
    match form:
        case "text":
            return text + "\n"
        case "srt":
            return f"1\n00:00:00,000 --> {end},000\n{text}\n\n"
        case "vtt":
            return f"WEBVTT\n\n00:00:00.000 --> {end}.000\n{text}\n\n"
        case "verbose_json":
            task = "translate" if translated else "transcribe"
            segment = {"id": 0, "start": 0.0, "end": 2.0, "text": text, "tokens": [], "temperature": 0.0}
            numbers = {"seek": 0, "avg_logprob": -0.1, "compression_ratio": 1.0, "no_speech_prob": 0.0}
            shown = {"task": task, "language": "english", "duration": 2.0, "text": text}
            return {**shown, "segments": [segment | numbers]}
    return {"text": text, "usage": _usage(text)}


def transcript_events(text: str) -> list[bytes]:
    events: list[dict[str, Any]] = [{"type": "transcript.text.delta", "delta": item} for item in pieces(text)]
    events.append({"type": "transcript.text.done", "text": text, "usage": _usage(text)})
    return [named_event(event) for event in events]


def _usage(text: str) -> dict[str, Any]:
    details = {"text_tokens": 0, "audio_tokens": 20}
    spent = tokens(text)
    return {
        "type": "tokens",
        "input_tokens": 20,
        "input_token_details": details,
        "output_tokens": spent,
        "total_tokens": 20 + spent,
    }
