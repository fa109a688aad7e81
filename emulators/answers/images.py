"""Image generations and edits: tiny real images, usage, streams of partial images."""

import base64
import struct
import zlib
from hashlib import sha256
from typing import Any

from emulators.answers.text import CREATED, named_event, tokens

_SIDE = 8  # pixels; enough for a decoder to accept
_OUTPUT_TOKENS = {
    "low": 272,
    "medium": 1056,
    "high": 4160,
}  # of a 1024x1024 image by quality, OpenAI's price page


def png(seed: str) -> bytes:
    """A valid PNG of one colour that depends on `seed`."""
    pixel = sha256(seed.encode()).digest()[:3]
    rows = (b"\x00" + pixel * _SIDE) * _SIDE
    header = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def jpeg() -> bytes:
    """A valid grey baseline JPEG of one block: one code in each Huffman table, all coefficients zero."""
    one_code = b"\x01" + b"\x00" * 16
    segments = (
        (0xDB, b"\x00" + b"\x01" * 64),
        (0xC0, struct.pack(">BHHB", 8, _SIDE, _SIDE, 1) + b"\x01\x11\x00"),
        (0xC4, b"\x00" + one_code),
        (0xC4, b"\x10" + one_code),
        (0xDA, b"\x01\x01\x00\x00\x3f\x00"),
    )
    body = b"".join(struct.pack(">BBH", 0xFF, mark, len(data) + 2) + data for mark, data in segments)
    return b"\xff\xd8" + body + b"\x3f\xff\xd9"


def image_body(fields: dict[str, Any], prompt: str, images_in: int) -> dict[str, Any]:
    """`fields` are the caller's parameters, `images_in` how many images an edit brought."""
    count = int(fields.get("n") or 1)
    data = [{"b64_json": _encoded(fields, f"{prompt} {index}")} for index in range(count)]
    return {
        "created": CREATED,
        "data": data,
        **_shown(fields),
        "usage": _usage(fields, prompt, images_in, count),
    }


def image_events(fields: dict[str, Any], prompt: str, images_in: int, kind: str) -> list[bytes]:
    """`kind` is `image_generation` or `image_edit`."""
    shown = {"created_at": CREATED, **_shown(fields)}
    partials = [
        {"b64_json": _encoded(fields, f"{prompt} part {index}"), "partial_image_index": index}
        for index in range(int(fields.get("partial_images") or 0))
    ]
    last = {"b64_json": _encoded(fields, f"{prompt} 0"), "usage": _usage(fields, prompt, images_in, 1)}
    events = [{"type": f"{kind}.partial_image", **partial, **shown} for partial in partials]
    return [named_event(event) for event in (*events, {"type": f"{kind}.completed", **last, **shown})]


def _encoded(fields: dict[str, Any], seed: str) -> str:
    return base64.b64encode(jpeg() if fields.get("output_format") == "jpeg" else png(seed)).decode()


def _shown(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "background": fields.get("background") or "opaque",
        "output_format": fields.get("output_format") or "png",
        "quality": _quality(fields),
        "size": fields.get("size") or "1024x1024",
    }


def _usage(fields: dict[str, Any], prompt: str, images_in: int, count: int) -> dict[str, Any]:
    text, image = tokens(prompt), 323 * images_in  # what a small input image costs
    spent = _OUTPUT_TOKENS[_quality(fields)] * count
    return {
        "input_tokens": text + image,
        "input_tokens_details": {"image_tokens": image, "text_tokens": text},
        "output_tokens": spent,
        "total_tokens": text + image + spent,
    }


def _quality(fields: dict[str, Any]) -> str:
    quality = str(fields.get("quality"))
    return quality if quality in _OUTPUT_TOKENS else "medium"


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
