"""Clocks to pass to code under test."""

import time


class Clock:
    """A clock in seconds that advances only on demand.

    Args:
        now: the initial time.
    """

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Returns the current time."""
        return self.now

    def pass_ms(self, milliseconds: float) -> None:
        """Advances the clock."""
        self.now += milliseconds / 1000


class RunningClock:
    """The monotonic clock plus an offset that a test sets."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        """Returns the current time in seconds."""
        return time.monotonic() + self.ahead
