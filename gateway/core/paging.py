"""Cursors: where a page of a list ended, as one opaque word."""

from base64 import urlsafe_b64decode, urlsafe_b64encode

import orjson

from gateway.core.errors import InvalidRequest

_LONGEST = 1024  # characters


def encode_cursor(*place: int | str) -> str:
    return urlsafe_b64encode(orjson.dumps(place)).rstrip(b"=").decode()


def decode_cursor(cursor: str, *kinds: type) -> list[int | str]:
    """The place of a cursor; `InvalidRequest` when it is none of this store's."""
    try:
        if len(cursor) > _LONGEST:
            raise ValueError("too long")
        place = orjson.loads(urlsafe_b64decode(cursor.encode("ascii") + b"=="))
        if not isinstance(place, list) or [type(item) for item in place] != list(kinds):
            raise ValueError("another store's")
    except ValueError as error:  # orjson, base64 and ASCII errors are ValueErrors
        raise InvalidRequest(
            "cursor: not one of this list; leave it out to start at the newest", param="cursor"
        ) from error
    return place
