"""Data of one outage run: what was asked for, when each phase was, and everything that was seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loadtest.load.report import LoadResult
from loadtest.load.requests_file import RequestRecord
from loadtest.outage.faults import Fault
from loadtest.traces import StoredTraces
from loadtest.watch import Reading


@dataclass(frozen=True, slots=True)
class Phases:
    """When each began, in seconds of the epoch."""

    load: float
    """Load begins: the services warm up."""
    before: float
    """From here on latency is compared with."""
    fault: float
    """Asked for, before it was in effect."""
    mended: float
    """In effect: the Collector takes spans again."""
    quiet: float
    """Load has ended: what waits is sent."""
    drained: float | None
    """Nothing waited any more; None: something still did when the time was over."""


@dataclass(frozen=True, slots=True)
class OutageRun:
    """One run, as it was."""

    fault: Fault
    rate: float
    seconds: float
    """How long the fault was."""
    runtime: str
    phases: Phases
    readings: Mapping[str, Sequence[Reading]]
    unread: Sequence[str]
    """Readings that failed, and why."""
    requests: Sequence[RequestRecord]
    load: LoadResult
    traces: StoredTraces
    delivered_before: int
    """Spans of earlier runs: delivered, and in none of these traces."""
    timeout_seconds: float
    """One export attempt's deadline, of the services."""
    delay_seconds: float
    """The longest that a span waits for its batch."""
    open_max_seconds: float
    """The longest that their breaker waits."""
    configuration: Mapping[str, str]
    """What the services were started with, of the variables that matter."""
