"""Tokens, ids and events: what all answers are made of."""

import hashlib
import re
from typing import Any

import orjson

CREATED = 1_760_000_000  # unix seconds; every answer carries the same time, so answers can be compared


def tokens(text: str) -> int:
    """About four characters a token, as OpenAI's rule of thumb has it; at least one for any text."""
    return -(-len(text) // 4)


def pieces(text: str) -> list[str]:
    """The text cut into words with the space before each, as models stream it."""
    return re.findall(r"\s*\S+|\s+$", text)


def short_id(*parts: object) -> str:
    """24 hex digits that depend on `parts` alone."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def flatten(content: Any) -> str:
    """The text of a message's content: a string, or a list of parts of which some are text."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, dict))
        return " ".join(text for text in texts if isinstance(text, str))
    return ""


def data_event(value: Any) -> bytes:
    """One SSE event without a name, as chat streams them."""
    return b"data: " + orjson.dumps(value) + b"\n\n"


def named_event(value: dict[str, Any]) -> bytes:
    """One SSE event named after its `type`."""
    return b"event: " + str(value["type"]).encode() + b"\ndata: " + orjson.dumps(value) + b"\n\n"


def sample(schema: Any, text: str) -> Any:
    """A value that fits a JSON schema; strings say `text`."""
    if not isinstance(schema, dict):
        return text
    if "enum" in schema:
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    for union in ("anyOf", "oneOf"):
        if schema.get(union):
            return sample(schema[union][0], text)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    match kind[0] if isinstance(kind, list) else kind:
        case "object":
            return {name: sample(item, text) for name, item in (schema.get("properties") or {}).items()}
        case "array":
            return [sample(schema.get("items"), text)]
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case "null":
            return None
    return text
