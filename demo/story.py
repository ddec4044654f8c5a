"""The readings and requests of the demo, and the verdict on them."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from telemetry.health.report import LedgerHealth

BREAKER_OPENS_SECONDS = 5.0
LATENCY_FACTOR = 1.5


class Phase(StrEnum):
    """A part of the story."""

    HEALTHY = "healthy"
    OUTAGE = "outage"
    RECOVERY = "recovery"


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a shopper."""

    at: float
    """When it was due, in seconds of the story, so that a late server cannot hide its delay."""
    latency_ms: float
    is_failed: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at a service's `/health/telemetry`."""

    at: float
    service: str
    breaker: str
    ledger: LedgerHealth
    spool_bytes: int
    buffer_bytes: int


@dataclass(slots=True)
class Story:
    """Everything that was observed so far."""

    killed_at: float
    returned_at: float
    requests: list[Request] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)

    def phase(self, at: float) -> Phase:
        """Returns the part of the story at a moment."""
        if at < self.killed_at:
            return Phase.HEALTHY
        return Phase.OUTAGE if at < self.returned_at else Phase.RECOVERY

    def latest(self) -> dict[str, Reading]:
        """Returns the last reading of each service."""
        return {reading.service: reading for reading in self.readings}

    def latencies(self, phase: Phase) -> list[float]:
        """Returns the latencies of a phase's requests, in milliseconds."""
        return [request.latency_ms for request in self.requests if self.phase(request.at) is phase]


@dataclass(frozen=True, slots=True)
class Promise:
    """A line of the verdict."""

    text: str
    figure: str
    is_kept: bool


def percentile(values: Iterable[float], percent: int) -> float:
    """Returns an interpolated percentile; NaN for fewer than two values."""
    ordered = list(values)
    return (
        statistics.quantiles(ordered, n=100, method="inclusive")[percent - 1]
        if len(ordered) > 1
        else float("nan")
    )


def judge(story: Story, received: int) -> list[Promise]:
    """Judges the story, and returns the lines of the verdict.

    Args:
        story: the complete story.
        received: the number of spans that the Collector reported.
    """
    last = story.latest().values()
    delivered = sum(reading.ledger.delivered for reading in last)
    ended = sum(reading.ledger.ended for reading in last)
    failed = sum(request.is_failed for request in story.requests)
    unbalanced = sum(not reading.ledger.is_balanced for reading in story.readings)
    p95 = {phase: percentile(story.latencies(phase), 95) for phase in Phase}
    ratio = p95[Phase.OUTAGE] / p95[Phase.HEALTHY]
    most_on_disk = max((reading.ledger.spooled for reading in story.readings), default=0)
    return [
        _opened(story),
        Promise(
            "no request failed", f"{failed} of {len(story.requests)}", not failed and bool(story.requests)
        ),
        Promise(
            f"p95 did not rise above x {LATENCY_FACTOR:g}",
            f"p95 {p95[Phase.HEALTHY]:.1f} ms before, {p95[Phase.OUTAGE]:.1f} in the outage: x {ratio:.2f}",
            ratio <= LATENCY_FACTOR,
        ),
        Promise("unsent spans went to disk", f"up to {most_on_disk} spans", most_on_disk > 0),
        Promise(
            "the ledger added up at every reading",
            f"{unbalanced} of {len(story.readings)} did not",
            not unbalanced and bool(story.readings),
        ),
        Promise(
            "the breaker closed again",
            ", ".join(f"{reading.service}: {reading.breaker}" for reading in last),
            bool(last) and all(reading.breaker == "closed" for reading in last),
        ),
        Promise(
            "every span was delivered",
            f"{ended} ended, {delivered} delivered, the Collector took {received}",
            0 < ended == delivered <= received,
        ),
    ]


def _opened(story: Story) -> Promise:
    opened: dict[str, float] = {}
    for reading in story.readings:
        if reading.breaker != "closed" and reading.at >= story.killed_at:
            opened.setdefault(reading.service, reading.at - story.killed_at)
    services: Sequence[str] = sorted({reading.service for reading in story.readings})
    return Promise(
        f"the breaker opened within {BREAKER_OPENS_SECONDS:g} s",
        ", ".join(
            f"{name}: {opened[name]:.1f} s" if name in opened else f"{name}: never" for name in services
        ),
        bool(services)
        and all(opened.get(name, BREAKER_OPENS_SECONDS + 1) <= BREAKER_OPENS_SECONDS for name in services),
    )
