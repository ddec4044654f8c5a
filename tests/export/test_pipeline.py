"""The export pipeline against a real OTLP/gRPC server that goes away, hangs, refuses and returns."""

import gc
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, Sampler, SamplingResult

from telemetry.config import TelemetryConfig
from telemetry.export.breaker import BreakerState
from telemetry.export.ledger import DropReason
from telemetry.export.otlp.response import Disposition, ExportResult
from telemetry.export.pipeline import ExportPipeline
from telemetry.export.worker import ExportWorker
from telemetry.settings.sections import Batching

Until = Callable[..., None]


class Rig:
    """A provider with our pipeline behind it, sending to the receiver."""

    def __init__(self, receiver: Any, **settings: Any) -> None:
        defaults = {"endpoint": receiver.endpoint, "schedule_delay_ms": 20, "breaker_open_seconds": 0.05}
        self.attempts: list[Any] = []
        self.pipeline = ExportPipeline(
            TelemetryConfig(**{**defaults, **settings}), on_attempt=self.attempts.append
        )
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(self.pipeline)
        self.tracer = provider.get_tracer("test")

    def end_spans(self, count: int, name: str = "work") -> None:
        """Starts and ends `count` spans."""
        for _ in range(count):
            self.tracer.start_span(name).end()

    @property
    def ledger(self) -> Any:
        """A reading of the ledger."""
        return self.pipeline.ledger.read()


@pytest.fixture
def make_rig(receiver: Any) -> Iterator[Callable[..., Rig]]:
    """Builds rigs and stops them at the end."""
    rigs: list[Rig] = []

    def make(**settings: Any) -> Rig:
        rigs.append(Rig(receiver, **settings))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.pipeline.stop(0.2)


def abort_with(code: grpc.StatusCode) -> Callable[[grpc.ServicerContext], None]:
    """An answer that refuses with a status."""
    return lambda context: context.abort(code, "on purpose")


def test_spans_arrive_and_are_counted_delivered(
    make_rig: Callable[..., Rig], receiver: Any, until: Until
) -> None:
    """The ordinary way: everything ended is delivered."""
    rig = make_rig()
    rig.end_spans(100)
    until("100 spans delivered", lambda: rig.ledger.delivered == 100)
    assert len(receiver.spans) == 100
    assert rig.ledger.is_balanced


@pytest.mark.parametrize(("seconds_ago", "least", "most"), [(5, 5, 15), (-100, 0, 0)])
def test_age_of_a_batch_is_that_of_its_first_span(
    seconds_ago: int, least: float, most: float, make_rig: Callable[..., Rig], until: Until
) -> None:
    """From its end until the answer; a clock that was set back makes it no less than 0."""
    rig = make_rig(max_export_batch_size=2, schedule_delay_ms=60_000)
    rig.tracer.start_span("old").end(end_time=time.time_ns() - seconds_ago * 10**9)
    rig.tracer.start_span("new").end()
    until("the batch's attempt", lambda: rig.attempts)
    assert least <= rig.attempts[0].age_seconds <= most


class RecordOnly(Sampler):
    """Records spans for local use, and samples none."""

    def should_sample(self, *_: Any, **__: Any) -> SamplingResult:
        """Decides so for every span."""
        return SamplingResult(Decision.RECORD_ONLY)

    def get_description(self) -> str:
        """Its name."""
        return "RecordOnly"


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, RecordOnly()])
def test_unsampled_spans_are_neither_counted_nor_sent(sampler: Sampler, receiver: Any) -> None:
    """The ledger speaks of sampled spans only."""
    pipeline = ExportPipeline(TelemetryConfig(endpoint=receiver.endpoint))
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    provider.add_span_processor(pipeline)
    provider.get_tracer("test").start_span("unsampled").end()
    assert pipeline.ledger.read().ended == 0


