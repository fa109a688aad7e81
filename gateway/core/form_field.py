"""The one field of a multipart body that the gateway reads and may rewrite: `model`.

Everything else keeps its bytes, boundary included. Source: RFC 2046 section 5.1, RFC 7578.
"""

import re

from gateway.core.errors import InvalidRequest

_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70})(?=[\s;]|$))', re.IGNORECASE)
_NAME = re.compile(rb'content-disposition:[^\r\n]*?[;\s]name="?([^";\r\n]*)"?', re.IGNORECASE)
_MOST_PARTS = 1000
_MOST_HEAD = 8192  # bytes of a part's headers


def boundary_of(content_type: str) -> bytes:
    """The boundary, or `InvalidRequest`: without it no part can be told from the next."""
    match = _BOUNDARY.search(content_type)
    if match is None:
        raise InvalidRequest(
            "Content-Type: multipart/form-data needs its boundary; let the HTTP client set the header",
            code="invalid_multipart",
            param="content-type",
        )
    return (match[1] or match[2]).encode("latin-1")


def find_field(body: bytes, content_type: str, name: str) -> tuple[int, int] | None:
    """Where the value of the first field of that name starts and ends, or None."""
    delimiter = b"--" + boundary_of(content_type)
    start = body.find(delimiter)
    for _ in range(_MOST_PARTS):
        if start < 0:
            return None
        head = start + len(delimiter)
        if body[head : head + 2] == b"--":
            return None
        head_end = body.find(b"\r\n\r\n", head, head + _MOST_HEAD)
        if head_end < 0:
            raise InvalidRequest("the multipart body breaks off inside a part", code="invalid_multipart")
        end = body.find(b"\r\n" + delimiter, head_end + 2)
        match = _NAME.search(body, head, head_end + 2)
        if match and match[1] == name.encode() and end >= 0:
            return min(head_end + 4, end), end
        start = end + 2 if end >= 0 else -1
    raise InvalidRequest(f"the multipart body has more than {_MOST_PARTS} parts", code="invalid_multipart")


def read_field(body: bytes, content_type: str, name: str) -> str | None:
    """The field's text, or None when there is no such field."""
    span = find_field(body, content_type, name)
    return body[span[0] : span[1]].decode("utf-8", "replace")[:1000] if span else None


def with_field(body: bytes, content_type: str, name: str, value: str) -> bytes:
    """The body with the field set; the same object when it is so already."""
    span = find_field(body, content_type, name)
    data = value.encode()
    if span is None:
        delimiter = b"--" + boundary_of(content_type)
        head = f'\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode()
        return delimiter + head + data + b"\r\n" + body
    if body[span[0] : span[1]] == data:
        return body
    return body[: span[0]] + data + body[span[1] :]
