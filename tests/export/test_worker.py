"""What the worker tells of its attempts."""

from support.clock import Clock
from support.pipeline_rig import end_spans
from support.waiting import Until

from telemetry.config import TelemetryConfig
from telemetry.export.attempt import Attempt
from telemetry.export.breaker import CircuitBreaker, ConnectionCheck, Permit
from telemetry.export.cpu import CpuMeter
from telemetry.export.ledger import DropReason, Ledger
from telemetry.export.limits import Limits
from telemetry.export.otlp.result import Disposition, ExportResult
from telemetry.export.pipeline import ExportPipeline
from telemetry.export.status import ExportStatus
from telemetry.export.worker import ExportWorker
from telemetry.settings.batching import Batching


class Slow:
    """A transport that takes three seconds of the clock's, and always has the same result."""

    def __init__(self, clock: Clock, disposition: Disposition = Disposition.DELIVERED) -> None:
        self._clock = clock
        self._result = ExportResult(disposition)

    def send(self, payload: bytes, timeout_seconds: float) -> ExportResult:
        """Returns at once, as real time goes."""
        self._clock.now += 3
        return self._result

    def connect_only(self, timeout_seconds: float) -> str | None:
        """Always connects."""
        return None

    def close(self) -> None:
        """Has nothing to free."""


def test_attempts_duration_is_the_time_that_it_took(until: Until) -> None:
    """In seconds; the histogram of export durations is made of them."""
    clock, attempts = Clock(), list[Attempt]()
    pipeline = ExportPipeline(
        TelemetryConfig(schedule_delay_ms=60_000),
        on_attempt=attempts.append,
        build=lambda _: Slow(clock),
        clock=clock,
    )
    end_spans(pipeline, 2)
    assert pipeline.force_flush(10_000)
    until("the attempt told", lambda: attempts)
    assert (attempts[0].spans, attempts[0].duration_seconds) == (2, 3.0)
    assert 0 <= attempts[0].age_seconds < 60
    assert pipeline.stop(5)


def test_result_of_a_connection_check_wakes_the_worker() -> None:
    """Otherwise a Collector that is back would wait for the worker's next round."""
    clock = Clock()
    breaker = CircuitBreaker(clock=clock, random=lambda: 1.0)
    transport = Slow(clock)
    ledger = Ledger(clock=clock)
    worker = ExportWorker(
        lambda: transport,
        breaker,
        ledger,
        ledger.begin(),
        limits=Limits(queue_spans=8, buffer_bytes=1_000, in_flight=1, attempt_seconds=1.0),
        batching=Batching(8, 60_000),
        status=ExportStatus("spans"),
        cpu=CpuMeter(has_grpc=False),
        on_attempt=lambda _: None,
        clock=clock,
    )
    for _ in range(breaker.settings.failure_threshold):
        permit = breaker.acquire()
        assert isinstance(permit, Permit)
        permit.failure(is_answered=False)
    check = breaker.check_connection()
    assert isinstance(check, ConnectionCheck)
    assert not worker._wake._is_set
    worker._check(transport, check)
    assert worker._wake._is_set
    assert worker._is_checked


def test_span_that_is_too_large_alone_is_told_as_permanent(until: Until) -> None:
    """There is nothing left to split, so health must show that spans are lost for good."""
    clock, attempts = Clock(), list[Attempt]()
    pipeline = ExportPipeline(
        TelemetryConfig(schedule_delay_ms=60_000),
        on_attempt=attempts.append,
        build=lambda _: Slow(clock, Disposition.TOO_LARGE),
        clock=clock,
    )
    end_spans(pipeline, 2)
    assert not pipeline.force_flush(10_000)
    until("each attempt told", lambda: len(attempts) == 3)
    assert [(each.spans, each.result.disposition) for each in attempts] == [
        (2, Disposition.TOO_LARGE),
        (1, Disposition.PERMANENT),
        (1, Disposition.PERMANENT),
    ]
    assert pipeline.status.is_last_failure_permanent
    assert pipeline.ledger.read().dropped == {DropReason.NOT_RETRYABLE: 2}
    assert pipeline.breaker.snapshot().opened_total == 0
    assert pipeline.stop(5)
