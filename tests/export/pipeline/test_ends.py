"""The end of a run that hangs: what is reserved for the disk, and what is counted."""

import threading
from pathlib import Path

import pytest
from support.clock import Clock
from support.collector import Collector
from support.pipeline_rig import end_spans
from support.waiting import Until

from telemetry.config import TelemetryConfig
from telemetry.export.ledger import DropReason
from telemetry.export.otlp.transport import Transport
from telemetry.export.pipeline import ExportPipeline


@pytest.mark.parametrize(("timeout_seconds", "reserved_seconds"), [(20.0, 0.5), (1.6, 0.4)])
def test_end_of_the_timeout_is_reserved_for_writing_to_the_spool(
    timeout_seconds: float, reserved_seconds: float, grpc_collector: Collector, tmp_path: Path, until: Until
) -> None:
    """A Collector that hangs leaves half a second, or a quarter of the timeout, to save the spans."""
    grpc_collector.script = grpc_collector.hang
    clock = Clock()
    config = TelemetryConfig(
        endpoint=grpc_collector.endpoint,
        schedule_delay_ms=10,
        exporter_timeout_seconds=30,
        spool_dir=tmp_path,
    )
    pipeline = ExportPipeline(config, clock=clock)
    end_spans(pipeline, 3)
    clock.now += 1
    until("a request that hangs", lambda: len(grpc_collector.requests) == 1)
    run = pipeline.detach()
    assert run is not None
    results: list[bool] = []
    # The real time is ample; the clock decides when the worker gives up.
    draining = threading.Thread(target=lambda: results.append(pipeline.drain(run, timeout_seconds)))
    draining.start()
    until("the worker to be told", run.worker._closing.is_set)
    assert run.worker._give_up_at == pytest.approx(clock.now + timeout_seconds - reserved_seconds)
    clock.now += timeout_seconds - reserved_seconds
    draining.join()
    assert results == [False]
    reading = pipeline.ledger.read()
    assert (reading.spooled, reading.in_memory, reading.dropped) == (3, 0, {})


def test_spans_of_a_worker_that_is_stuck_are_counted_as_dropped() -> None:
    """After `stop()` nothing counts as in memory, whatever the worker's thread still does."""
    release = threading.Event()

    def build(_: TelemetryConfig) -> Transport:
        release.wait(60)
        raise RuntimeError("too late")

    pipeline = ExportPipeline(TelemetryConfig(schedule_delay_ms=10), build=build)
    end_spans(pipeline, 3)
    run = pipeline._run
    assert run is not None
    try:
        assert pipeline.stop(0.2) is False
        reading = pipeline.ledger.read()
        assert (reading.in_memory, reading.dropped) == (0, {DropReason.SHUTDOWN: 3})
    finally:
        release.set()
    run.worker.join(20)
    assert pipeline.ledger.read() == reading