def test_dead_collector_opens_the_breaker_and_its_return_loses_nothing(
    make_rig: Callable[..., Rig], receiver: Any, until: Until
) -> None:
    """What ended during an outage waits, and arrives though no new span comes."""
    rig = make_rig()
    receiver.stop()
    rig.end_spans(50)
    until("the breaker to open", lambda: rig.pipeline.breaker.state is BreakerState.OPEN)
    assert rig.ledger.in_memory == 50
    assert rig.pipeline.status.last_error is not None
    receiver.start()
    until("50 spans delivered", lambda: rig.ledger.delivered == 50)
    until("the breaker to close", lambda: rig.pipeline.breaker.state is BreakerState.CLOSED)
    assert len(receiver.spans) == 50


def test_hanging_collector_opens_the_breaker(
    make_rig: Callable[..., Rig], receiver: Any, until: Until
) -> None:
    """A Collector that accepts and never answers is as good as dead after each attempt's deadline."""
    release = threading.Event()
    receiver.answer = lambda _: release.wait(20)
    rig = make_rig(exporter_timeout_seconds=0.1)
    rig.end_spans(5)
    until("the breaker to open", lambda: rig.pipeline.breaker.snapshot().opened_total >= 1)
    receiver.answer = lambda _: None
    release.set()
    until("5 spans delivered", lambda: rig.ledger.delivered == 5)


def test_memory_is_bounded_and_what_fits_is_kept(
    make_rig: Callable[..., Rig], receiver: Any, until: Until
) -> None:
    """In an outage queue and outbox fill to their bounds; the rest is dropped by name, and nothing blocks."""
    receiver.stop()
    rig = make_rig(max_queue_size=64, max_export_batch_size=16, buffer_max_bytes=4_096)
    until("the outbox to be full", lambda: rig.end_spans(50) or DropReason.BUFFER_FULL in rig.ledger.dropped)
    assert 3_000 < rig.pipeline.buffered_bytes <= 4_096
    until("the queue to be empty", lambda: rig.pipeline._run.worker._queue.__len__() == 0)
    reading = rig.ledger
    assert set(reading.dropped) <= {DropReason.BUFFER_FULL, DropReason.QUEUE_FULL}
    assert 16 <= reading.in_memory <= 4_096 // 50
    receiver.start()
    until("what was kept delivered", lambda: rig.ledger.delivered == reading.in_memory)
    assert rig.pipeline.buffered_bytes == 0
    assert rig.ledger.is_balanced


def test_full_queue_drops_new_spans(make_rig: Callable[..., Rig], receiver: Any) -> None:
    """A worker that has no time costs the newest spans, counted; the request thread does not wait for it."""
    rig = make_rig(max_queue_size=8, max_export_batch_size=8, schedule_delay_ms=60_000)
    rig.end_spans(1)
    worker = rig.pipeline._run.worker
    worker._step = lambda: None
    rig.end_spans(19)
    assert len(worker._queue) <= 8
    assert rig.ledger.dropped[DropReason.QUEUE_FULL] >= 11
    assert rig.ledger.is_balanced


def test_slow_collector_gets_several_exports_at_once(
    make_rig: Callable[..., Rig], receiver: Any, until: Until
) -> None:
    """Healthy but slow: four are under way, and no more."""
    release = threading.Event()
    receiver.answer = lambda _: release.wait(20)
    rig = make_rig(max_export_batch_size=1, exporter_timeout_seconds=20, export_timeout_ms=20_000)
    rig.end_spans(20)
    until("four exports under way", lambda: receiver.calls == 4)
    assert rig.pipeline._run.worker._backlog._outbox.in_flight == 4
    release.set()
    until("20 spans delivered", lambda: rig.ledger.delivered == 20)
    assert sorted(receiver.names) == ["work"] * 20


def test_throttling_holds_the_batch_and_never_trips(until: Until) -> None:
    """429 asks for patience: what was sent is sent again, and the breaker has no opinion."""
    with HttpReceiver(429, 429, 429, 429, 429) as receiver:
        pipeline = http_pipeline(receiver)
        end_spans(pipeline, 3)
        until("3 spans delivered", lambda: pipeline.ledger.read().delivered == 3)
        assert len(receiver.paths) == 6
        assert pipeline.breaker.snapshot().opened_total == 0
        pipeline.stop(1)
        receiver.shutdown()


