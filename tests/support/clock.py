"""Clocks for what is told the time."""

import time


class Clock:
    """Seconds that pass only when told.

    Args:
        now: where it begins.
    """

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """The time now."""
        return self.now

    def pass_ms(self, milliseconds: float) -> None:
        """Lets time pass."""
        self.now += milliseconds / 1000


class RunningClock:
    """The monotonic clock, and whatever a test adds to it."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        """Seconds."""
        return time.monotonic() + self.ahead
