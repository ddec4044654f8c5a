"""Every fault that an exporter meets and the right answer to it: one test a row of the fault list.

The whole pipeline, from a provider's span to a real socket whose other end misbehaves. Each test ends with
the ledger, term by term.
"""

import inspect
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import types
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanContext, TraceFlags
from support.collector import ACCEPT, UNWELL, Collector, Reply, Request
from support.grpc_collector import GrpcCollector
from support.http_collector import HttpCollector
from support.wire import BlackHole, Wire

from telemetry.config import TelemetryConfig
from telemetry.export import pipeline as pipeline_module
from telemetry.export.breaker import BreakerState, CircuitBreaker
from telemetry.export.ledger import DropReason, Ledger
from telemetry.export.otlp.response import ExportResult
from telemetry.export.otlp.transport import Transport, build_transport
from telemetry.export.pipeline import ExportPipeline
from telemetry.export.worker import ExportWorker

Until = Callable[..., None]
MakeRig = Callable[..., "Rig"]
ROOT = Path(__file__).parents[2]
MIB = 2**20
FIRST_BACKOFF_SECONDS = 0.1
CODES = grpc.StatusCode


class Clock:
    """The monotonic clock, and whatever a test adds to it."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        """Seconds."""
        return time.monotonic() + self.ahead


@dataclass(frozen=True, slots=True)
class Sent:
    """One attempt as the transport saw it, on the monotonic clock."""

    started: float
    ended: float
    outcome: ExportResult


class Recording:
    """A transport that notes each attempt of another."""

    def __init__(self, transport: Transport, sent: list[Sent]) -> None:
        self._transport = transport
        self._sent = sent

    def send(self, payload: bytes, timeout_seconds: float) -> ExportResult:
        """Passes it on."""
        started = time.monotonic()
        outcome = self._transport.send(payload, timeout_seconds)
        self._sent.append(Sent(started, time.monotonic(), outcome))
        return outcome

    def close(self) -> None:
        """Passes it on."""
        self._transport.close()


class Rig:
    """A provider with the pipeline behind it."""

    def __init__(self, endpoint: str, protocol: str, **settings: Any) -> None:
        self.clock = Clock()
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
        self.pipeline = ExportPipeline(
            TelemetryConfig(**values),
            build=lambda config: Recording(build_transport(config), self.attempts),
            clock=self.clock,
        )
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(self.pipeline)
        self.tracer = provider.get_tracer("test")
        self.names: list[str] = []

    def end_spans(self, count: int, **attributes: str) -> None:
        """Ends spans, each with a name of its own."""
        for _ in range(count):
            self.names.append(f"span {len(self.names)}")
            self.tracer.start_span(self.names[-1], attributes=attributes).end()

    @property
    def ledger(self) -> Any:
        """A reading of the ledger."""
        return self.pipeline.ledger.read()

    @property
    def opened(self) -> int:
        """How often the breaker opened."""
        return self.pipeline.breaker.snapshot().opened_total

    @property
    def failures(self) -> list[Sent]:
        """Attempts that did not deliver."""
        return [each for each in self.attempts if each.outcome.disposition.name != "DELIVERED"]

    @property
    def last_error(self) -> str:
        """As health shows it."""
        return str(self.pipeline.status.last_error)


def assert_ledger(
    rig: Rig,
    *,
    delivered: int = 0,
    rejected: int = 0,
    dropped: Mapping[DropReason, int] | None = None,
    in_memory: int = 0,
) -> None:
    """Every term, and that they add up to what was ended."""
    reading = rig.ledger
    assert reading.is_balanced
    assert (reading.ended, reading.adopted, reading.spooled) == (len(rig.names), 0, 0)
    assert (reading.delivered, reading.rejected, dict(reading.dropped), reading.in_memory) == (
        delivered,
        rejected,
        dict(dropped or {}),
        in_memory,
    )


def assert_all_delivered(rig: Rig, collector: Collector, *, may_repeat: bool = False) -> None:
    """Nothing lost; and, unless an answer was, nothing taken twice."""
    assert_ledger(rig, delivered=len(rig.names))
    assert sorted(set(collector.taken)) == sorted(rig.names)
    assert may_repeat or len(collector.taken) == len(rig.names)
    assert rig.pipeline.buffered_bytes == 0


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the export engine has logged."""
    return [record.getMessage() for record in caplog.records if record.name.startswith("telemetry.export")]


@pytest.fixture
def make_rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeRig]:
    """Builds rigs and stops them; their jitter draws the longest wait, so that it can be measured."""
    rigs: list[Rig] = []
    monkeypatch.setattr(pipeline_module, "ExportWorker", partial(ExportWorker, jitter=lambda: 1.0))

    def make(to: "Collector | Wire | str", protocol: str | None = None, **settings: Any) -> Rig:
        endpoint = (
            to
            if isinstance(to, str)
            else f"http://127.0.0.1:{to.port}"
            if isinstance(to, Wire)
            else to.endpoint
        )
        rigs.append(Rig(endpoint, protocol or to.protocol, **settings))  # type: ignore[union-attr]
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.pipeline.stop(0.1)


def waits(rig: Rig) -> list[float]:
    """Between the end of one attempt and the start of the next."""
    return [
        later.started - earlier.ended for earlier, later in zip(rig.attempts, rig.attempts[1:], strict=False)
    ]


def failing(times: int, reply: Reply = UNWELL) -> Callable[[Request], Reply]:
    """A script that refuses at first."""
    return lambda request: reply if request.number <= times else ACCEPT


def assert_backed_off(rig: Rig) -> None:
    """Each wait was at least what the full draw of the jitter makes of it, doubling."""
    expected = [FIRST_BACKOFF_SECONDS * 2**n for n in range(len(waits(rig)))]
    assert all(wait >= least for wait, least in zip(waits(rig), expected, strict=True)), waits(rig)


@pytest.mark.parametrize("is_dns", [False, True], ids=["refused", "dns"])
def test_row_01_connection_refused_or_name_unknown_backs_off_and_trips(
    is_dns: bool, make_rig: MakeRig, collector: Collector, until: Until
) -> None:
    """Retryable, with waits that double; the breaker opens, the spans wait until somebody listens."""
    collector.stop()
    endpoint = f"http://no-such-host.invalid:{collector.port}" if is_dns else collector.endpoint
    rig = make_rig(endpoint, collector.protocol)
    rig.end_spans(5)
    until("the breaker to open", lambda: rig.opened)
    assert_backed_off(rig)
    assert len(rig.attempts) >= 3
    assert rig.last_error != "None"
    assert_ledger(rig, in_memory=5)
    if is_dns:
        assert "no-such-host.invalid" in rig.last_error
        assert rig.pipeline.stop(0.1) is False
        assert_ledger(rig, dropped={DropReason.SHUTDOWN: 5})
        return
    collector.start()
    until("everything delivered", lambda: rig.ledger.delivered == 5)
    assert_all_delivered(rig, collector)


