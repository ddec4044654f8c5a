"""The age of spans by a clock that may jump: an hour forwards or backwards is not an hour that passed."""

from collections.abc import Callable

_LEAST_JUMP_NS = 60 * 10**9
"""Less is the clock's own correction, which is followed."""


class SteadyClock:
    """The wall clock without its jumps. For use by one thread.

    The wall clock is the only one that outlives a process, so records carry its time. While a process lives,
    a change of the wall clock that the monotonic clock does not share is taken back by `correction_ns`. Time
    that a machine slept counts as such a jump: spans are kept for longer, never for less.

    Args:
        clock: monotonic seconds.
        wall_clock: nanoseconds since 1970.
    """

    def __init__(self, clock: Callable[[], float], wall_clock: Callable[[], int]) -> None:
        self.correction_ns = 0
        """What has to be added to the wall clock."""
        self._clock = clock
        self._wall_clock = wall_clock
        self._difference_ns = self._difference(wall_clock())

    def wall_ns(self) -> int:
        """Returns the time of the wall clock, to be written; detects a jump."""
        now_ns = max(0, self._wall_clock())  # records have no time before 1970
        difference_ns = self._difference(now_ns)
        jump_ns = difference_ns - self._difference_ns
        if abs(jump_ns) >= _LEAST_JUMP_NS:
            self.correction_ns -= jump_ns
        self._difference_ns = difference_ns
        return now_ns

    def now_ns(self) -> int:
        """Returns the corrected time, to be compared with corrected times."""
        now_ns = self.wall_ns()
        return now_ns + self.correction_ns

    def _difference(self, wall_ns: int) -> int:
        return wall_ns - int(self._clock() * 1e9)
