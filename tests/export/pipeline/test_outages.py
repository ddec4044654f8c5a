"""A real OTLP/gRPC server that goes down, hangs, refuses and comes back."""

import threading
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from support.pipeline_rig import ReceiverRig
from support.waiting import Until

from telemetry.export.breaker import BreakerState
from telemetry.export.ledger import DropReason


def abort_with(code: grpc.StatusCode) -> Callable[[grpc.ServicerContext], None]:
    """Returns an answer that aborts with the status code."""
    return lambda context: context.abort(code, "on purpose")


def test_dead_collector_opens_the_breaker_and_its_return_loses_nothing(
    make_rig: Callable[..., ReceiverRig], receiver: Any, until: Until
) -> None:
    """Spans that ended during an outage are kept and arrive without new traffic."""
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
    make_rig: Callable[..., ReceiverRig], receiver: Any, until: Until
) -> None:
    """A Collector that never answers counts as failed at each attempt's deadline."""
    release = threading.Event()
    receiver.answer = lambda _: release.wait(20)
    rig = make_rig(exporter_timeout_seconds=0.1)
    rig.end_spans(5)
    until("the breaker to open", lambda: rig.pipeline.breaker.snapshot().opened_total >= 1)
    receiver.answer = lambda _: None
    release.set()
    until("5 spans delivered", lambda: rig.ledger.delivered == 5)


def test_memory_is_bounded_and_what_fits_is_kept(
    make_rig: Callable[..., ReceiverRig], receiver: Any, until: Until
) -> None:
    """Queue and outbox fill to their bounds; the rest is dropped with a reason, and nothing blocks."""
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


def test_full_queue_drops_new_spans(make_rig: Callable[..., ReceiverRig]) -> None:
    """A busy worker causes the newest spans to be dropped and counted; the request thread does not wait."""
    rig = make_rig(max_queue_size=8, max_export_batch_size=8, schedule_delay_ms=60_000)
    rig.end_spans(1)
    worker = rig.pipeline._run.worker
    worker._step = lambda: None
    rig.end_spans(19)
    assert len(worker._queue) <= 8
    assert rig.ledger.dropped[DropReason.QUEUE_FULL] >= 11
    assert rig.ledger.is_balanced


@pytest.mark.parametrize("code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNAUTHENTICATED])
def test_permanent_refusal_drops_the_batch_and_never_trips(
    code: grpc.StatusCode, make_rig: Callable[..., ReceiverRig], receiver: Any, until: Until
) -> None:
    """A permanent refusal is counted; the Collector is up, so the breaker stays closed."""
    receiver.answer = abort_with(code)
    rig = make_rig(max_export_batch_size=1)
    rig.end_spans(8)
    until("8 spans dropped", lambda: rig.ledger.dropped == {DropReason.NOT_RETRYABLE: 8})
    assert rig.pipeline.breaker.state is BreakerState.CLOSED
    assert rig.pipeline.status.is_last_failure_permanent
    assert rig.attempts[-1].result.kind == code.name.lower()


def test_failures_are_logged_once_and_the_exporters_own_lines_are_not(
    make_rig: Callable[..., ReceiverRig], receiver: Any, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    """One line is logged when failures begin and one when they end, not one per attempt."""
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
    make_rig: Callable[..., ReceiverRig], receiver: Any, until: Until
) -> None:
    """No span is lost to UNAVAILABLE."""
    receiver.answer = abort_with(grpc.StatusCode.UNAVAILABLE)
    rig = make_rig()
    rig.end_spans(10)
    until("a failed attempt", lambda: rig.attempts)
    receiver.answer = lambda _: None
    until("10 spans delivered", lambda: rig.ledger.delivered == 10)


def test_identity_holds_while_threads_end_spans_and_the_server_flaps(
    make_rig: Callable[..., ReceiverRig], receiver: Any, until: Until
) -> None:
    """Every reading adds up while sixteen threads end spans."""
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


def test_flushes_that_timed_out_leave_nothing_behind(
    make_rig: Callable[..., ReceiverRig], free_port: int
) -> None:
    """Code that flushes on each request must not fill the memory during an outage."""
    rig = make_rig(endpoint=f"http://127.0.0.1:{free_port}", schedule_delay_ms=10)
    rig.end_spans(5)
    for _ in range(200):
        rig.pipeline.force_flush(1)
    run = rig.pipeline._run
    assert run is not None
    assert sum(len(queued.flushes) for queued in run.worker._backlog._outbox.batches) <= 2 * len(
        run.worker._backlog._outbox.batches
    )
