"""The faults that can be inflicted on the pipeline, and the promises that hold during each."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

import httpx

from stack.errors import StackError
from stack.runtime import Runtime

Wait = Callable[[float], None]
"""Waits this many seconds while the run is observed."""

SLOW_MS = 400
FLAP_SECONDS = 5.0
SMALL_QUEUE_SPANS = 500
SMALL_SPOOL_BYTES = 2**16


class Promise(StrEnum):
    """A promise that a run can be judged by."""

    OPENED = "the breaker opened in time"
    STAYED_CLOSED = "the breaker stayed closed"
    NO_FAILURE = "no request failed"
    LATENCY = "p99 did not rise"
    LEDGER = "the ledger added up at every reading"
    MEMORY = "memory stayed bounded"
    CLOSED = "the breaker closed in time"
    DRAINED = "what waited was sent"
    DELIVERED = "every span was delivered"
    COUNTED = "every lost span was counted with its reason"
    STORED = "Jaeger stored every delivered span"
    TRACES = "every sampled trace is in Jaeger, whole"


ALWAYS = frozenset(
    {Promise.NO_FAILURE, Promise.LATENCY, Promise.LEDGER, Promise.MEMORY, Promise.DRAINED, Promise.STORED}
)
NOTHING_IS_LOST = frozenset({Promise.DELIVERED, Promise.TRACES})
AN_OUTAGE = frozenset({Promise.OPENED, Promise.CLOSED})


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to break the pipeline."""

    name: str
    what: str
    """A description, in the past tense."""
    inflict: Callable[[Runtime, float, Wait], None]
    """Breaks the pipeline, waits this many seconds, and repairs it, whatever happens meanwhile."""
    promises: frozenset[Promise]
    service_variables: Callable[[Runtime], Mapping[str, str]] = field(default=lambda _: {})
    """The variables that both services are restarted with."""
    collector_variables: Mapping[str, str] = field(default_factory=dict)
    uses_slow_link: bool = False
    is_unreachable: bool = False
    """Whether nobody takes connections while it lasts, so that the breaker closes soon after its end."""
    opens_at_once: bool = True
    """Whether exports fail from the first one on, so that the time until the breaker opens is known."""


def _kill(runtime: Runtime, seconds: float, wait: Wait) -> None:
    try:
        runtime.kill("collector")
        wait(seconds)
    finally:
        runtime.start("collector")


def _pause(part: str) -> Callable[[Runtime, float, Wait], None]:
    def inflict(runtime: Runtime, seconds: float, wait: Wait) -> None:
        try:
            runtime.pause(part)
            wait(seconds)
        finally:
            runtime.resume(part)

    return inflict


def _flap(runtime: Runtime, seconds: float, wait: Wait) -> None:
    for _ in range(max(1, round(seconds / (2 * FLAP_SECONDS)))):
        _kill(runtime, FLAP_SECONDS, wait)
        wait(FLAP_SECONDS)


def _slow(runtime: Runtime, seconds: float, wait: Wait) -> None:
    toxics = f"{runtime.slow_link.api_url}/proxies/otlp/toxics"
    toxic = {"name": "slow", "type": "latency", "attributes": {"latency": SLOW_MS}}
    httpx.post(toxics, json=toxic, trust_env=False).raise_for_status()
    try:
        wait(seconds)
    finally:
        httpx.delete(f"{toxics}/slow", trust_env=False).raise_for_status()


def open_slow_link(runtime: Runtime) -> None:
    """Starts toxiproxy with a proxy to the Collector that is not slow yet.

    Raises:
        StackError: toxiproxy refuses the proxy.
    """
    runtime.start("toxiproxy")
    link = runtime.slow_link
    proxy = {"name": "otlp", "listen": link.listen, "upstream": link.upstream}
    httpx.delete(f"{link.api_url}/proxies/otlp", trust_env=False)  # left by an interrupted run
    answer = httpx.post(f"{link.api_url}/proxies", json=proxy, trust_env=False)
    if answer.is_error:
        raise StackError(f"toxiproxy refuses the way to the Collector: {answer.text}")


def close_slow_link(runtime: Runtime) -> None:
    """Stops toxiproxy, if it runs."""
    with suppress(StackError):
        runtime.kill("toxiproxy")


FAULTS: Mapping[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault(
            "kill",
            "the Collector was killed",
            _kill,
            ALWAYS | NOTHING_IS_LOST | AN_OUTAGE,
            is_unreachable=True,
        ),
        Fault(
            "pause",
            "the Collector was frozen: it accepts and never answers",
            _pause("collector"),
            ALWAYS | NOTHING_IS_LOST | AN_OUTAGE,
        ),
        Fault(
            "slow",
            f"the way to the Collector takes {SLOW_MS} ms more",
            _slow,
            ALWAYS | NOTHING_IS_LOST | {Promise.STAYED_CLOSED},
            service_variables=lambda runtime: {"OTEL_EXPORTER_OTLP_ENDPOINT": runtime.slow_link.endpoint},
            uses_slow_link=True,
        ),
        Fault(
            "flap",
            f"the Collector is down and up again every {FLAP_SECONDS:g} s",
            _flap,
            ALWAYS | NOTHING_IS_LOST | {Promise.CLOSED},
        ),
        Fault(
            "disk",
            f"Jaeger was frozen, with {SMALL_QUEUE_SPANS} spans in the Collector's queue on disk, and "
            f"{SMALL_SPOOL_BYTES // 1024} KiB in each service's spool, and in its memory",
            _pause("jaeger"),
            ALWAYS | AN_OUTAGE | {Promise.COUNTED},
            service_variables=lambda _: {
                "TELEMETRY_SPOOL_MAX_BYTES": str(SMALL_SPOOL_BYTES),
                "TELEMETRY_BUFFER_MAX_BYTES": str(SMALL_SPOOL_BYTES),
            },
            collector_variables={"COLLECTOR_QUEUE_SPANS": str(SMALL_QUEUE_SPANS)},
            opens_at_once=False,
        ),
    )
}
"""All faults by name, with the promises that hold for each."""
