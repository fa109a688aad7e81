"""What is read of a stream while it passes: its usage, its model, whether it said that it is done."""

import re
from typing import Any

import orjson

from gateway.core.record import Record
from gateway.core.sse import Splitter, data_of
from gateway.core.usage import is_usage_only, merge, usage_of

# Streams whose usage was asked for say `"usage":null` in each event but the last.
_TELLS = re.compile(rb'"usage"(?!:null)')
_DONE = re.compile(rb"(?:^|[\r\n])data: ?\[DONE\]")


def _says_done(events: bytes) -> bool:
    # The plain search is fifty times as fast, and settles it for all but the last event; from the end it
    # is three times as fast again.
    return events.rfind(b"[DONE]") >= 0 and _DONE.search(events) is not None


def note_model(record: Record, answer: Any) -> None:
    """The model that answered, as it calls itself: the best name for a price."""
    if isinstance(answer, dict) and isinstance(model := answer.get("model"), str) and model:
        record.response_model = model[:200]


class Tally:
    """Counts a stream's tokens as its events pass, and takes out the usage event nobody asked for.

    Events pass whole: where the upstream breaks off inside one, the client has not seen its half, and
    the event that tells of the break can be read.
    """

    __slots__ = ("_done", "_record", "_splitter", "_strip")

    def __init__(self, record: Record, *, strip: bool) -> None:
        self._record = record
        self._splitter = Splitter()
        self._strip = strip
        self._done = False

    def feed(self, chunk: bytes) -> bytes:
        """What of the chunk goes to the client now."""
        plain = self._plain(chunk)
        if plain:
            ahead, chunk = chunk[:plain], chunk[plain:]
            self._done = self._done or _says_done(ahead)
            return ahead + self._cut(chunk) if chunk else ahead
        return self._cut(chunk)

    def _plain(self, chunk: bytes) -> int:
        """How many bytes at the front are whole events without usage: they need no cutting.

        Nearly all of a stream is; an event costs a hundred times less this way.
        """
        if not self._splitter.empty or b"\r" in chunk:
            return 0
        told = _TELLS.search(chunk) if chunk.rfind(b'"usage"') >= 0 else None
        end = chunk.rfind(b"\n\n", 0, told.start()) if told else chunk.rfind(b"\n\n")
        return end + 2 if end >= 0 else 0

    def _cut(self, chunk: bytes) -> bytes:
        kept = [event for event in self._splitter.feed(chunk) if not self._read(event)]
        return kept[0] if len(kept) == 1 else b"".join(kept)

    def rest(self) -> bytes:
        """What is left at the end: an event that no blank line ended."""
        rest = self._splitter.rest()
        return b"" if rest and self._read(rest) else rest

    @property
    def done(self) -> bool:
        """Whether the stream said `[DONE]`."""
        return self._done

    def _read(self, event: bytes) -> bool:
        """Look for usage; whether the event is to be taken out."""
        if not _TELLS.search(event):
            self._done = self._done or _says_done(event)
            return False
        try:
            value = orjson.loads(data_of(event))
        except orjson.JSONDecodeError:
            return False
        self._record.usage = merge(self._record.usage, usage_of(value))
        note_model(self._record, value)
        return self._strip and is_usage_only(value)
