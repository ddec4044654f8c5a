"""How fast the spool is sent after an outage: never so fast that it knocks the Collector over again."""

from collections import deque

_SLOWEST_SPANS_PER_SECOND = 2_000.0
_FRESH_FACTOR = 2.0
_WINDOW_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 1.0


class ReplayPace:
    """At most twice the recent rate of fresh spans, and at least 2,000 a second. For one thread."""

    def __init__(self) -> None:
        self.next_at = 0.0
        """When the next batch may be sent, on the caller's clock."""
        self._fresh: deque[tuple[float, int]] = deque()
        self._fresh_spans = 0

    def begin(self, now: float, jitter: float) -> None:
        """The Collector is back: many processes that saw it leave must not all begin at once.

        Args:
            now: on the caller's clock, in seconds.
            jitter: 0 to 1.
        """
        self.next_at = now + jitter * _LONGEST_PAUSE_SECONDS

    def fresh(self, spans: int, now: float) -> None:
        """So many spans were just encoded."""
        self._fresh.append((now, spans))
        self._fresh_spans += spans
        while self._fresh[0][0] < now - _WINDOW_SECONDS:
            self._fresh_spans -= self._fresh.popleft()[1]

    def sent(self, spans: int, now: float) -> None:
        """So many spans of the spool are on their way."""
        rate = max(_SLOWEST_SPANS_PER_SECOND, _FRESH_FACTOR * self._fresh_spans / _WINDOW_SECONDS)
        self.next_at = max(self.next_at, now) + spans / rate
