"""What every store of documents checks: names, and the size of a value."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.core.errors import BodyTooLarge, InvalidRequest

MAX_VALUE_BYTES = 1024 * 1024
_KIND = re.compile(r"[a-z][a-z0-9-]{0,62}")
_ID = re.compile(r"[A-Za-z0-9._@:~-]{1,200}")


def check_kind(kind: str) -> None:
    if not _KIND.fullmatch(kind):
        raise InvalidRequest(f"kind {kind!r:.80}: expected lower-case letters, digits and hyphens")


def check_names(kind: str, id: str) -> None:
    check_kind(kind)
    if not _ID.fullmatch(id):
        raise InvalidRequest(f"id {id!r:.80}: expected 1 to 200 of the characters A-Z a-z 0-9 . _ @ : ~ -")


def encode_value(value: Mapping[str, Any]) -> bytes:
    """A document's value as JSON; raises when it is not JSON or longer than `MAX_VALUE_BYTES`."""
    try:
        encoded = orjson.dumps(value)
    except TypeError as error:
        raise InvalidRequest(f"value: not JSON: {error}") from error
    if len(encoded) > MAX_VALUE_BYTES:
        raise BodyTooLarge(f"value: at most {MAX_VALUE_BYTES} bytes of JSON, got {len(encoded)}")
    return encoded
