"""Backoff between attempts: doubling with each failure, with full jitter."""

import math
from collections.abc import Callable

_FIRST_SECONDS = 0.1
LONGEST_SECONDS = 1.0
"""The ceiling of a wait that the server did not ask for; the breaker's open time is separate."""
_MOST_DOUBLINGS = 10


class Backoff:
    """The time at which the next attempt may begin. Not thread-safe.

    Args:
        clock: monotonic seconds.
        jitter: numbers from 0 to 1, so that many workers do not return at the same instant.
    """

    def __init__(self, clock: Callable[[], float], jitter: Callable[[], float]) -> None:
        self.until = -math.inf
        """The earliest time of the next attempt, on the clock."""
        self._clock = clock
        self._jitter = jitter
        self._failures = 0

    def fail(self, at_least_seconds: float = 0.0) -> None:
        """Sets the wait after a failure; its ceiling grows with each failure in a row.

        Args:
            at_least_seconds: the wait that the server asked for.
        """
        ceiling = min(_FIRST_SECONDS * math.pow(2, min(self._failures, _MOST_DOUBLINGS)), LONGEST_SECONDS)
        self._failures += 1
        self.until = max(self.until, self._clock() + max(at_least_seconds, self._jitter() * ceiling))

    def succeed(self) -> None:
        """Resets the failure count; a wait under way stays."""
        self._failures = 0
