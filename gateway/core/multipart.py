"""Names what a multipart form holds, for the log: text fields whole, files by name and size."""

from email.message import Message
from typing import Any

_LONGEST_FIELD = 16 * 1024  # bytes of a text field that are kept
_MOST_PARTS = 100


def summary(body: bytes, content_type: str) -> dict[str, Any]:
    """`{"multipart": [{"name", "value"} or {"name", "filename", "content_type", "bytes"}, ...]}`.

    Source: RFC 7578. A body that does not follow it gives an empty list.
    """
    header = Message()
    header["content-type"] = content_type
    boundary = header.get_param("boundary")
    if not isinstance(boundary, str) or not boundary:
        return {"multipart": []}
    # The first delimiter may open the body without a line end before it.
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary.encode("latin-1", "replace"))
    return {"multipart": [part for piece in pieces[1 : _MOST_PARTS + 1] if (part := _part(piece))]}


def _part(piece: bytes) -> dict[str, Any] | None:
    if piece.startswith(b"--"):
        return None
    head, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
    header = Message()
    for line in head.split(b"\r\n"):
        key, _, value = line.decode("utf-8", "replace").partition(":")
        if key and key not in header:
            header[key] = value.strip()
    name = header.get_param("name", header="content-disposition")
    filename = header.get_filename()
    if filename is None:
        return {"name": str(name), "value": content[:_LONGEST_FIELD].decode(errors="replace")}
    media_type = header.get_content_type()
    return {"name": str(name), "filename": filename, "content_type": media_type, "bytes": len(content)}
