"""Keys of the log's tables.

A record's partition is its minute, its row key its microsecond and id, both counted down from the end of
time: the tables give rows in the order of their keys, so the newest come first in one range.
"""

import hashlib
from datetime import UTC, datetime

from gateway.core.ids import time_of

_END_MINUTE = 99_999_999  # the year 2160
_END_MICROSECOND = 9_999_999_999_999_999
_LAST_DAY = 999_999
_MINUTE = 60_000_000  # microseconds


def micros(seconds: float) -> int:
    return round(seconds * 1e6)


def partition(at: int) -> str:
    """Of a time in unix microseconds."""
    return f"{_END_MINUTE - at // _MINUTE:08d}"


def row(at: int, id: str = "") -> str:
    """A row key; without an id the least of that microsecond."""
    return f"{_END_MICROSECOND - at:016d}-{id}"


def keys_of(created_at: float, id: str) -> tuple[str, str]:
    at = micros(created_at)
    return partition(at), row(at, id)


def partition_of_row(key: str) -> str:
    return partition(_END_MICROSECOND - int(key[:16]))


def range_of(id: str) -> tuple[str, str, str] | None:
    """(partition, least row key, greatest) that a record's id leaves; None for an id that tells no time."""
    seconds = time_of(id)
    if seconds is None:
        return None
    first = round(seconds * 1000) * 1000
    # The id tells the millisecond; the record's time may round to the next one's first microsecond.
    return partition(first), row(first + 1000), row(first) + "~"


def trace_partition(trace_id: str) -> str:
    """Trace ids are the callers' own: hashed, they are good keys whatever stands in them."""
    return hashlib.sha256(trace_id.encode()).hexdigest()[:32]


def day(start: float) -> str:
    return f"{min(int(start // 86400), _LAST_DAY):06d}"


def blob_folder(seconds: float) -> str:
    """Folders by the hour, in the order of time, so that what is old is found by its name."""
    return datetime.fromtimestamp(seconds, UTC).strftime("bodies/%Y/%m/%d/%H")
