"""Normal delivery from an ended span to a real OTLP/gRPC server."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, Sampler, SamplingResult
from support.pipeline_rig import ReceiverRig
from support.waiting import Until

from telemetry.config import TelemetryConfig
from telemetry.export.ledger import DropReason
from telemetry.export.pipeline import ExportPipeline
from telemetry.settings.batching import Batching


def test_spans_arrive_and_are_counted_delivered(
    make_rig: Callable[..., ReceiverRig], receiver: Any, until: Until
) -> None:
    """Every ended span is delivered."""
    rig = make_rig()
    rig.end_spans(100)
    until("100 spans delivered", lambda: rig.ledger.delivered == 100)
    assert len(receiver.spans) == 100
    assert rig.ledger.is_balanced


@pytest.mark.parametrize(("seconds_ago", "least", "most"), [(5, 5, 15), (-100, 0, 0)])
def test_age_of_a_batch_is_that_of_its_first_span(
    seconds_ago: int, least: float, most: float, make_rig: Callable[..., ReceiverRig], until: Until
) -> None:
    """The age runs from that span's end until the answer, and is never below 0 if the clock was set back."""
    rig = make_rig(max_export_batch_size=2, schedule_delay_ms=60_000)
    rig.tracer.start_span("old").end(end_time=time.time_ns() - seconds_ago * 10**9)
    rig.tracer.start_span("new").end()
    until("the batch's attempt", lambda: rig.attempts)
    assert least <= rig.attempts[0].age_seconds <= most


class RecordOnly(Sampler):
    """A sampler that records spans for local use and samples none."""

    def should_sample(self, *_: Any, **__: Any) -> SamplingResult:
        """Returns RECORD_ONLY for every span."""
        return SamplingResult(Decision.RECORD_ONLY)

    def get_description(self) -> str:
        """Returns the sampler's name."""
        return "RecordOnly"


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, RecordOnly()])
def test_unsampled_spans_are_neither_counted_nor_sent(sampler: Sampler, receiver: Any) -> None:
    """The ledger counts only sampled spans."""
    pipeline = ExportPipeline(TelemetryConfig(endpoint=receiver.endpoint))
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    provider.add_span_processor(pipeline)
    provider.get_tracer("test").start_span("unsampled").end()
    assert pipeline.force_flush(5_000)
    assert pipeline.ledger.read().ended == 0
    assert receiver.calls == 0


def test_slow_collector_gets_several_exports_at_once(
    make_rig: Callable[..., ReceiverRig], receiver: Any, until: Until
) -> None:
    """A healthy but slow Collector gets up to four exports at a time."""
    release = threading.Event()
    receiver.answer = lambda _: release.wait(20)
    rig = make_rig(max_export_batch_size=1, exporter_timeout_seconds=20, export_timeout_ms=20_000)
    rig.end_spans(20)
    until("four exports under way", lambda: receiver.calls == 4)
    assert rig.pipeline._run.worker._backlog._outbox.in_flight == 4
    release.set()
    until("20 spans delivered", lambda: rig.ledger.delivered == 20)
    assert sorted(receiver.names) == ["work"] * 20


def test_unencodable_span_costs_only_itself(
    make_rig: Callable[..., ReceiverRig], receiver: Any, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    """A time before 1970 drops that span only; text that is not Unicode loses a character."""
    rig = make_rig(max_export_batch_size=16)
    rig.end_spans(5, "good")
    rig.tracer.start_span("bad", start_time=-1).end()
    rig.end_spans(1, "bad \ud800")
    rig.end_spans(5, "good")
    until("11 spans delivered", lambda: rig.ledger.delivered == 11)
    assert rig.ledger.dropped == {DropReason.UNENCODABLE: 1}
    assert set(receiver.names) == {"good", "bad ?"}
    (line,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert line.startswith("dropped a span that cannot be encoded: 'bad' (")


def test_batch_over_the_servers_limit_does_not_stop_the_rest(
    make_rig: Callable[..., ReceiverRig], until: Until
) -> None:
    """RESOURCE_EXHAUSTED for a batch's size is no outage: the batch is halved until it fits."""
    rig = make_rig(max_export_batch_size=500, max_queue_size=1000, schedule_delay_ms=100)
    for _ in range(500):
        with rig.tracer.start_as_current_span("large") as span:
            span.set_attribute("text", "x" * 10_000)
    rig.end_spans(10)
    until("everything delivered", lambda: rig.ledger.delivered == 510)
    assert rig.pipeline.breaker.snapshot().opened_total == 0


def test_shorter_delay_reaches_spans_that_wait(
    make_rig: Callable[..., ReceiverRig], receiver: Any, until: Until
) -> None:
    """A shorter delay applies to spans that are already queued."""
    rig = make_rig(schedule_delay_ms=60_000)
    rig.end_spans(3)
    rig.pipeline.batching = Batching(512, 0.01)
    until("the spans", lambda: len(receiver.names) == 3)


def test_smaller_batch_reaches_spans_that_wait(
    make_rig: Callable[..., ReceiverRig], receiver: Any, until: Until
) -> None:
    """Queued spans that fill the new batch size are sent at once."""
    rig = make_rig(schedule_delay_ms=60_000)
    rig.end_spans(4)
    rig.pipeline.batching = Batching(2, 60)
    until("the spans", lambda: len(receiver.names) == 4)
