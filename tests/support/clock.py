"""Time that stands still until a test moves it."""


class Clock:
    """Unix seconds, or monotonic ones: `clock.now` is what it tells."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
