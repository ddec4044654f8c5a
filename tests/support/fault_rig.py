"""The whole pipeline, from a provider's span to a real socket whose peer misbehaves."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from support.clock import RunningClock
from support.collector import ACCEPT, UNWELL, Collector, Reply, Request
from support.pipeline_rig import PipelineRig
from support.waiting import Until

from telemetry.export.ledger import DropReason
from telemetry.export.otlp.result import ExportResult
from telemetry.export.otlp.transport import Transport, build_transport

MakeRig = Callable[..., "FaultRig"]
MIB = 2**20
FIRST_BACKOFF_SECONDS = 0.1
CODES = grpc.StatusCode


@dataclass(frozen=True, slots=True)
class Sent:
    """One attempt as the transport saw it, on the monotonic clock."""

    started: float
    ended: float
    outcome: ExportResult


class Recording:
    """A transport that records each attempt of another one."""

    def __init__(self, transport: Transport, sent: list[Sent]) -> None:
        self._transport = transport
        self._sent = sent

    def send(self, payload: bytes, timeout_seconds: float) -> ExportResult:
        """Passes the payload on, and records the attempt."""
        started = time.monotonic()
        outcome = self._transport.send(payload, timeout_seconds)
        self._sent.append(Sent(started, time.monotonic(), outcome))
        return outcome

    def close(self) -> None:
        """Closes the other transport."""
        self._transport.close()


class FaultRig(PipelineRig):
    """A pipeline rig that records attempts, and whose clock can be advanced."""

    def __init__(self, endpoint: str, protocol: str, **settings: Any) -> None:
        self.clock = RunningClock()
        self.attempts: list[Sent] = []
        defaults = {
            "endpoint": endpoint,
            "protocol": protocol,
            "schedule_delay_ms": 10,
            "exporter_timeout_seconds": 10,
            "export_timeout_ms": 10_000,
            "breaker_open_seconds": 0.05,
            "breaker_open_max_seconds": 0.2,
        }
        values = {**defaults, **settings}
        values["breaker_open_max_seconds"] = max(
            values["breaker_open_seconds"], values["breaker_open_max_seconds"]
        )
        super().__init__(
            values,
            build=lambda config: Recording(build_transport(config), self.attempts),
            clock=self.clock,
        )
        self.names: list[str] = []

    def end_spans(self, count: int, **attributes: str) -> None:
        """Ends spans, each with a name of its own."""
        for _ in range(count):
            self.names.append(f"span {len(self.names)}")
            self.tracer.start_span(self.names[-1], attributes=attributes).end()

    @property
    def opened(self) -> int:
        """How often the breaker opened."""
        return self.pipeline.breaker.snapshot().opened_total

    @property
    def failures(self) -> list[Sent]:
        """The attempts that did not deliver."""
        return [each for each in self.attempts if each.outcome.disposition.name != "DELIVERED"]

    @property
    def last_error(self) -> str:
        """The last error as shown by the health report."""
        return str(self.pipeline.status.last_error)


def assert_ledger(
    rig: FaultRig,
    *,
    delivered: int = 0,
    rejected: int = 0,
    dropped: Mapping[DropReason, int] | None = None,
    in_memory: int = 0,
) -> None:
    """Asserts every term of the ledger, and that they add up to the ended spans."""
    reading = rig.ledger
    assert reading.is_balanced
    assert (reading.ended, reading.adopted, reading.spooled) == (len(rig.names), 0, 0)
    assert (reading.delivered, reading.rejected, dict(reading.dropped), reading.in_memory) == (
        delivered,
        rejected,
        dict(dropped or {}),
        in_memory,
    )


def assert_all_delivered(rig: FaultRig, collector: Collector, *, may_repeat: bool = False) -> None:
    """Asserts that no span was lost and, unless an answer was lost, none was accepted twice."""
    assert_ledger(rig, delivered=len(rig.names))
    assert sorted(set(collector.taken)) == sorted(rig.names)
    assert may_repeat or len(collector.taken) == len(rig.names)
    assert rig.pipeline.buffered_bytes == 0


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Returns the messages that the export engine has logged."""
    return [record.getMessage() for record in caplog.records if record.name.startswith("telemetry.export")]


def waits(rig: FaultRig) -> list[float]:
    """Returns the times between the end of one attempt and the start of the next."""
    return [
        later.started - earlier.ended for earlier, later in zip(rig.attempts, rig.attempts[1:], strict=False)
    ]


def failing(times: int, reply: Reply = UNWELL) -> Callable[[Request], Reply]:
    """Returns a script that refuses the first requests."""
    return lambda request: reply if request.number <= times else ACCEPT


def assert_backed_off(rig: FaultRig) -> None:
    """Asserts that each wait was at least the backoff with the full jitter, which doubles each time."""
    expected = [FIRST_BACKOFF_SECONDS * 2**n for n in range(len(waits(rig)))]
    assert all(wait >= least for wait, least in zip(waits(rig), expected, strict=True)), waits(rig)


def assert_held(rig: FaultRig, collector: Collector, until: Until, *, at_least_seconds: float) -> None:
    """Asserts that after the first refusal nothing arrives for that long, not even later spans, then all."""
    rig.end_spans(1)
    until("the refusal told", lambda: rig.last_error != "None")
    rig.end_spans(4)
    assert rig.pipeline.force_flush(10) is False
    until("everything delivered", lambda: rig.ledger.delivered == 5)
    first, *others = collector.requests
    assert len(others) == 5
    assert min(request.at for request in others) - first.at >= at_least_seconds
    assert_all_delivered(rig, collector)


def assert_dropped_and_told_once(
    rig: FaultRig, collector: Collector, caplog: pytest.LogCaptureFixture, *, said: str
) -> None:
    """Asserts that four refusals mean four requests, no retry, four drops, one line and a closed breaker."""
    for _ in range(4):
        rig.end_spans(1)
        assert rig.pipeline.force_flush(10_000) is False
    assert collector.arrived == rig.names
    assert_ledger(rig, dropped={DropReason.NOT_RETRYABLE: 4})
    assert rig.opened == 0
    assert said in rig.last_error
    (line,) = lines(caplog)
    assert said in line
    assert rig.pipeline.stop(5) is True
    assert len(collector.requests) == 4
