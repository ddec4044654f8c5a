"""What an open breaker knows of whether the service takes connections at all.

A call without any answer may mean that nobody listens. Then a batch would be sent in vain, but one connection
a second costs next to nothing, and tells within a second or two that the service is back, however long it was
away.
"""

import math
from collections.abc import Callable

CHECK_SECONDS = 1.0
"""The shortest time from one connection to the next."""
_SPREAD_SECONDS = 0.6
"""The most that is added to it, so that processes that share an outage do not all ask at one instant."""
_PATIENCE_SECONDS = 2.0
"""If the next check is so late, nobody checks, and the open time counts again."""


class ConnectionCheck:
    """Permission for one connection. Only the first reported result counts. Never raises."""

    __slots__ = ("_is_settled", "_settle", "generation")

    def __init__(self, generation: int, settle: "Callable[[ConnectionCheck, bool], None]") -> None:
        self._settle = settle
        self._is_settled = False
        self.generation = generation
        """The breaker's generation when it was issued; a result from an earlier generation is stale."""

    def settle(self, *, is_reachable: bool) -> None:
        """Reports whether the connection was made."""
        if not self._is_settled:
            self._is_settled = True
            self._settle(self, is_reachable)


class Reachability:
    """When to check, and what checks have shown since the breaker opened. The breaker's lock guards it."""

    def __init__(self) -> None:
        self.next_at = math.inf
        """When the next check is due; infinity if there is no reason to check."""
        self.has_returned = False
        """Whether the service takes connections again, which it did not before."""
        self._is_lost = False
        self._earliest_at = -math.inf

    def forget(self) -> None:
        """Stops checking, and forgets what the checks have shown."""
        self.next_at, self.has_returned, self._is_lost = math.inf, False, False

    def suspect(self, now: float) -> None:
        """Makes a check due, at once if the latest is long ago: a call had no answer.

        Args:
            now: on the breaker's clock, in seconds.
        """
        self.next_at = max(now, self._earliest_at)

    def begin_check(self, now: float, jitter: float) -> None:
        """Notes that a check begins; the next one is due in its time, even if this one has no result by then.

        Args:
            now: on the breaker's clock, in seconds.
            jitter: 0 to 1.
        """
        self.next_at = self._earliest_at = now + CHECK_SECONDS + jitter * _SPREAD_SECONDS

    def decides(self, now: float) -> bool:
        """Whether a check decides when the next call is made, and not the open time alone."""
        return self.next_at < math.inf and now < self.next_at + _PATIENCE_SECONDS

    def settle(self, *, is_reachable: bool) -> None:
        """Notes a check's result.

        A service that took connections all the time has another trouble, which further checks would not show.
        """
        if is_reachable:
            self.next_at, self.has_returned, self._is_lost = math.inf, self._is_lost, False
        else:
            self._is_lost = True
