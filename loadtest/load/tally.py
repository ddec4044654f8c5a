"""The counts of a run in one process, in a form that can be added up over several."""

import time
from collections import Counter
from datetime import datetime
from typing import Any

from hdrh.histogram import HdrHistogram

from loadtest.load.report import FailedRequest

NAMED_FAILURES = 10
"""The first failures are reported individually; later ones are only counted."""
_MOST_MICROSECONDS = 3_600_000_000


class Tally:
    """The counts of a run, for use by one thread."""

    def __init__(self) -> None:
        self.started = self.ended = time.time()
        self.expected_errors: Counter[str] = Counter()
        self.first_failures: list[FailedRequest] = []
        self.latencies = _histogram()
        self.delays = _histogram()
        self._cpu_started = time.process_time()
        self._cpu_shares: dict[str, float] = {}

    def note_times(self, *, latency_seconds: float, delay_seconds: float, ended: float) -> None:
        """Records the end of one request, and its latency and start delay since it was due."""
        self.ended = max(self.ended, ended)
        self.latencies.record_value(_microseconds(latency_seconds))
        self.delays.record_value(_microseconds(delay_seconds))

    def note_failure(self, failure: FailedRequest) -> None:
        """Records a failure in full if it is among the first."""
        if len(self.first_failures) < NAMED_FAILURES:
            self.first_failures.append(failure)

    @property
    def own_cpu_share(self) -> float:
        """CPU seconds per second of this process, from the start to the latest response."""
        seconds = self.ended - self.started
        return (time.process_time() - self._cpu_started) / seconds if seconds > 0 else 0.0

    @property
    def highest_cpu_share(self) -> float:
        """CPU seconds per second of the busiest process."""
        return max([self.own_cpu_share, *self._cpu_shares.values()])

    def percentile_ms(self, share: float) -> float:
        """Returns the latency at a percentile from 0 to 100."""
        return float(self.latencies.get_value_at_percentile(share)) / 1000

    def late_ms(self, share: float) -> float:
        """Returns how late requests were started, at a percentile from 0 to 100."""
        return float(self.delays.get_value_at_percentile(share)) / 1000

    def take(self) -> dict[str, Any]:
        """Returns and resets the counts since the last call, for `add` in another process."""
        message = {
            "ended": self.ended,
            "cpu_share": self.own_cpu_share,
            "expected_errors": dict(self.expected_errors),
            "first_failures": [failure.model_dump(mode="json") for failure in self.first_failures],
            "latencies": self.latencies.encode(),
            "delays": self.delays.encode(),
        }
        self.expected_errors.clear()
        self.first_failures.clear()
        self.latencies.reset()
        self.delays.reset()
        return message

    def add(self, sender: str, message: dict[str, Any]) -> None:
        """Adds the counts that another process took."""
        self.ended = max(self.ended, message["ended"])
        self._cpu_shares[sender] = message["cpu_share"]
        self.expected_errors.update(message["expected_errors"])
        self.first_failures += map(FailedRequest.model_validate, message["first_failures"])
        self.first_failures.sort(key=_moment)
        del self.first_failures[NAMED_FAILURES:]
        self.latencies.decode_and_add(message["latencies"])
        self.delays.decode_and_add(message["delays"])


def _moment(failure: FailedRequest) -> datetime:
    return failure.at


def _microseconds(seconds: float) -> int:
    return min(_MOST_MICROSECONDS, max(0, int(seconds * 1_000_000)))


def _histogram() -> HdrHistogram:
    return HdrHistogram(1, _MOST_MICROSECONDS, 3)
