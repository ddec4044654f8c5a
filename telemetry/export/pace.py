"""The pace of what has waited through an outage: never fast enough to knock the Collector over again."""

import math
from collections import deque

_SPANS_PER_SECOND = 2_000.0
_FRESH_FACTOR = 2.0
_WINDOW_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 1.0
_SPREAD_FACTOR = 2.0
_SHORTEST_SPREAD_SECONDS, _LONGEST_SPREAD_SECONDS = 0.1, 60.0


class ReplayPace:
    """A limit of twice the recent rate of fresh spans, at least 2,000 a second. For use by one thread.

    After an outage it is no faster than spreads what waits over twice the outage's length, up to a minute,
    since processes that shared one all come back within the same second.
    """

    def __init__(self) -> None:
        self.next_at = 0.0
        """When the next batch may be sent, on the caller's clock, in seconds."""
        self._fresh: deque[tuple[float, int]] = deque()
        self._fresh_spans = 0
        self._spread_rate, self._spread_until = math.inf, -math.inf

    def begin(self, now: float, jitter: float) -> None:
        """Starts with a random delay, so that processes do not all start at once.

        Args:
            now: on the caller's clock, in seconds.
            jitter: 0 to 1.
        """
        self.next_at = now + jitter * _LONGEST_PAUSE_SECONDS
        self._spread_until = -math.inf

    def begin_after_outage(
        self, now: float, jitter: float, *, spans_waiting: int, outage_seconds: float
    ) -> None:
        """Starts after a pause, and spreads what waits; what is left of an earlier spread stays.

        Args:
            now: on the caller's clock, in seconds.
            jitter: 0 to 1.
            spans_waiting: in memory and on disk.
            outage_seconds: how long nothing was sent.
        """
        pause = min(outage_seconds, _LONGEST_PAUSE_SECONDS)
        self.next_at = now + pause + jitter * pause  # all of them try first
        spread = max(_SHORTEST_SPREAD_SECONDS, min(_SPREAD_FACTOR * outage_seconds, _LONGEST_SPREAD_SECONDS))
        self._spread_until = max(self._spread_until, self.next_at + spread)
        self._spread_rate = max(spans_waiting, 1) / (self._spread_until - self.next_at)

    def fresh(self, spans: int, now: float) -> None:
        """Records that this many fresh spans were just encoded."""
        self._fresh.append((now, spans))
        self._fresh_spans += spans
        while self._fresh[0][0] < now - _WINDOW_SECONDS:
            self._fresh_spans -= self._fresh.popleft()[1]

    def sent(self, spans: int, now: float) -> None:
        """Records that this many spans that have waited are being sent."""
        rate = max(_SPANS_PER_SECOND, _FRESH_FACTOR * self._fresh_spans / _WINDOW_SECONDS)
        at = max(self.next_at, now)
        # A batch that nobody counted, such as a dead process's, waits for the spread's end at most.
        spread_at = min(at + spans / self._spread_rate, self._spread_until)
        self.next_at = max(at + spans / rate, spread_at)
