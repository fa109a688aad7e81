"""Embeddings in which texts that share words are near each other."""

import base64
import math
import struct
from hashlib import sha256
from typing import Any

from emulators.answers.text import tokens

_DIMENSIONS = 1536  # of text-embedding-3-small


def embedding_body(body: dict[str, Any], model: str) -> dict[str, Any]:
    """One unit vector for each input, as floats or base64 of little-endian float32."""
    inputs = _inputs(body["input"])
    size = int(body.get("dimensions") or (3072 if model.endswith("-large") else _DIMENSIONS))
    vectors = [_vector(text, size) for text in inputs]
    shown = map(_base64, vectors) if body.get("encoding_format") == "base64" else vectors
    data = [{"object": "embedding", "index": index, "embedding": item} for index, item in enumerate(shown)]
    spent = sum(map(tokens, inputs))
    return {
        "object": "list",
        "data": data,
        "model": model,
        "usage": {"prompt_tokens": spent, "total_tokens": spent},
    }


def _inputs(value: Any) -> list[str]:
    """The texts; token arrays are taken for text of their numbers."""
    if isinstance(value, str):
        return [value]
    if value and isinstance(value[0], int):
        return [" ".join(map(str, value))]
    return [item if isinstance(item, str) else " ".join(map(str, item)) for item in value]


def _vector(text: str, size: int) -> list[float]:
    """Each word adds to eight places that its hash picks."""
    vector = [0.0] * size
    for word in text.lower().split() or [""]:
        digest = sha256(word.encode()).digest()
        for start in range(0, 32, 4):
            place = int.from_bytes(digest[start : start + 4], "little")
            vector[place % size] += 1.0 if place & 0x8000_0000 else -1.0
    norm = math.sqrt(sum(value * value for value in vector)) or 1.0
    return [value / norm for value in vector]


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
