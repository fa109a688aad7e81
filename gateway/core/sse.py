"""Server-sent events on bytes: cut them into events and read their fields.

Source: the HTML Standard, section 9.2 (event stream format): lines end with LF, CRLF or CR, a blank
line ends an event, lines that begin with a colon are comments.
"""

import re

MAX_EVENT_BYTES = 32 * 1024 * 1024  # a partial image of 4096 x 4096 pixels in base64 fits

# A line's end and the blank line's end. A CR counts once it is known that no LF follows it.
_BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?=[^\n]))(?:\r\n|\n|\r(?=[^\n]))")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_LOOK_BACK = 4  # bytes of an unfinished blank line that a later chunk may complete: CR LF CR, and one


class Splitter:
    """Cuts a byte stream into events, wherever the chunks are cut.

    The events' bytes joined with `rest()` are the input, unchanged: blank lines before an event are
    part of it. An event of more than `limit` bytes comes out in pieces, so that memory stays bounded.
    """

    __slots__ = ("_buffer", "_limit", "_scanned")

    def __init__(self, limit: int = MAX_EVENT_BYTES) -> None:
        self._buffer = bytearray()  # grows in place: a long event in small chunks costs no copies
        self._scanned = 0  # this much of the buffer holds no end of an event
        self._limit = limit

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that `chunk` completes, each with its blank line."""
        # Nearly every chunk of an upstream is exactly one event; it costs two searches.
        size = len(chunk)
        if not self._buffer and size > 1 and chunk.find(b"\n\n") == size - 2 and b"\r" not in chunk:
            return [chunk]
        self._buffer += chunk
        return self._cut()

    @property
    def empty(self) -> bool:
        """Whether all that was fed came out as events."""
        return not self._buffer

    def rest(self) -> bytes:
        """What no blank line has ended, once; the splitter is empty afterwards."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        self._scanned = 0
        return rest

    def _cut(self) -> list[bytes]:
        cut = self._cut_at_lf() if b"\r" not in self._buffer else self._cut_at_any()
        self._scanned = len(self._buffer)
        if self._scanned > self._limit:
            cut.append(self.rest())
        return cut

    def _cut_at_lf(self) -> list[bytes]:
        """Without a CR an event ends at two LF, which a plain search finds ten times faster."""
        start = max(0, self._scanned - 1)  # the first LF may have come before
        if self._buffer.find(b"\n\n", start) < 0:
            return []
        *whole, rest = bytes(self._buffer).split(b"\n\n")
        self._buffer[:] = rest
        return [event + b"\n\n" for event in whole]

    def _cut_at_any(self) -> list[bytes]:
        events: list[bytes] = []
        start, position = 0, max(0, self._scanned - _LOOK_BACK)
        while found := _BLANK_LINE.search(self._buffer, position):
            position = found.end()
            events.append(bytes(self._buffer[start:position]))
            start = position
        del self._buffer[:start]
        return events


def data_of(event: bytes) -> bytes:
    """The event's data: its `data` lines joined by LF; empty for a comment or a bare event."""
    if event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2 and b"\r" not in event:
        return event[6:-2]
    return b"\n".join(value for name, value in fields(event) if name == b"data")


def name_of(event: bytes) -> bytes:
    """The value of the last `event` line; empty when there is none."""
    if event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2 and b"\r" not in event:
        return b""
    return next((value for name, value in reversed(fields(event)) if name == b"event"), b"")


def fields(event: bytes) -> list[tuple[bytes, bytes]]:
    """The event's lines as (name, value), comments and blank lines left out."""
    found = []
    for line in _LINE_END.split(event):
        name, colon, value = line.partition(b":")
        if name:
            found.append((name, value.removeprefix(b" ") if colon else b""))
    return found
