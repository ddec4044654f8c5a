"""Faults inside the process: poison spans, defects, reentrant logging, a clock that jumps."""

import inspect
import logging
import threading
import time
import types
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanContext, TraceFlags
from support.collector import Collector, Reply
from support.fault_rig import CODES, FaultRig, MakeRig, assert_all_delivered, assert_ledger, failing
from support.waiting import Until
from support.wire import Wire

from telemetry.config import TelemetryConfig
from telemetry.export.breaker import CircuitBreaker
from telemetry.export.ledger import DropReason, Ledger
from telemetry.export.otlp.result import ExportResult
from telemetry.export.otlp.transport import Transport, build_transport
from telemetry.export.pipeline import ExportPipeline
from telemetry.export.worker import ExportWorker


def test_poison_span_costs_only_itself_or_its_field(make_rig: MakeRig, collector: Collector) -> None:
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
    """A handler that ends a span for each record and reads the pipeline from another thread."""

    def __init__(self, rig: FaultRig) -> None:
        super().__init__()
        self.rig = rig
        self.spans = 0
        self.deepest = 0
        self.blocked = 0
        self._depth = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """Ends a span named after the record's logger."""
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
    """A transport that raises until it is repaired."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.is_broken = True

    def send(self, payload: bytes, timeout_seconds: float) -> ExportResult:
        """Raises while the transport is broken."""
        if self.is_broken:
            raise RuntimeError("a defect")
        return self._transport.send(payload, timeout_seconds)

    def close(self) -> None:
        """Closes the wrapped transport."""
        self._transport.close()


@pytest.mark.parametrize("is_defect", [True, False], ids=["raising", "refused"])
def test_worker_survives_a_raising_exporter_and_logging_that_comes_back(
    is_defect: bool, make_rig: MakeRig, collector: Collector, until: Until
) -> None:
    """A span that ends during each log call causes no recursion and finds no lock held."""
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
def test_wall_clock_that_jumps_changes_nothing(
    jump_seconds: float,
    make_rig: MakeRig,
    collector: Collector,
    wire: Wire,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Requested waits, the breaker and deadlines use a monotonic clock."""
    for kind in (ExportPipeline, ExportWorker, CircuitBreaker, Ledger):
        # Defaults are bound at definition, before a test could replace them.
        assert inspect.signature(kind).parameters["clock"].default is time.monotonic
    # gRPC compares its deadlines with the real clock.
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


def test_nothing_to_send_sends_nothing(make_rig: MakeRig, collector: Collector, wire: Wire) -> None:
    """No request or connection is made before the first span, after the last, or for an empty batch."""
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