def test_row_02_syn_black_hole_is_left_before_a_long_deadline_is_over(
    make_rig: MakeRig, collector: Collector, until: Until
) -> None:
    """Connecting has a short time of its own, however long an export may take."""
    collector.stop()
    hole = BlackHole(collector.port)
    rig = make_rig(
        collector, exporter_timeout_seconds=60, export_timeout_ms=60_000, breaker_failure_threshold=1
    )
    rig.end_spans(5)
    until("the breaker to open", lambda: rig.opened)
    first = rig.attempts[0]
    assert 0.5 < first.ended - first.started < 8
    assert_ledger(rig, in_memory=5)
    hole.close()
    collector.start()
    until("everything delivered", lambda: rig.ledger.delivered == 5)
    assert_all_delivered(rig, collector)


@pytest.mark.parametrize("how", ["no answer", "no word at all", "DEADLINE_EXCEEDED"])
def test_row_03_server_that_never_answers_costs_one_deadline_an_attempt(
    how: str, make_rig: MakeRig, collector: Collector, wire: Wire, until: Until
) -> None:
    """Retryable; connection, request and answer together have the configured time."""
    if how == "no answer":
        collector.script = collector.hang
    elif how == "no word at all":
        wire.drip_seconds = 30
    else:
        collector.script = failing(3, Reply(CODES.DEADLINE_EXCEEDED, status=504))
    rig = make_rig(wire, collector.protocol, exporter_timeout_seconds=0.3, breaker_failure_threshold=2)
    rig.end_spans(5)
    until("the breaker to open", lambda: rig.opened)
    assert all(each.ended - each.started < 3 for each in rig.attempts)
    assert how == "DEADLINE_EXCEEDED" or all(each.ended - each.started > 0.25 for each in rig.attempts)
    assert_ledger(rig, in_memory=5)
    collector.script = lambda _: ACCEPT
    collector.release.set()
    wire.drip_seconds = 0
    until("everything delivered", lambda: rig.ledger.delivered == 5)
    assert_all_delivered(rig, collector, may_repeat=True)


def test_row_04_disconnect_before_the_answer_repeats_and_loses_nothing(
    make_rig: MakeRig, collector: Collector, wire: Wire, until: Until
) -> None:
    """The server had it and could not say so: it is sent again, after a wait."""

    def cut_twice(request: Request) -> Reply:
        if request.number <= 2:
            wire.cut()
        return ACCEPT

    collector.script = cut_twice
    rig = make_rig(wire, collector.protocol, breaker_failure_threshold=2)
    rig.end_spans(5)
    until("everything delivered", lambda: rig.ledger.delivered == 5)
    assert [len(request.names) for request in collector.requests] == [5, 5, 5]
    assert_backed_off(rig)
    assert rig.opened == 1
    assert_all_delivered(rig, collector, may_repeat=True)


def test_row_05_dripping_answer_does_not_outlive_the_deadline(
    make_rig: MakeRig, collector: Collector, wire: Wire, until: Until
) -> None:
    """A byte now and then resets no clock: the whole export has one deadline."""
    wire.drip_seconds = 0.1
    rig = make_rig(wire, collector.protocol, exporter_timeout_seconds=0.3, breaker_failure_threshold=2)
    rig.end_spans(5)
    until("the breaker to open", lambda: rig.opened)
    # The answer's hundred bytes would take ten seconds.
    assert all(0.25 < each.ended - each.started < 3 for each in rig.attempts)
    assert_ledger(rig, in_memory=5)
    wire.drip_seconds = 0
    until("everything delivered", lambda: rig.ledger.delivered == 5)
    assert_all_delivered(rig, collector, may_repeat=True)


def test_row_06_unavailable_backs_off_and_trips(
    make_rig: MakeRig, grpc_collector: Collector, until: Until
) -> None:
    """Retried until it succeeds, with waits that double; three in a row open the breaker."""
    grpc_collector.script = failing(3)
    rig = make_rig(grpc_collector)
    rig.end_spans(5)
    until("everything delivered", lambda: rig.ledger.delivered == 5)
    assert_backed_off(rig)
    assert len(rig.attempts) == 4
    assert rig.opened == 1
    until("the breaker to close", lambda: rig.pipeline.breaker.state is BreakerState.CLOSED)
    assert_all_delivered(rig, grpc_collector)


def assert_held(rig: Rig, collector: Collector, until: Until, *, at_least_seconds: float) -> None:
    """After the first refusal nothing arrives for that long, later spans neither; then everything does."""
    rig.end_spans(1)
    until("the refusal told", lambda: rig.last_error != "None")
    rig.end_spans(4)
    assert rig.pipeline.force_flush(10) is False
    until("everything delivered", lambda: rig.ledger.delivered == 5)
    first, *others = collector.requests
    assert len(others) == 5
    assert min(request.at for request in others) - first.at >= at_least_seconds
    assert_all_delivered(rig, collector)


@pytest.mark.parametrize(("delay", "expected"), [(0.8, 0.8), (0, FIRST_BACKOFF_SECONDS)])
def test_row_07_unavailable_with_retry_info_is_heeded_for_all_batches(
    delay: float, expected: float, make_rig: MakeRig, grpc_collector: Collector, until: Until
) -> None:
    """Nothing is sent before the time, new batches neither; a delay of zero means the usual back-off."""
    grpc_collector.script = failing(1, Reply(CODES.UNAVAILABLE, retry_info_seconds=delay))
    rig = make_rig(grpc_collector, max_export_batch_size=1)
    assert_held(rig, grpc_collector, until, at_least_seconds=expected)
    assert rig.opened == 0


@pytest.mark.parametrize(("delay", "expected"), [(0.8, 0.8), (0, FIRST_BACKOFF_SECONDS)])
def test_row_08_resource_exhausted_with_retry_info_throttles_and_never_trips(
    delay: float, expected: float, make_rig: MakeRig, grpc_collector: Collector, until: Until
) -> None:
    """As row 7, but the server is well: not one refusal counts against it."""
    grpc_collector.script = failing(1, Reply(CODES.RESOURCE_EXHAUSTED, retry_info_seconds=delay))
    rig = make_rig(grpc_collector, max_export_batch_size=1, breaker_failure_threshold=1)
    assert_held(rig, grpc_collector, until, at_least_seconds=expected)
    assert rig.opened == 0
    assert rig.pipeline.breaker.snapshot().failure_rate == 0


