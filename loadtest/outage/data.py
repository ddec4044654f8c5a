"""Data of one outage run: its parameters, its phases, and everything that was observed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loadtest.load.report import LoadResult
from loadtest.load.requests_file import RequestRecord
from loadtest.outage.faults import Fault
from loadtest.traces import StoredTraces
from loadtest.watch import Reading


@dataclass(frozen=True, slots=True)
class Phases:
    """When each phase began, in seconds since the epoch."""

    load: float
    """The load begins; the services warm up."""
    before: float
    """The warm-up is over; the baseline for latencies begins."""
    fault: float
    """The fault was requested but not in effect yet."""
    mended: float
    """The repair is in effect: the Collector accepts spans again."""
    quiet: float
    """The load has ended; pending spans are sent."""
    drained: float | None
    """No spans were pending any more; None if some still were when the time was over."""


@dataclass(frozen=True, slots=True)
class OutageRun:
    """The data of one run."""

    fault: Fault
    rate: float
    seconds: float
    """How long the fault lasted."""
    runtime: str
    phases: Phases
    readings: Mapping[str, Sequence[Reading]]
    unread: Sequence[str]
    """Readings that failed, and why."""
    requests: Sequence[RequestRecord]
    load: LoadResult
    traces: StoredTraces
    delivered_before: int
    """Delivered spans of earlier runs, which are in none of these traces."""
    timeout_seconds: float
    """The services' deadline for one export attempt."""
    delay_seconds: float
    """The longest that a span waits for its batch."""
    open_max_seconds: float
    """The longest open time of their breaker."""
    configuration: Mapping[str, str]
    """The variables that the services were started with, as far as they affect the result."""
