"""The window over which a breaker computes its failure rate."""

from collections import deque

_BUCKETS = 10


class CallWindow:
    """Calls and failures in a sliding window with a fixed number of buckets. Not thread-safe."""

    def __init__(self, seconds: float) -> None:
        self._width = seconds / _BUCKETS
        self._buckets: deque[list[int]] = deque()

    def add(self, now: float, *, is_failure: bool) -> None:
        """Counts one call."""
        index = int(now / self._width)
        self._expire(index)
        if not self._buckets or self._buckets[-1][0] != index:
            self._buckets.append([index, 0, 0])
        self._buckets[-1][1] += 1
        self._buckets[-1][2] += is_failure

    def calls(self, now: float) -> int:
        """Returns the number of calls in the window."""
        self._expire(int(now / self._width))
        return sum(bucket[1] for bucket in self._buckets)

    def failure_rate(self, now: float) -> float:
        """Returns the share of calls in the window that failed; 0 if there were none."""
        calls = self.calls(now)
        return sum(bucket[2] for bucket in self._buckets) / calls if calls else 0.0

    def clear(self) -> None:
        """Forgets everything."""
        self._buckets.clear()

    def _expire(self, index: int) -> None:
        while self._buckets and self._buckets[0][0] <= index - _BUCKETS:
            self._buckets.popleft()
