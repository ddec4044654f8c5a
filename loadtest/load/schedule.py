"""When each request of one shopper is due, whatever happened to those before."""

from collections.abc import Callable


class Schedule:
    """When one shopper's requests are due. It never skips one: who was held up starts at once until even.

    So a shop that hangs is charged for every request that it kept from being sent, as `wrk2` does, and what
    was not sent in time is no reason to be sent less ("coordinated omission").
    """

    def __init__(self, first_due: float) -> None:
        self.due = first_due
        """When the present request was to be sent, in seconds of the monotonic clock."""

    def advance(self, next_due: Callable[[float], float], now: float) -> float:
        """Goes on to the next request; returns the seconds until it is due, 0 when that is past."""
        self.due = next_due(self.due)
        return max(0.0, self.due - now)
