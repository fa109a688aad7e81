"""Multipart bodies, as far as the SDKs send them (RFC 7578)."""

import re
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Part:
    name: str
    filename: str | None
    content_type: str | None
    content: bytes = field(repr=False)

    @property
    def text(self) -> str:
        return self.content.decode()


def parse_multipart(content_type: str, body: bytes) -> list[Part]:
    """The parts in order; ValueError when the body is not multipart/form-data or broken."""
    boundary = re.search(r'boundary="?([^";]+)"?', content_type)
    if not content_type.lower().startswith("multipart/form-data") or boundary is None:
        raise ValueError("the body must be multipart/form-data with a boundary")
    delimiter = b"\r\n--" + boundary[1].encode()
    pieces = (b"\r\n" + body).split(delimiter)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise ValueError("the multipart body has no closing boundary")
    return [_part(piece) for piece in pieces[1:-1]]


def _part(piece: bytes) -> Part:
    head, separator, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
    headers = dict(_header(line) for line in head.decode().split("\r\n"))
    disposition = headers.get("content-disposition", "")
    name = re.search(r'(?<!file)name="((?:[^"\\]|\\.)*)"', disposition)
    if not separator or name is None:
        raise ValueError("a part has no name")
    filename = re.search(r'filename="((?:[^"\\]|\\.)*)"', disposition)
    return Part(name[1], filename[1] if filename else None, headers.get("content-type"), content)


def _header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip().lower(), value.strip()
