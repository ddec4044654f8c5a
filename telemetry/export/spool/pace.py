"""The replay rate of the spool after an outage: never fast enough to knock the Collector over again."""

from collections import deque

_SLOWEST_SPANS_PER_SECOND = 2_000.0
_FRESH_FACTOR = 2.0
_WINDOW_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 1.0


class ReplayPace:
    """A limit of twice the recent rate of fresh spans, at least 2,000 a second. For use by one thread."""

    def __init__(self) -> None:
        self.next_at = 0.0
        """When the next batch may be sent, on the caller's clock."""
        self._fresh: deque[tuple[float, int]] = deque()
        self._fresh_spans = 0

    def begin(self, now: float, jitter: float) -> None:
        """Starts with a random delay, so that processes that shared an outage do not all start at once.

        Args:
            now: on the caller's clock, in seconds.
            jitter: 0 to 1.
        """
        self.next_at = now + jitter * _LONGEST_PAUSE_SECONDS

    def fresh(self, spans: int, now: float) -> None:
        """Records that this many fresh spans were just encoded."""
        self._fresh.append((now, spans))
        self._fresh_spans += spans
        while self._fresh[0][0] < now - _WINDOW_SECONDS:
            self._fresh_spans -= self._fresh.popleft()[1]

    def sent(self, spans: int, now: float) -> None:
        """Records that this many spans of the spool are being sent."""
        rate = max(_SLOWEST_SPANS_PER_SECOND, _FRESH_FACTOR * self._fresh_spans / _WINDOW_SECONDS)
        self.next_at = max(self.next_at, now) + spans / rate