def test_batch_that_is_too_large_is_halved_down_to_the_span_that_is(until: Until) -> None:
    """413 for every request that holds the large span: it alone is lost, and a flush says so."""
    with HttpReceiver(limit_bytes=5_000) as receiver:
        pipeline = http_pipeline(receiver, schedule_delay_ms=60_000)
        end_spans(pipeline, 4)
        end_spans(pipeline, 1, text="x" * 10_000)
        end_spans(pipeline, 4)
        assert pipeline.force_flush(10_000) is False
        reading = pipeline.ledger.read()
        assert (reading.delivered, dict(reading.dropped)) == (8, {DropReason.NOT_RETRYABLE: 1})
        assert pipeline.buffered_bytes == 0
        assert pipeline.force_flush(10_000) is True
        pipeline.stop(1)
        receiver.shutdown()


class Raising:
    """A transport with a defect."""

    def __init__(self) -> None:
        self.is_broken = True

    def send(self, payload: bytes, timeout_seconds: float) -> ExportResult:
        """Raises what no transport should."""
        if self.is_broken:
            raise RuntimeError("a defect")
        return ExportResult(Disposition.DELIVERED)

    def close(self) -> None:
        """Nothing to free."""


def test_worker_survives_a_defect_of_the_transport(until: Until, caplog: pytest.LogCaptureFixture) -> None:
    """It is told, the batch is kept, and sent when the defect is gone."""
    transport = Raising()
    pipeline = ExportPipeline(
        TelemetryConfig(schedule_delay_ms=20, breaker_open_seconds=0.05), build=lambda _: transport
    )
    end_spans(pipeline, 3)
    until("the defect told", lambda: "transport_raised" in caplog.text)
    assert pipeline.ledger.read().in_memory == 3
    transport.is_broken = False
    until("3 spans delivered", lambda: pipeline.ledger.read().delivered == 3)
    assert pipeline.stop(1)


