"""Ids of records: UUIDs of version 7 (RFC 9562), which begin with the time.

A store that is partitioned by time finds a record by its id alone.
"""

import uuid

_MOST_MS = (1 << 48) - 1


def record_id(created_at: float, random: bytes) -> str:
    """An id for a record of `created_at` (unix seconds). `random` is ten bytes from the system's source."""
    milliseconds = min(max(0, int(created_at * 1000)), _MOST_MS)
    tail = int.from_bytes(random[:10], "big")
    high = (milliseconds << 16) | 0x7000 | (tail >> 62 & 0xFFF)
    low = (0b10 << 62) | (tail & ((1 << 62) - 1))
    text = f"{(high << 64) | low:032x}"  # uuid.UUID takes five times as long to say the same
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def time_of(id: str) -> float | None:
    """Unix seconds, to the millisecond, that an id begins with; None for any other id."""
    try:
        parsed = uuid.UUID(id)
    except ValueError:
        return None
    return (parsed.int >> 80) / 1000 if parsed.version == 7 else None
