"""Sliding windows: how much was used in the last so many seconds.

A window is cut into slots. A slot leaves the sum when all of it has left the window, so that no
stretch of the window's length ever holds more than the limit; in return, a use may count for up to
one slot longer than the window.
"""

from collections import deque

SLOTS = 60  # of a window: a minute is counted by seconds


class Window:
    """Uses of one counter. Times are unix seconds; amounts are whole numbers."""

    __slots__ = ("_slots", "_sum", "_width")

    def __init__(self, seconds: float) -> None:
        self._width = seconds / SLOTS
        self._slots: deque[list[int]] = deque()  # [slot number, amount], oldest first
        self._sum = 0

    def used(self, now: float) -> int:
        """What counts at `now`; drops what no longer does."""
        slots, oldest = self._slots, int(now / self._width) - SLOTS
        while slots and slots[0][0] < oldest:
            self._sum -= slots.popleft()[1]
        return self._sum

    def add(self, now: float, amount: int) -> int:
        """Count a use; the slot it was counted in."""
        # A clock that was set back must not put an older slot behind a newer one.
        slot = max(int(now / self._width), self._slots[-1][0] if self._slots else 0)
        if self._slots and self._slots[-1][0] == slot:
            self._slots[-1][1] += amount
        else:
            self._slots.append([slot, amount])
        self._sum += amount
        return slot

    def adjust(self, slot: int, change: int) -> None:
        """Correct a use by what it really was. One whose slot has left the window counts no more."""
        for entry in reversed(self._slots):
            if entry[0] == slot:
                entry[1] += change
                self._sum += change
                return
            if entry[0] < slot:
                return

    def wait(self, now: float, excess: int) -> float:
        """Seconds until at least `excess` of what counts has left the window."""
        freed = 0
        for slot, amount in self._slots:
            freed += amount
            if freed >= excess:
                return max(0.0, (slot + SLOTS + 1) * self._width - now)
        return self._width * (SLOTS + 1)
