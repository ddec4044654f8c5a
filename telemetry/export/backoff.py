"""Back-off between attempts: doubling with each failure, with full jitter."""

import math
from collections.abc import Callable

_FIRST_SECONDS = 0.1
LONGEST_SECONDS = 1.0
"""The ceiling of a wait that the server did not ask for; the breaker's open time is another matter."""
_MOST_DOUBLINGS = 10


class Backoff:
    """When the next attempt may begin. For one thread.

    Args:
        clock: monotonic seconds.
        jitter: 0 to 1; many workers must not return at the same instant.
    """

    def __init__(self, clock: Callable[[], float], jitter: Callable[[], float]) -> None:
        self.until = -math.inf
        """No attempt before this, on the clock."""
        self._clock = clock
        self._jitter = jitter
        self._failures = 0

    def fail(self, at_least_seconds: float = 0.0) -> None:
        """Waits after a failure, longer with each.

        Args:
            at_least_seconds: what the server asked for.
        """
        ceiling = min(_FIRST_SECONDS * math.pow(2, min(self._failures, _MOST_DOUBLINGS)), LONGEST_SECONDS)
        self._failures += 1
        self.until = max(self.until, self._clock() + max(at_least_seconds, self._jitter() * ceiling))

    def succeed(self) -> None:
        """The next failure is the first again; a wait under way stays."""
        self._failures = 0
