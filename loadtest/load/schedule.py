"""The schedule of one shopper's requests, whatever happened to earlier ones."""

from collections.abc import Callable


class Schedule:
    """The due times of one shopper's requests. None is skipped: a late shopper sends at once to catch up.

    So a shop that hangs is charged for every request that it held up, as in `wrk2`, and requests that are
    late do not reduce the load ("coordinated omission").
    """

    def __init__(self, first_due: float) -> None:
        self.due = first_due
        """When the current request is due, in seconds of the monotonic clock."""

    def advance(self, next_due: Callable[[float], float], now: float) -> float:
        """Moves on to the next request; returns the seconds until it is due, or 0 if it is overdue."""
        self.due = next_due(self.due)
        return max(0.0, self.due - now)
