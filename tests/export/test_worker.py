"""What the worker tells of its attempts."""

from support.clock import Clock
from support.pipeline_rig import end_spans
from support.waiting import Until

from telemetry.config import TelemetryConfig
from telemetry.export.attempt import Attempt
from telemetry.export.otlp.result import Disposition, ExportResult
from telemetry.export.pipeline import ExportPipeline


class Slow:
    """A transport that takes three seconds of the clock's."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def send(self, payload: bytes, timeout_seconds: float) -> ExportResult:
        """Delivers at once, as real time goes."""
        self._clock.now += 3
        return ExportResult(Disposition.DELIVERED)

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
