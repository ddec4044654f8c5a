"""The values of one label set: cheap to record, and read at each scrape or push.

prometheus_client's children take a lock for each value and build an exemplar's text for each observation.
Here one lock guards a whole series, and an exemplar is four numbers until somebody reads it.
"""

import threading
import time
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from opentelemetry.trace import Span, TraceFlags

_SAMPLED = TraceFlags.SAMPLED

TraceExemplar = tuple[int, int, float, float]
"""One observation in a sampled trace: trace id, span id, the value in the metric's unit, the Unix time.

A plain tuple, since one is made for each request.
"""


def exemplar_of(span: Span, value: float) -> TraceExemplar | None:
    """Returns an observation's exemplar; None outside of sampled traces, which could not be opened."""
    # A context is a tuple; its properties would be three calls more.
    trace_id, span_id, _, flags, _, _ = span.get_span_context()
    return (trace_id, span_id, value, time.time()) if flags & _SAMPLED else None


class HistogramReading(NamedTuple):
    """A histogram's values at one moment."""

    counts: list[int]
    """Observations in each bucket, those above the last bound at the end."""
    total: float
    """The sum of the observed values."""
    exemplars: list[TraceExemplar | None]
    """Each bucket's latest."""
    created_seconds: float
    """When the series began, as Unix time."""


class SumReading(NamedTuple):
    """A sum's value at one moment."""

    value: int
    latest: TraceExemplar | None
    created_seconds: float
    """When the series began, as Unix time."""


class HistogramSeries:
    """A histogram of one label set. Thread-safe.

    Args:
        bounds: the buckets' upper bounds, inclusive and ascending.
    """

    __slots__ = ("_bounds", "_counts", "_created", "_exemplars", "_latest", "_lock", "_total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._exemplars: list[TraceExemplar | None] = [None] * (len(bounds) + 1)
        self._latest: TraceExemplar | None = None
        self._total = 0.0
        self._created = time.time()
        self._lock = threading.RLock()  # reentrant, for signal handlers

    def observe(self, value: float, exemplar: TraceExemplar | None = None) -> None:
        """Counts one value, in the metric's unit."""
        bucket = bisect_left(self._bounds, value)
        with self._lock:
            self._counts[bucket] += 1
            self._total += value
            if exemplar is not None:
                self._exemplars[bucket] = self._latest = exemplar

    def read(self) -> HistogramReading:
        """Returns the present values, which belong together."""
        with self._lock:
            return HistogramReading(self._counts.copy(), self._total, self._exemplars.copy(), self._created)

    def read_count(self) -> SumReading:
        """Returns the number of values so far."""
        with self._lock:
            return SumReading(sum(self._counts), self._latest, self._created)


class SumSeries:
    """A sum of one label set, which may also fall. Thread-safe."""

    __slots__ = ("_created", "_latest", "_lock", "_value")

    def __init__(self) -> None:
        self._value = 0
        self._latest: TraceExemplar | None = None
        self._created = time.time()
        self._lock = threading.RLock()  # reentrant, for signal handlers

    def add(self, amount: int, exemplar: TraceExemplar | None = None) -> None:
        """Adds an amount."""
        with self._lock:
            self._value += amount
            if exemplar is not None:
                self._latest = exemplar

    def read(self) -> SumReading:
        """Returns the present value."""
        with self._lock:
            return SumReading(self._value, self._latest, self._created)