def assert_dropped_and_told_once(
    rig: Rig, collector: Collector, caplog: pytest.LogCaptureFixture, *, said: str
) -> None:
    """Four refusals: four requests, no second try, four spans dropped, one line, and the breaker closed."""
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


def test_row_09_resource_exhausted_alone_is_dropped(
    make_rig: MakeRig, grpc_collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """A quota without a word on when to come again: not retryable."""
    grpc_collector.script = failing(99, Reply(CODES.RESOURCE_EXHAUSTED))
    assert_dropped_and_told_once(
        make_rig(grpc_collector), grpc_collector, caplog, said="RESOURCE_EXHAUSTED: on purpose"
    )


@pytest.mark.parametrize("code", [CODES.CANCELLED, CODES.ABORTED, CODES.OUT_OF_RANGE, CODES.DATA_LOSS])
def test_row_10_retryable_code_is_retried(
    code: grpc.StatusCode, make_rig: MakeRig, grpc_collector: Collector, until: Until
) -> None:
    """The specification's other retryable codes, with the usual waits."""
    grpc_collector.script = failing(2, Reply(code))
    rig = make_rig(grpc_collector)
    rig.end_spans(5)
    until("everything delivered", lambda: rig.ledger.delivered == 5)
    assert [each.outcome.kind for each in rig.failures] == [code.name.lower()] * 2
    assert_backed_off(rig)
    assert_all_delivered(rig, grpc_collector)


@pytest.mark.parametrize(
    "code",
    [
        CODES.INVALID_ARGUMENT,
        CODES.UNAUTHENTICATED,
        CODES.PERMISSION_DENIED,
        CODES.NOT_FOUND,
        CODES.ALREADY_EXISTS,
        CODES.FAILED_PRECONDITION,
        CODES.UNIMPLEMENTED,
        CODES.INTERNAL,
        CODES.UNKNOWN,
    ],
)
def test_row_11_permanent_code_is_never_retried(
    code: grpc.StatusCode,
    make_rig: MakeRig,
    grpc_collector: Collector,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Dropped, counted, and said once why."""
    grpc_collector.script = failing(99, Reply(code))
    assert_dropped_and_told_once(
        make_rig(grpc_collector), grpc_collector, caplog, said=f"{code.name}: on purpose"
    )


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_row_12_retryable_status_is_retried(
    status: int, make_rig: MakeRig, http_collector: Collector, until: Until
) -> None:
    """All with the usual waits; 429 is patience asked for, the others count against the breaker."""
    http_collector.script = failing(2, Reply(status=status))
    rig = make_rig(http_collector, breaker_failure_threshold=2)
    rig.end_spans(5)
    until("everything delivered", lambda: rig.ledger.delivered == 5)
    assert len(http_collector.requests) == 3
    assert_backed_off(rig)
    assert rig.opened == (0 if status == 429 else 1)
    assert_all_delivered(rig, http_collector)


@pytest.mark.parametrize("is_date", [False, True], ids=["seconds", "date"])
@pytest.mark.parametrize("status", [429, 503])
def test_row_13_retry_after_is_heeded_and_the_batch_held(
    status: int, is_date: bool, make_rig: MakeRig, http_collector: Collector, until: Until
) -> None:
    """In both its forms, for all batches, though an attempt's own deadline is shorter."""
    # A date has whole seconds: this one is one to two seconds away.
    at = (datetime.now(UTC) + timedelta(seconds=2)).replace(microsecond=0)
    value = format_datetime(at, usegmt=True) if is_date else "1"
    http_collector.script = failing(1, Reply(status=status, headers={"Retry-After": value}))
    rig = make_rig(http_collector, max_export_batch_size=1, exporter_timeout_seconds=0.9)
    started = time.monotonic()
    remaining = (at - datetime.now(UTC)).total_seconds()
    assert_held(rig, http_collector, until, at_least_seconds=FIRST_BACKOFF_SECONDS if is_date else 1)
    if is_date:
        # A thousandth for the two clocks.
        assert min(request.at for request in http_collector.requests[1:]) > started + remaining - 0.001
    assert rig.opened == 0


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 413, 500, 501])
def test_row_14_permanent_status_is_never_retried(
    status: int, make_rig: MakeRig, http_collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """Dropped, counted, and said once why, with the body's words; of 413 a single span cannot be halved."""
    http_collector.script = failing(99, Reply(status=status))
    assert_dropped_and_told_once(
        make_rig(http_collector), http_collector, caplog, said=f"HTTP {status}: Reason on purpose"
    )


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_row_15_redirect_is_an_error_that_names_where_to(
    status: int, make_rig: MakeRig, http_collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """Never followed, never success."""
    elsewhere = f"{http_collector.endpoint}/elsewhere"
    http_collector.script = failing(99, Reply(status=status, headers={"Location": elsewhere}))
    assert_dropped_and_told_once(make_rig(http_collector), http_collector, caplog, said=elsewhere)


def partial_success(rejected: int, message: str) -> Reply:
    """An answer that takes a part, or all with a remark."""
    answer = ExportTraceServiceResponse(
        partial_success=ExportTracePartialSuccess(rejected_spans=rejected, error_message=message)
    )
    return Reply(body=answer.SerializeToString())


@pytest.mark.parametrize(
    ("said", "rejected", "message"),
    [
        pytest.param(2, 2, "too old", id="a part"),
        pytest.param(99, 5, "too old", id="more than there were"),
        pytest.param(2, 2, "", id="without a word"),
    ],
)
def test_row_16_partial_success_is_counted_and_never_retried(
    said: int,
    rejected: int,
    message: str,
    make_rig: MakeRig,
    collector: Collector,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """N rejected, the rest delivered, the reason in the log; a flush says that not all arrived."""
    collector.script = lambda _: partial_success(said, message)
    rig = make_rig(collector, schedule_delay_ms=60_000)
    rig.end_spans(5)
    assert rig.pipeline.force_flush(10_000) is False
    assert_ledger(rig, delivered=5 - rejected, rejected=rejected)
    (line,) = lines(caplog)
    assert f"{said} of its spans rejected: {message}" in line
    assert rig.opened == 0
    assert rig.pipeline.stop(5) is True
    assert len(collector.requests) == 1


def test_row_17_remark_with_success_is_told_once_a_minute(
    make_rig: MakeRig, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing was rejected: success, and a warning that does not repeat itself."""
    collector.script = lambda _: partial_success(0, "be careful")
    rig = make_rig(collector)
    for ahead in (0, 0, 61, 61):
        rig.clock.ahead = ahead
        rig.end_spans(1)
        assert rig.pipeline.force_flush(10_000) is True
    assert [line.count("be careful") for line in lines(caplog)] == [1, 1]
    assert rig.pipeline.status.last_error is None
    assert_all_delivered(rig, collector)


def test_row_18_empty_answer_is_success_and_a_page_a_suspicion_said_once(
    make_rig: MakeRig, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """200 and 204 without a body are all right; a proxy's HTML is told, and not again."""
    rig = make_rig(collector)
    for status in (200, 204):
        collector.script = lambda _, status=status: Reply(status=status)  # type: ignore[misc]
        rig.end_spans(1)
        assert rig.pipeline.force_flush(10_000) is True
    assert lines(caplog) == []
    collector.script = lambda _: Reply(body=b"<html>Welcome", content_type="text/html")
    for ahead in (0, 61, 122):
        rig.clock.ahead = ahead
        rig.end_spans(1)
        assert rig.pipeline.force_flush(10_000) is True
    (line,) = lines(caplog)
    assert "is this endpoint a Collector?" in line
    assert_all_delivered(rig, collector)


@pytest.mark.parametrize("how", ["long", "packed", "endless"])
def test_row_19_answer_over_its_limit_is_cut_off_and_not_asked_for_again(
    how: str, make_rig: MakeRig, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """The spans may have been taken: a second try would only repeat them. One line says what happened."""
    if how == "endless" and collector.protocol == "grpc":
        how = "long"  # a message of gRPC begins with its length
    collector.script = lambda _: Reply(
        body=bytes(50 * MIB if how == "packed" else 5 * MIB),
        is_packed=how == "packed",
        is_endless=how == "endless",
    )
    rig = make_rig(collector)
    rig.end_spans(6)
    assert rig.pipeline.force_flush(10_000) is False
    assert collector.arrived == rig.names
    assert_ledger(rig, dropped={DropReason.NOT_RETRYABLE: 6})
    assert [each.outcome.kind for each in rig.attempts] == ["answer_too_large"]
    assert len(lines(caplog)) == 1
    assert rig.opened == 0


def test_row_20_request_over_64_mib_is_split_before_it_is_sent(
    make_rig: MakeRig, collector: Collector
) -> None:
    """None ever reaches the server; its spans do, but for one that is too large by itself."""
    rig = make_rig(
        collector,
        max_export_batch_size=128,
        buffer_max_bytes=512 * MIB,
        schedule_delay_ms=60_000,
        exporter_timeout_seconds=30,
        export_timeout_ms=30_000,
    )
    rig.end_spans(70, text="x" * MIB)
    assert rig.pipeline.force_flush(30_000) is True
    assert_all_delivered(rig, collector)
    assert len(collector.requests) == 2
    rig.end_spans(1, text="x" * 65 * MIB)
    assert rig.pipeline.force_flush(30_000) is False
    assert max(request.size_bytes for request in collector.requests) <= 64 * MIB
    assert len(collector.requests) == 2
    assert_ledger(rig, delivered=70, dropped={DropReason.NOT_RETRYABLE: 1})
    assert rig.opened == 0


def over(limit: int, reply: Reply) -> Callable[[Request], Reply]:
    """A script that refuses what is longer."""
    return lambda request: reply if request.size_bytes > limit else ACCEPT


@pytest.mark.parametrize(
    "how",
    [
        "413",
        "413 unread",
        "the Collector's 400",
        "grpcio's limit",
        "grpc-go's limit",
        "unpacked",
        "silent limit",
    ],
)
def test_row_21_request_over_the_servers_limit_is_halved_down_to_one_span(
    how: str, make_rig: MakeRig, until: Until
) -> None:
    """Everything arrives once but the one span that is too large by itself; the breaker has no opinion."""
    largest, is_compressed = 4 * MIB, False
    collector: Collector
    if how in {"grpcio's limit", "unpacked"}:
        collector = GrpcCollector(largest_bytes=largest)
        is_compressed = how == "unpacked"
    elif how == "grpc-go's limit":
        collector = GrpcCollector()
        text = "grpc: received message larger than max (4299279 vs. 4194304)"
        collector.script = over(largest, Reply(CODES.RESOURCE_EXHAUSTED, text=text))
    elif how == "silent limit":
        collector = GrpcCollector()
        collector.script = over(largest, Reply(CODES.RESOURCE_EXHAUSTED, text="no"))
    else:
        collector = http = HttpCollector()
        if how == "413":
            collector.script = over(largest, Reply(status=413))
        elif how == "413 unread":
            http.refuses_unread_bytes = largest
        else:
            collector.script = over(largest, Reply(status=400, text="http: request body too large"))
    try:
        rig = make_rig(
            collector,
            schedule_delay_ms=60_000,
            compression="gzip" if is_compressed else "none",
        )
        rig.end_spans(7, text="x" * (2 * MIB))
        rig.end_spans(1, text="x" * (5 * MIB))
        rig.end_spans(4, text="x" * 10)
        assert rig.pipeline.force_flush(20_000) is False
        assert_ledger(rig, delivered=11, dropped={DropReason.NOT_RETRYABLE: 1})
        assert sorted(collector.taken) == sorted(set(rig.names) - {"span 7"})
        assert rig.opened == 0
        assert rig.pipeline.buffered_bytes == 0
    finally:
        collector.stop()


@pytest.mark.parametrize(
    ("fault", "protocol", "said"),
    [
        ("expired", "grpc", "certificate has expired"),
        ("expired", "http/protobuf", "certificate has expired"),
        ("stranger", "grpc", "CERTIFICATE_VERIFY_FAILED"),
        ("stranger", "http/protobuf", "certificate verify failed"),
        ("TLS to plain text", "grpc", "WRONG_VERSION_NUMBER"),
        ("TLS to plain text", "http/protobuf", "TLS with"),
        ("plain text to TLS", "grpc", "UNAVAILABLE"),
        ("plain text to TLS", "http/protobuf", "127.0.0.1"),
        ("the other protocol's port", "grpc", "Failed parsing HTTP/2"),
        ("the other protocol's port", "http/protobuf", "the port of another protocol?"),
    ],
)
def test_row_22_tls_and_protocol_errors_are_told_once_and_probed_slowly(
    fault: str,
    protocol: str,
    said: str,
    certificates: Mapping[str, tuple[Path, Path]],
    make_rig: MakeRig,
    until: Until,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Certificates are renewed and endpoints mended: the spans are kept, and the attempts few."""
    kinds = {"grpc": GrpcCollector, "http/protobuf": HttpCollector}
    other = next(kind for name, kind in kinds.items() if name != protocol)
    kind = other if fault.startswith("the other") else kinds[protocol]
    certificate = {
        "expired": certificates["expired"],
        "stranger": certificates["valid"],
        "plain text to TLS": certificates["valid"],
    }.get(fault)
    collector: Collector = kind(certificate)
    try:
        scheme = "http" if fault.startswith(("the other", "plain")) else "https"
        trusted = certificates["expired"][0] if fault == "expired" else None
        rig = make_rig(
            f"{scheme}://127.0.0.1:{collector.port}",
            protocol,
            certificate=None if trusted is None else str(trusted),
            breaker_open_seconds=30,
            breaker_failure_threshold=2,
        )
        rig.end_spans(5)
        until("the breaker to open", lambda: rig.opened)
        rig.end_spans(5)
        # A flush does not hurry a breaker that is open.
        assert rig.pipeline.force_flush(100) is False
        assert len(rig.attempts) == 2
        assert said in rig.last_error
        (line,) = lines(caplog)
        assert said in line
        assert collector.requests == []
        assert_ledger(rig, in_memory=10)
        assert rig.pipeline.stop(0.1) is False
        assert_ledger(rig, dropped={DropReason.SHUTDOWN: 10})
    finally:
        collector.stop()


@pytest.mark.parametrize("is_restart", [True, False], ids=["restart", "half-open"])
def test_row_23_restarted_collector_or_half_open_connections_do_not_stall(
    is_restart: bool, make_rig: MakeRig, collector: Collector, wire: Wire, until: Until
) -> None:
    """With the defaults: of four idle connections that died, the first one found dead condemns the rest."""
    rig = make_rig(
        collector if is_restart else wire,
        collector.protocol,
        max_export_batch_size=1,
        exporter_timeout_seconds=1,
        breaker_open_seconds=2,
        breaker_open_max_seconds=60,
    )
    collector.script = collector.hang
    rig.end_spans(4)
    until("four exports under way", lambda: len(collector.requests) == 4)
    collector.release.set()
    until("four delivered", lambda: rig.ledger.delivered == 4)
    if is_restart:
        collector.stop()
        collector.start()
    else:
        wire.freeze()
    attempts = len(rig.attempts)
    rig.end_spans(1)
    until("the fifth delivered", lambda: rig.ledger.delivered == 5, seconds=8)
    assert len(rig.attempts) - attempts <= 2
    assert rig.opened == 0
    assert_all_delivered(rig, collector)


@pytest.mark.parametrize(
    ("in_flight", "settings"),
    [
        pytest.param(1, {}, id="one by one"),
        pytest.param(4, {"breaker_failure_threshold": 999, "breaker_minimum_calls": 999}, id="breaker aside"),
        pytest.param(
            4,
            {},
            id="four at once",
        ),
    ],
)
def test_row_24_flapping_collector_gets_everything_once(
    in_flight: int, settings: Mapping[str, int], make_rig: MakeRig, collector: Collector, until: Until
) -> None:
    """One call in two fails: the breaker opens now and then, and lets the rest through.

    A refusal leaves the exports beside it alone: what they bring is neither lost nor sent again.
    """

    def flap(request: Request) -> Reply:
        if request.number % 2:
            return UNWELL
        if in_flight > 1:
            threading.Event().wait(0.1)  # the refusal of the one before is told while this is under way
        return ACCEPT

    collector.script = flap
    rig = make_rig(collector, max_export_batch_size=1, max_in_flight=in_flight, **settings)
    rig.end_spans(12)
    until("everything delivered", lambda: rig.ledger.delivered == 12, seconds=6)
    assert len(rig.attempts) == len(collector.requests)
    assert len(rig.failures) == (len(rig.attempts) + 1) // 2
    assert (0 if settings else 1) <= rig.opened <= len(rig.failures) / 2
    assert_all_delivered(rig, collector)
    collector.script = lambda _: ACCEPT
    rig.end_spans(5)
    until("the rest delivered", lambda: rig.ledger.delivered == 17)
    until("the breaker to close", lambda: rig.pipeline.breaker.state is BreakerState.CLOSED)
    assert_all_delivered(rig, collector)


def test_row_25_overflow_for_minutes_blocks_nobody_and_stays_small(
    make_rig: MakeRig, collector: Collector, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    """The server hangs, sixteen threads go on, memory has its bound, and each minute has one line."""
    limit = 16_384
    collector.script = collector.hang
    rig = make_rig(
        collector,
        max_queue_size=64,
        max_export_batch_size=16,
        buffer_max_bytes=limit,
        exporter_timeout_seconds=0.05,
        breaker_open_seconds=1,
    )
    ended = [0] * 16

    def work(index: int) -> None:
        for _ in range(100):
            rig.tracer.start_span("work").end()
            ended[index] += 1

    threads = [threading.Thread(target=work, args=(index,), daemon=True) for index in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        # The server still hangs: whoever waited for it would wait here too.
        thread.join(10)
    assert ended == [100] * 16
    minutes, most_bytes, most_spans = 5, 0, 0
    for second in range(0, minutes * 60, 20):
        rig.clock.ahead = second
        attempts = len(rig.failures)
        rig.end_spans(16)
        until("another failure", lambda attempts=attempts: len(rig.failures) > attempts)
        most_bytes = max(most_bytes, rig.pipeline.buffered_bytes)
        most_spans = max(most_spans, rig.ledger.in_memory)
        assert rig.ledger.is_balanced
    assert 0 < most_bytes <= limit
    assert most_spans <= 64 + limit // 50
    kinds = {each.outcome.kind for each in rig.failures}
    # The first at once, then no more than one a minute; the last one may not have been told yet.
    assert minutes - 1 <= len(lines(caplog)) <= (minutes + 1) * len(kinds), lines(caplog)
    assert rig.pipeline.stop(0.1) is False
    reading = rig.ledger
    assert reading.is_balanced
    assert reading.ended == 1_600 + len(rig.names)
    assert reading.delivered == reading.rejected == reading.in_memory == 0
    assert set(reading.dropped) <= {DropReason.QUEUE_FULL, DropReason.BUFFER_FULL, DropReason.SHUTDOWN}
    assert reading.dropped[DropReason.SHUTDOWN] >= 1
    assert sum(reading.dropped.values()) == reading.ended


FAULTS_OF_GRPC = {
    "6 unavailable": UNWELL,
    "7 unavailable with retry info": Reply(CODES.UNAVAILABLE, retry_info_seconds=60),
    "8 exhausted with retry info": Reply(CODES.RESOURCE_EXHAUSTED, retry_info_seconds=60),
    "9 exhausted": Reply(CODES.RESOURCE_EXHAUSTED),
    "10 aborted": Reply(CODES.ABORTED),
    "11 unauthenticated": Reply(CODES.UNAUTHENTICATED),
}
FAULTS_OF_HTTP = {
    "12 throttled": Reply(status=429),
    "12 unwell": Reply(status=503),
    "13 throttled for a minute": Reply(status=429, headers={"Retry-After": "60"}),
    "13 unwell for a minute": Reply(status=503, headers={"Retry-After": "60"}),
}
FAULTS_OF_BOTH = ["1 refused", "2 black hole", "3 no answer", "4 disconnect", "5 drip"]


@pytest.mark.parametrize(
    ("fault", "protocol"),
    [
        *((fault, protocol) for fault in FAULTS_OF_BOTH for protocol in ("grpc", "http/protobuf")),
        *((fault, "grpc") for fault in FAULTS_OF_GRPC),
        *((fault, "http/protobuf") for fault in FAULTS_OF_HTTP),
    ],
)
def test_row_26_flush_and_stop_are_bounded_and_honest_in_every_fault(
    fault: str, protocol: str, make_rig: MakeRig, until: Until
) -> None:
    """Rows 1 to 13 with a full queue: both are over in their time and say False; what is left is counted."""
    collector: Collector = GrpcCollector() if protocol == "grpc" else HttpCollector()
    wire, hole = Wire(collector.port), None
    reply = {**FAULTS_OF_GRPC, **FAULTS_OF_HTTP}.get(fault)
    if reply is not None:
        collector.script = failing(10_000, reply)
    elif fault == "1 refused":
        collector.stop()
    elif fault == "2 black hole":
        collector.stop()
        hole = BlackHole(collector.port)
    elif fault == "3 no answer":
        collector.script = collector.hang
    elif fault == "4 disconnect":
        collector.script = lambda _: (wire.cut(), ACCEPT)[1]
    else:
        wire.drip_seconds = 0.1
    try:
        rig = make_rig(
            collector if hole or fault == "1 refused" else wire,
            protocol,
            max_queue_size=32,
            max_export_batch_size=8,
            schedule_delay_ms=60_000,
        )
        rig.end_spans(200)
        started = time.monotonic()
        assert rig.pipeline.force_flush(100) is False
        assert time.monotonic() - started < 2
        rig.end_spans(200)
        started = time.monotonic()
        is_sent = rig.pipeline.stop(0.2)
        assert time.monotonic() - started < 2.5
        reading = rig.ledger
        assert reading.is_balanced
        assert (reading.ended, reading.delivered, reading.rejected, reading.in_memory) == (400, 0, 0, 0)
        assert sum(reading.dropped.values()) == 400
        assert is_sent is False
        is_permanent = fault in {"9 exhausted", "11 unauthenticated"}
        assert (DropReason.NOT_RETRYABLE if is_permanent else DropReason.SHUTDOWN) in reading.dropped
    finally:
        collector.release.set()
        wire.close()
        if hole is not None:
            hole.close()
        collector.stop()


PROGRAM = """
    from fastapi import FastAPI
    from telemetry.telemetry import setup_telemetry
    app = FastAPI()
    setup_telemetry(app)
    @app.get("/hello")
    def hello(): return "hello"
"""


def test_row_27_sigterm_has_one_budget_for_all_signals(
    collector: Collector, free_port: int, tmp_path: Path, until: Until
) -> None:
    """Spans and pushed metrics hang at the same Collector; five seconds after SIGTERM the process ends."""
    collector.script = collector.hang
    (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
    environment = {
        **os.environ,
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": collector.protocol,
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_BSP_SCHEDULE_DELAY": "600000",
        # Of the budget's five seconds the metrics take four.
        "OTEL_EXPORTER_OTLP_TIMEOUT": "4",
        "OTEL_BSP_EXPORT_TIMEOUT": "4000",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "program:app", "--port", str(free_port), "--no-access-log"],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:

            def is_answered() -> bool:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{free_port}/hello", timeout=5):
                        return True
                except OSError:
                    return False

            until("uvicorn to answer", is_answered, seconds=20)
            started = time.monotonic()
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=30)
            seconds = time.monotonic() - started
        finally:
            process.kill()
    assert collector.requests, output
    # Two budgets would be ten.
    assert 3 < seconds < 8, output
    assert "shutdown gave up 1 span(s)" in output
    assert "Traceback" not in output, output
    assert process.returncode == -signal.SIGTERM


@pytest.mark.parametrize("is_under_way", [False, True], ids=["warm", "under way"])
def test_row_28_forked_child_has_nothing_of_its_parents(
    is_under_way: bool, make_rig: MakeRig, collector: Collector, until: Until
) -> None:
    """With a warm connection, and with an export that hangs: the child sends its own, the parent loses none.

    An export that a fork interrupted is sent again, so that one may be repeated.
    """
    rig = make_rig(collector, exporter_timeout_seconds=5)
    rig.end_spans(3)
    until("a warm connection", lambda: rig.ledger.delivered == 3)
    if is_under_way:
        collector.script = lambda request: collector.hang(request) if request.number == 2 else ACCEPT
        rig.end_spans(1)
        until("an export under way", lambda: len(collector.requests) == 2)
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        before = rig.ledger
        for number in range(5):
            rig.tracer.start_span(f"child {number}").end()
        is_sent = rig.pipeline.force_flush(10_000)
        after = rig.ledger
        told = (before.ended, before.in_memory, after.ended, after.delivered, is_sent, after.is_balanced)
        os.write(write_end, repr(told).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read_end, 1_000).decode() == "(0, 0, 5, 5, True, True)"
    os.close(read_end)
    os.close(write_end)
    collector.release.set()
    rig.end_spans(2)
    until("the parent's own", lambda: rig.ledger.delivered == len(rig.names))
    assert rig.opened == 0
    assert_ledger(rig, delivered=len(rig.names))
    children = [name for name in collector.taken if name.startswith("child")]
    assert sorted(children) == [f"child {number}" for number in range(5)]
    parents = [name for name in collector.taken if name.startswith("span")]
    assert sorted(set(parents)) == sorted(rig.names)
    assert is_under_way or len(parents) == len(rig.names)


def test_row_29_poison_span_costs_only_itself_or_its_field(make_rig: MakeRig, collector: Collector) -> None:
    """A lone surrogate costs a character, a value of an odd type its attribute, a negative time its span."""
    rig = make_rig(collector, schedule_delay_ms=60_000)
    rig.end_spans(3)
    rig.tracer.start_span("bad \ud800", attributes={"text": "bad \udfff"}).end()
    rig.tracer.start_span("before 1970", start_time=-1).end()
    context = SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    odd: Any = {"odd": object(), "large": 2**70, "good": "kept"}
    rig.pipeline.on_end(ReadableSpan("odd", context, attributes=odd, start_time=1, end_time=2))
    rig.end_spans(3)
    rig.pipeline.force_flush(10_000)
    (request,) = collector.requests
    assert sorted(request.names) == sorted([*rig.names, "bad ?", "odd"])
    by_name = {span.name: span for span in request.spans}
    assert [(each.key, each.value.string_value) for each in by_name["bad ?"].attributes] == [
        ("text", "bad ?")
    ]
    assert [(each.key, each.value.string_value) for each in by_name["odd"].attributes] == [("good", "kept")]
    assert by_name["odd"].dropped_attributes_count == 2
    rig.names += ["bad", "before 1970", "odd"]
    assert_ledger(rig, delivered=8, dropped={DropReason.UNENCODABLE: 1})


class EndsSpans(logging.Handler):
    """A handler that makes a span of each record, and looks at the pipeline from another thread."""

    def __init__(self, rig: Rig) -> None:
        super().__init__()
        self.rig = rig
        self.spans = 0
        self.deepest = 0
        self.blocked = 0
        self._depth = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """Ends a span named as the record's logger."""
        depth = self._depth.value = getattr(self._depth, "value", 0) + 1
        self.deepest = max(self.deepest, depth)
        self.spans += 1
        self.rig.tracer.start_span(f"log {record.name}").end()
        looking = threading.Thread(target=self._look, daemon=True)
        looking.start()
        looking.join(5)
        self.blocked += looking.is_alive()
        self._depth.value -= 1

    def _look(self) -> None:
        pipeline = self.rig.pipeline
        pipeline.ledger.read()
        pipeline.breaker.snapshot()
        self.rig.tracer.start_span("seen by another").end()


class Raising:
    """A transport with a defect, until it is mended."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.is_broken = True

    def send(self, payload: bytes, timeout_seconds: float) -> ExportResult:
        """Raises what no transport should."""
        if self.is_broken:
            raise RuntimeError("a defect")
        return self._transport.send(payload, timeout_seconds)

    def close(self) -> None:
        """Passes it on."""
        self._transport.close()


@pytest.mark.parametrize("is_defect", [True, False], ids=["raising", "refused"])
def test_row_30_worker_survives_a_raising_exporter_and_logging_that_comes_back(
    is_defect: bool, make_rig: MakeRig, collector: Collector, until: Until
) -> None:
    """Each line of the log ends a span in the midst of it: nothing recurses, and no lock is held."""
    rig = make_rig(collector, breaker_failure_threshold=100)
    raising: list[Raising] = []
    collector.script = failing(3)
    if is_defect:

        def build(config: TelemetryConfig) -> Raising:
            raising.append(Raising(build_transport(config)))
            return raising[0]

        rig.pipeline._build = build
    handler = EndsSpans(rig)
    logger = logging.getLogger("telemetry.export")
    logger.addHandler(handler)
    try:
        rig.end_spans(5)
        until("a line of the log", lambda: handler.spans)
        if is_defect:
            raising[0].is_broken = False
        until("everything delivered", lambda: rig.ledger.delivered >= 7 and rig.ledger.in_memory == 0)
        assert rig.pipeline.is_worker_alive
        assert rig.pipeline.stop(5) is True
    finally:
        logger.removeHandler(handler)
    assert (handler.deepest, handler.blocked) == (1, 0)
    assert handler.spans < 10
    reading = rig.ledger
    assert reading.is_balanced
    assert reading.delivered == reading.ended == len(rig.names) + 2 * handler.spans
    assert len(collector.taken) == reading.ended


@pytest.mark.parametrize("jump_seconds", [86_400.0, -86_400.0], ids=["forward", "back"])
def test_row_31_wall_clock_that_jumps_changes_nothing(
    jump_seconds: float,
    make_rig: MakeRig,
    collector: Collector,
    wire: Wire,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A wait that was asked for, the breaker and deadlines go by a clock that does not jump."""
    for kind in (ExportPipeline, ExportWorker, CircuitBreaker, Ledger):
        # A default is bound before any test could replace it.
        assert inspect.signature(kind).parameters["clock"].default is time.monotonic
    # gRPC hands its deadlines to the real clock.
    monkeypatch.setattr("grpc._channel.time", types.SimpleNamespace(**vars(time)))
    ahead = 0.0
    now, now_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: now() + ahead)
    monkeypatch.setattr(time, "time_ns", lambda: now_ns() + int(ahead * 1e9))
    collector.script = failing(
        1, Reply(CODES.UNAVAILABLE, retry_info_seconds=1, status=503, headers={"Retry-After": "1"})
    )
    rig = make_rig(wire, collector.protocol, breaker_failure_threshold=1, exporter_timeout_seconds=1)
    rig.end_spans(5)
    until("the breaker to open", lambda: rig.opened)
    ahead = jump_seconds
    rig.end_spans(5)
    until("everything delivered", lambda: rig.ledger.delivered == 10)
    first, *others = collector.requests
    assert others[0].at - first.at >= 1
    wire.drip_seconds = 0.05
    attempts, requests = len(rig.attempts), len(collector.requests)
    rig.end_spans(1)
    until("an answer under way", lambda: len(collector.requests) > requests)
    ahead = 0.0
    until("its deadline", lambda: len(rig.attempts) > attempts)
    assert 0.9 < rig.attempts[attempts].ended - rig.attempts[attempts].started < 2.5
    wire.drip_seconds = 0
    until("everything delivered", lambda: rig.ledger.delivered == 11)
    assert_all_delivered(rig, collector, may_repeat=True)


def test_row_32_nothing_to_send_sends_nothing(make_rig: MakeRig, collector: Collector, wire: Wire) -> None:
    """Before the first span, after the last, and when a batch comes to nothing: no request, no connection."""
    rig = make_rig(wire, collector.protocol)
    assert rig.pipeline.force_flush(5_000) is True
    unsampled = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    unsampled.add_span_processor(rig.pipeline)
    unsampled.get_tracer("test").start_span("unsampled").end()
    rig.tracer.start_span("before 1970", start_time=-1).end()
    rig.names.append("before 1970")
    rig.pipeline.force_flush(5_000)
    assert rig.pipeline.force_flush(5_000) is True
    assert wire.connections == 0
    assert_ledger(rig, dropped={DropReason.UNENCODABLE: 1})
    rig.end_spans(2)
    assert rig.pipeline.force_flush(5_000) is True
    assert rig.pipeline.force_flush(5_000) is True
    assert rig.pipeline.stop(5) is True
    assert len(collector.requests) == 1
    assert_ledger(rig, delivered=2, dropped={DropReason.UNENCODABLE: 1})


def spool_file(folder: Path) -> Path:
    """The one file of batches below a folder."""
    (file,) = (path for path in folder.rglob("*.seg") if "quarantine" not in path.parts)
    return file


def spooled(make_rig: MakeRig, collector: Collector, folder: Path, until: Until, **settings: Any) -> Rig:
    """A process that died with two batches of three spans on disk."""
    collector.stop()
    rig = make_rig(collector, spool_dir=folder, max_export_batch_size=3, **settings)
    rig.end_spans(3)
    until("one batch on disk", lambda: rig.ledger.spooled == 3)
    rig.end_spans(3)
    until("both on disk", lambda: rig.ledger.spooled == 6)
    rig.pipeline.stop(1)
    rig.pipeline._spool.forget_after_fork()  # type: ignore[union-attr] # the kernel closes its files
    collector.start()
    return rig


@pytest.mark.parametrize(
    ("damage", "adopted", "lost", "is_quarantined"),
    [
        pytest.param(lambda content: content, 6, 0, False, id="none"),
        pytest.param(lambda content: content[:-7], 3, 0, False, id="torn tail"),
        pytest.param(lambda content: content + b"\xf5SPL", 6, 0, False, id="torn header"),
        pytest.param(lambda content: content + bytes(500), 6, 0, False, id="tail of zeros"),
        pytest.param(lambda content: content[:-1] + b"?", 6, 3, True, id="flipped bits in a payload"),
        pytest.param(lambda content: b"?" + content[1:], 3, 0, True, id="flipped bits in a header"),
        pytest.param(lambda content: content[:4] + b"\x00" + content[5:], 3, 0, False, id="sent before"),
        pytest.param(lambda content: b"no spool at all" * 20, 0, 0, True, id="another file"),
        pytest.param(lambda content: b"", 0, 0, False, id="empty"),
    ],
)
def test_row_33_damaged_spool_costs_what_is_damaged(
    damage: Callable[[bytes], bytes],
    adopted: int,
    lost: int,
    is_quarantined: bool,
    make_rig: MakeRig,
    collector: Collector,
    tmp_path: Path,
    until: Until,
) -> None:
    """What checks is sent, what does not is counted and kept to be looked at; no process stumbles over it."""
    spooled(make_rig, collector, tmp_path, until)
    file = spool_file(tmp_path)
    file.write_bytes(damage(file.read_bytes()))
    owner = file.parent
    heir = make_rig(collector, spool_dir=tmp_path)
    heir.pipeline.replay()
    until("the heir is done", lambda: not owner.exists())
    reading = heir.ledger
    assert reading.is_balanced
    assert (reading.adopted, reading.delivered, reading.spooled) == (adopted, adopted - lost, 0)
    assert dict(reading.dropped) == ({DropReason.SPOOL_CORRUPT: lost} if lost else {})
    assert len(collector.taken) == adopted - lost
    assert bool(list(tmp_path.rglob("quarantine/*"))) is is_quarantined
    assert not heir.pipeline.status.last_error
    heir.end_spans(1)
    assert heir.pipeline.force_flush(5_000) is True


def _unusable(folder: Path) -> dict[str, Any]:
    (folder / "file").touch()
    return {"spool_dir": folder / "file" / "spool"}


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        pytest.param(_unusable, "TELEMETRY_SPOOL_DIR", id="not writable"),
        pytest.param(
            lambda folder: {"spool_dir": folder, "spool_max_bytes": 2**16},
            "TELEMETRY_SPOOL_MAX_BYTES",
            id="full",
        ),
        pytest.param(
            lambda folder: {"spool_dir": folder, "spool_min_free": 0.999_999},
            "TELEMETRY_SPOOL_MIN_FREE",
            id="disk almost full",
        ),
    ],
)
def test_row_33_spool_that_takes_no_more_leaves_memory_and_counted_drops(
    settings: Callable[[Path], dict[str, Any]],
    remedy: str,
    make_rig: MakeRig,
    collector: Collector,
    tmp_path: Path,
    until: Until,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Told once, with the remedy; bounded; and everything that was kept arrives."""
    collector.stop()
    rig = make_rig(collector, buffer_max_bytes=2**15, max_export_batch_size=10, **settings(tmp_path))
    for _ in range(200):
        rig.end_spans(10, text="x" * 100)
        until("the queue taken", lambda: rig.ledger.in_memory < 1_000)
        if rig.ledger.dropped:
            break
    until("a drop", lambda: rig.ledger.dropped)
    assert rig.pipeline.buffered_bytes <= 2**15
    status = rig.pipeline.spool_status
    assert status is not None
    assert remedy in str(status.trouble)
    assert sum("the spool of unsent spans" in line and remedy in line for line in lines(caplog)) == 1
    collector.start()
    until("nothing pending", lambda: rig.ledger.in_memory == rig.ledger.spooled == 0)
    dropped = rig.ledger.dropped
    assert set(dropped) == {DropReason.BUFFER_FULL if "DIR" in remedy else DropReason.SPOOL_FULL}
    assert_ledger(rig, delivered=len(rig.names) - sum(dropped.values()), dropped=dropped)
    assert len(collector.taken) == rig.ledger.delivered


def test_row_33_two_processes_in_one_folder_send_nothing_twice(
    make_rig: MakeRig, collector: Collector, tmp_path: Path, until: Until
) -> None:
    """Each has what it wrote, and an orphan goes to one of them."""
    dead = spooled(make_rig, collector, tmp_path, until)
    heirs = [make_rig(collector, spool_dir=tmp_path) for _ in range(4)]
    threads = [threading.Thread(target=heir.pipeline.replay) for heir in heirs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until("all delivered", lambda: len(collector.taken) == 6)
    until("and counted", lambda: sum(heir.ledger.delivered for heir in heirs) == 6)
    assert sorted(collector.taken) == sorted(dead.names)
    assert sum(heir.ledger.adopted for heir in heirs) == 6
    assert all(heir.ledger.is_balanced for heir in heirs)
