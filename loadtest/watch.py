"""Polls the services' health reports during a run, several times a second, in a thread for each service."""

import math
import threading
import time
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Self

import httpx
from pydantic import ConfigDict

from telemetry.health.report import LedgerHealth, read_report

PERIOD_SECONDS = 0.25


class Reading(LedgerHealth):
    """One service at one moment: its ledger, and the other figures that a run is judged by."""

    model_config = ConfigDict(frozen=True)

    at: float
    """In seconds since the epoch."""
    service: str
    breaker: str
    opened_total: int
    spool_bytes: int
    buffer_bytes: int
    rss_bytes: int | None
    """None where the system does not say."""
    last_error: str


def read_health(client: httpx.Client, service: str) -> Reading:
    """Reads a service's telemetry health report.

    Raises:
        httpx.HTTPError: the service does not respond.
        ValueError: the response is not a health report.
    """
    health = read_report(client.get("/health/telemetry").content)
    return Reading(
        **dict(health.ledger),
        at=time.time(),
        service=service,
        breaker=health.circuit_breaker.state,
        opened_total=health.circuit_breaker.opened_total,
        spool_bytes=health.spool.bytes,
        buffer_bytes=health.queue.buffer_bytes,
        rss_bytes=health.resources.memory_rss_bytes,
        last_error=health.exporter.last_error or "",
    )


class Watcher:
    """Threads that poll each service's health until stopped; readings may be accessed from any thread.

    Args:
        services: the services' addresses by name.
        period_seconds: the time between two readings of one service.
    """

    def __init__(self, services: Mapping[str, str], period_seconds: float = PERIOD_SECONDS) -> None:
        self._period_seconds = period_seconds
        self._stopped = threading.Event()
        self._readings: dict[str, list[Reading]] = {name: [] for name in services}
        """Each list is appended to by one thread only."""
        self.failures: list[str] = []
        """The errors of failed readings."""
        self._threads = [
            threading.Thread(target=self._watch, args=(name, url), name=f"watch-{name}", daemon=True)
            for name, url in services.items()
        ]

    def __enter__(self) -> Self:
        """Starts the threads."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stops the threads, once each has finished its reading."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    @property
    def latest(self) -> dict[str, Reading]:
        """The last reading of each service that has one."""
        return {name: readings[-1] for name, readings in self._readings.items() if readings}

    @property
    def readings(self) -> dict[str, list[Reading]]:
        """Every reading so far, by service, in order."""
        return {name: list(readings) for name, readings in self._readings.items()}

    def _watch(self, service: str, url: str) -> None:
        with httpx.Client(base_url=url, timeout=2, trust_env=False) as client:
            due = time.monotonic()
            while not self._stopped.is_set():
                try:
                    self._readings[service].append(read_health(client, service))
                except (httpx.HTTPError, ValueError) as error:
                    self.failures.append(f"{service}: {type(error).__name__}: {error}")
                due = max(due + self._period_seconds, time.monotonic())
                self._stopped.wait(due - time.monotonic())


def memory_bytes(reading: Reading) -> float:
    """The service's resident memory; NaN where its system does not report it."""
    return math.nan if reading.rss_bytes is None else reading.rss_bytes


def longest_gap_seconds(readings: Iterable[Reading]) -> float:
    """Returns the longest time between two readings of one service; infinite for fewer than two."""
    times = [reading.at for reading in readings]
    return max((later - earlier for earlier, later in pairwise(times)), default=float("inf"))