def test_transport_that_cannot_be_made_is_tried_rarely(
    until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it raises: the breaker keeps the attempts rare, and the log tells it once."""
    attempts: list[TelemetryConfig] = []

    def build(config: TelemetryConfig) -> Any:
        attempts.append(config)
        raise TypeError("a defect")

    pipeline = ExportPipeline(TelemetryConfig(schedule_delay_ms=20), build=build)
    end_spans(pipeline, 3)
    until("the breaker to open", lambda: pipeline.breaker.snapshot().opened_total)
    assert len(attempts) == 3
    assert caplog.text.count("a defect") == 1
    pipeline.stop(0.1)


def test_flush_is_false_when_a_span_could_not_be_encoded(make_rig: Callable[..., Rig], receiver: Any) -> None:
    """It was ended, and it is not delivered; the next flush is about what came after it."""
    rig = make_rig(schedule_delay_ms=60_000)
    rig.tracer.start_span("bad", start_time=-1).end()
    rig.end_spans(1)
    assert rig.pipeline.force_flush(5_000) is False
    assert len(receiver.spans) == 1
    rig.end_spans(1)
    assert rig.pipeline.force_flush(5_000) is True


def test_flush_is_false_when_the_queue_was_full_before_it(
    make_rig: Callable[..., Rig], receiver: Any
) -> None:
    """A dropped span is an unsent one, whenever it was dropped."""
    release = threading.Event()
    rig = make_rig(schedule_delay_ms=60_000, max_queue_size=8, max_export_batch_size=8, buffer_max_bytes=1024)
    receiver.answer = lambda _: release.wait(5)
    rig.end_spans(200)
    release.set()
    assert rig.ledger.dropped
    assert rig.pipeline.force_flush(5_000) is False
    assert rig.pipeline.force_flush(5_000) is True


def test_spans_are_sent_though_no_thread_starts_any_more(
    make_rig: Callable[..., Rig], receiver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at the interpreter's end, where the worker runs already and the threads that send do not."""
    rig = make_rig(schedule_delay_ms=60_000)
    rig.end_spans(1)
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("telemetry"):
            raise RuntimeError("can't create new thread at interpreter shutdown")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert rig.pipeline.stop(5) is True
    assert len(receiver.spans) == 1


def test_worker_that_cannot_start_is_told_without_a_lock(
    make_rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A logging handler that ends a span comes back into the pipeline: it must find it unlocked."""

    def refuse(_: ExportWorker) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(ExportWorker, "start", refuse)
    rig = make_rig()

    class EndsASpan(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            """Traces each record."""
            rig.end_spans(1, "of the log")

    handler = EndsASpan()
    logger = logging.getLogger("telemetry.export.pipeline")
    logger.addHandler(handler)
    try:
        thread = threading.Thread(target=rig.end_spans, args=(1,), daemon=True)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()
    finally:
        logger.removeHandler(handler)
    assert rig.ledger.dropped == {DropReason.SHUTDOWN: 2}


def test_certificate_that_cannot_be_read_fails_exports_until_it_can(
    tmp_path: Path, certificates: dict[str, tuple[Path, Path]], until: Until
) -> None:
    """One that goes while the app runs: it goes on, health says why, the breaker keeps the attempts rare."""
    file = tmp_path / "gone.pem"
    shutil.copy(certificates["valid"][0], file)
    config = TelemetryConfig(
        endpoint="https://localhost:1",
        certificate=str(file),
        schedule_delay_ms=20,
        breaker_open_seconds=0.05,
    )
    file.unlink()
    pipeline = ExportPipeline(config)
    end_spans(pipeline, 3)
    until("the breaker to open", lambda: pipeline.breaker.snapshot().opened_total)
    assert "gone.pem" in str(pipeline.status.last_error)
    assert pipeline.stop(0.2) is False
    assert pipeline.ledger.read().dropped == {DropReason.SHUTDOWN: 3}


def http_pipeline(receiver: "HttpReceiver", **settings: Any) -> ExportPipeline:
    """A pipeline that sends there."""
    endpoint = f"http://127.0.0.1:{receiver.server_port}"
    defaults = {"protocol": "http/protobuf", "endpoint": endpoint, "schedule_delay_ms": 20}
    return ExportPipeline(TelemetryConfig(**{**defaults, **settings}))


def end_spans(pipeline: ExportPipeline, count: int, **attributes: str) -> None:
    """Starts and ends spans through a provider of their own."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(pipeline)
    for _ in range(count):
        provider.get_tracer("test").start_span("work", attributes=attributes).end()


@pytest.mark.parametrize("code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNAUTHENTICATED])
def test_permanent_refusal_drops_the_batch_and_never_trips(
    code: grpc.StatusCode, make_rig: Callable[..., Rig], receiver: Any, until: Until
) -> None:
    """A refusal that no retry can mend is counted; the Collector is there, so the breaker stays closed."""
    receiver.answer = abort_with(code)
    rig = make_rig(max_export_batch_size=1)
    rig.end_spans(8)
    until("8 spans dropped", lambda: rig.ledger.dropped == {DropReason.NOT_RETRYABLE: 8})
    assert rig.pipeline.breaker.state is BreakerState.CLOSED
    assert rig.pipeline.status.is_last_failure_permanent
    assert rig.attempts[-1].result.kind == code.name.lower()


def test_failures_are_told_once_and_the_exporters_own_lines_are_not(
    make_rig: Callable[..., Rig], receiver: Any, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    """One line when it begins, one when it is over; not one for each attempt."""
    receiver.answer = abort_with(grpc.StatusCode.UNAVAILABLE)
    rig = make_rig()
    rig.end_spans(1)
    until("some failed attempts", lambda: len(rig.attempts) >= 4)
    receiver.answer = lambda _: None
    until("the span delivered", lambda: rig.ledger.delivered == 1)
    lines = [(record.name, record.getMessage()) for record in caplog.records]
    assert [name for name, _ in lines] == ["telemetry.export.status"] * 2, lines
    assert "on purpose" in lines[0][1]
    assert "works again" in lines[1][1]


def test_transient_refusal_is_retried_until_it_succeeds(
    make_rig: Callable[..., Rig], receiver: Any, until: Until
) -> None:
    """UNAVAILABLE loses nothing."""
    receiver.answer = abort_with(grpc.StatusCode.UNAVAILABLE)
    rig = make_rig()
    rig.end_spans(10)
    until("a failed attempt", lambda: rig.attempts)
    receiver.answer = lambda _: None
    until("10 spans delivered", lambda: rig.ledger.delivered == 10)


def test_unencodable_span_costs_only_itself(
    make_rig: Callable[..., Rig], receiver: Any, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    """A time before 1970 leaves its neighbours unharmed; text that is not Unicode costs a character."""
    rig = make_rig(max_export_batch_size=16)
    rig.end_spans(5, "good")
    rig.tracer.start_span("bad", start_time=-1).end()
    rig.end_spans(1, "bad \ud800")
    rig.end_spans(5, "good")
    until("11 spans delivered", lambda: rig.ledger.delivered == 11)
    assert rig.ledger.dropped == {DropReason.UNENCODABLE: 1}
    assert set(receiver.names) == {"good", "bad ?"}
    (line,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert line.startswith("a span cannot be encoded, and is dropped: 'bad' (")


class HttpReceiver(ThreadingHTTPServer):
    """An OTLP/HTTP server that answers with the statuses it is given, then with 200 and a body."""

    def __init__(self, *statuses: int, body: bytes = b"", limit_bytes: int = 2**30) -> None:
        self.statuses = list(statuses)
        self.body = body
        self.paths: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                """Answers one export."""
                length = int(self.headers["content-length"])
                self.rfile.read(length)
                outer.paths.append(self.path)
                status = outer.statuses.pop(0) if outer.statuses else 200
                self.send_response(413 if length > limit_bytes else status)
                self.send_header("content-length", str(len(outer.body)))
                self.send_header("content-type", "application/x-protobuf")
                self.end_headers()
                self.wfile.write(outer.body)

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.mark.parametrize(
    ("status", "delivered", "dropped"),
    [
        (503, 1, {}),
        (429, 1, {}),
        (401, 0, {DropReason.NOT_RETRYABLE: 1}),
        (400, 0, {DropReason.NOT_RETRYABLE: 1}),
    ],
)
def test_http_refusal_is_classified_by_its_status(
    status: int, delivered: int, dropped: dict[DropReason, int], until: Until
) -> None:
    """503 is worth another try, 401 and 400 are not; the path is the one of traces."""
    with HttpReceiver(status) as receiver:
        pipeline = ExportPipeline(
            TelemetryConfig(
                protocol="http/protobuf",
                endpoint=f"http://127.0.0.1:{receiver.server_port}",
                schedule_delay_ms=20,
            )
        )
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(pipeline)
        provider.get_tracer("test").start_span("work").end()
        until("the span's fate", lambda: pipeline.ledger.read().in_memory == 0)
        reading = pipeline.ledger.read()
        assert (reading.delivered, dict(reading.dropped)) == (delivered, dropped)
        assert set(receiver.paths) == {"/v1/traces"}
        assert delivered or f"HTTP {status}" in str(pipeline.status.last_error)
        pipeline.stop(1)
        receiver.shutdown()


def test_partial_success_counts_what_was_rejected_and_tells_once_why(
    until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    """Rejected spans are never sent again, are no delivered ones, and a flush says that not all arrived."""
    answer = ExportTraceServiceResponse(
        partial_success=ExportTracePartialSuccess(rejected_spans=2, error_message="too old")
    )
    with HttpReceiver(body=answer.SerializeToString()) as receiver:
        endpoint = f"http://127.0.0.1:{receiver.server_port}"
        pipeline = ExportPipeline(
            TelemetryConfig(protocol="http/protobuf", endpoint=endpoint, schedule_delay_ms=20)
        )
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(pipeline)
        for batches in (1, 2):
            for _ in range(3):
                provider.get_tracer("test").start_span("work").end()
            assert pipeline.force_flush(5_000) is False
            until("a batch at the receiver", lambda batches=batches: len(receiver.paths) >= batches)
        reading = pipeline.ledger.read()
        assert reading.ended == reading.delivered + reading.rejected == 6
        assert reading.rejected >= 4
        assert [record.getMessage() for record in caplog.records] == [
            "a batch was taken, 2 of its spans rejected: too old"
        ]
        pipeline.stop(1)
        receiver.shutdown()


def test_http_collector_that_is_not_there_opens_the_breaker(until: Until, free_port: int) -> None:
    """The HTTP exporter's failures are read too: nobody listening is retryable."""
    pipeline = ExportPipeline(
        TelemetryConfig(
            protocol="http/protobuf", endpoint=f"http://127.0.0.1:{free_port}", schedule_delay_ms=20
        )
    )
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(pipeline)
    provider.get_tracer("test").start_span("work").end()
    until("the breaker to open", lambda: pipeline.breaker.state is BreakerState.OPEN)
    assert pipeline.ledger.read().in_memory == 1
    assert pipeline.stop(0.2) is False
    assert pipeline.ledger.read().dropped == {DropReason.SHUTDOWN: 1}


def test_force_flush_is_true_when_everything_arrived(make_rig: Callable[..., Rig], receiver: Any) -> None:
    """A flush sends at once what the delay would still hold back."""
    rig = make_rig(schedule_delay_ms=60_000)
    rig.end_spans(10)
    assert rig.pipeline.force_flush(5_000) is True
    assert len(receiver.spans) == 10


def test_force_flush_and_stop_are_false_and_bounded_when_the_collector_is_dead(
    make_rig: Callable[..., Rig], receiver: Any
) -> None:
    """Neither waits longer than it may, and what is given up is counted."""
    receiver.stop()
    rig = make_rig()
    rig.end_spans(100)
    started = time.monotonic()
    assert rig.pipeline.force_flush(200) is False
    assert rig.pipeline.stop(1.0) is False
    assert time.monotonic() - started < 4
    assert rig.ledger.dropped == {DropReason.SHUTDOWN: 100}
    assert rig.ledger.is_balanced


def test_stop_sends_what_is_queued(make_rig: Callable[..., Rig], receiver: Any) -> None:
    """Shutdown with a living Collector loses nothing."""
    rig = make_rig(schedule_delay_ms=60_000)
    rig.end_spans(2_000)
    assert rig.pipeline.stop(5) is True
    assert len(receiver.spans) == 2_000


def test_stop_is_bounded_though_every_batch_is_answered_slowly(
    make_rig: Callable[..., Rig], receiver: Any
) -> None:
    """A slow but healthy Collector gets what fits into the budget; the rest is counted."""
    release = threading.Event()
    receiver.answer = lambda _: release.wait(0.2)
    rig = make_rig(max_export_batch_size=1, schedule_delay_ms=60_000)
    rig.end_spans(100)
    started = time.monotonic()
    assert rig.pipeline.stop(1.0) is False
    assert time.monotonic() - started < 4
    release.set()
    assert rig.ledger.delivered > 0
    assert rig.ledger.delivered + rig.ledger.dropped[DropReason.SHUTDOWN] == 100


def test_pipeline_starts_again_after_a_stop(make_rig: Callable[..., Rig], receiver: Any) -> None:
    """Between stop and start spans are counted as dropped; afterwards they arrive again."""
    rig = make_rig()
    rig.end_spans(1, "first")
    assert rig.pipeline.stop(5)
    rig.end_spans(1, "between")
    rig.pipeline.start()
    rig.end_spans(1, "second")
    assert rig.pipeline.stop(5)
    assert receiver.names == ["first", "second"]
    assert rig.ledger.dropped == {DropReason.SHUTDOWN: 1}
    assert rig.ledger.is_balanced


def test_identity_holds_while_threads_end_spans_and_the_server_flaps(
    make_rig: Callable[..., Rig], receiver: Any, until: Until
) -> None:
    """Sixteen threads, a Collector that comes and goes: every reading adds up."""
    rig = make_rig(max_queue_size=256, max_export_batch_size=32)
    threads = [threading.Thread(target=rig.end_spans, args=(100,)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        receiver.stop()
        assert rig.ledger.is_balanced
        receiver.start()
        assert rig.ledger.is_balanced
    for thread in threads:
        thread.join()
    until("memory to be empty", lambda: rig.ledger.in_memory == 0, seconds=20)
    assert rig.ledger.ended == 1_600
    assert rig.ledger.is_balanced


def test_batch_over_the_servers_limit_does_not_stop_the_rest(
    make_rig: Callable[..., Rig], receiver: Any, until: Until
) -> None:
    """RESOURCE_EXHAUSTED for its size is no outage: it is sent in halves, and in halves of these."""
    rig = make_rig(max_export_batch_size=500, max_queue_size=1000, schedule_delay_ms=100)
    for _ in range(500):
        with rig.tracer.start_as_current_span("large") as span:
            span.set_attribute("text", "x" * 10_000)
    rig.end_spans(10)
    until("everything delivered", lambda: rig.ledger.delivered == 510)
    assert rig.pipeline.breaker.snapshot().opened_total == 0


def test_forked_child_starts_from_nothing_and_leaves_the_parent_alone(
    make_rig: Callable[..., Rig], receiver: Any, until: Until
) -> None:
    """A child has no spans of its parent's: none is sent twice, none of the parent's is lost."""
    rig = make_rig(schedule_delay_ms=60_000)
    rig.end_spans(3, "parent")
    read_end, write_end = os.pipe()
    gc.collect()
    pid = os.fork()
    if pid == 0:
        reading = rig.ledger
        os.write(write_end, f"{reading.ended} {reading.in_memory}".encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read_end, 100) == b"0 0"
    os.close(read_end)
    os.close(write_end)
    assert rig.pipeline.stop(5) is True
    until("3 spans at the receiver", lambda: receiver.names == ["parent"] * 3)


def test_shorter_delay_reaches_spans_that_wait(
    make_rig: Callable[..., Rig], receiver: Any, until: Until
) -> None:
    """Not only those that come after it."""
    rig = make_rig(schedule_delay_ms=60_000)
    rig.end_spans(3)
    rig.pipeline.batching = Batching(512, 0.01)
    until("the spans", lambda: len(receiver.names) == 3)


def test_smaller_batch_reaches_spans_that_wait(
    make_rig: Callable[..., Rig], receiver: Any, until: Until
) -> None:
    """As many as fill it now."""
    rig = make_rig(schedule_delay_ms=60_000)
    rig.end_spans(4)
    rig.pipeline.batching = Batching(2, 60)
    until("the spans", lambda: len(receiver.names) == 4)


def test_defect_that_comes_again_costs_no_processor(
    make_rig: Callable[..., Rig],
    until: Until,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Told once a minute, tried once a second; the end does not wait for it."""
    rig = make_rig(schedule_delay_ms=1)
    calls = []

    def stumble(*_: object) -> None:
        calls.append(1)
        raise RuntimeError("planted")

    monkeypatch.setattr(ExportWorker, "_dispatch", stumble)
    rig.end_spans(1)
    until("a second try", lambda: len(calls) >= 2)
    assert len(calls) < 10, "tried as fast as it goes, that would be thousands"
    assert len([it for it in caplog.records if "stumbled" in it.getMessage()]) == 1


def test_flushes_that_timed_out_leave_nothing_behind(make_rig: Callable[..., Rig], free_port: int) -> None:
    """Code that flushes on each request must not fill the memory in an outage."""
    rig = make_rig(endpoint=f"http://127.0.0.1:{free_port}", schedule_delay_ms=10)
    rig.end_spans(5)
    for _ in range(200):
        rig.pipeline.force_flush(1)
    run = rig.pipeline._run
    assert run is not None
    assert sum(len(queued.flushes) for queued in run.worker._backlog._outbox.batches) <= 2 * len(
        run.worker._backlog._outbox.batches
    )


@pytest.mark.parametrize("seconds", [float("inf"), 1e12])
def test_endless_times_are_no_error(seconds: float, make_rig: Callable[..., Rig], receiver: Any) -> None:
    """In the middle of an end least of all."""
    rig = make_rig()
    rig.end_spans(1)
    assert rig.pipeline.stop(seconds)
    assert len(receiver.names) == 1
