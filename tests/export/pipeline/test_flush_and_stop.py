"""Flush, stop, start and fork are bounded in time and report unsent spans."""

import gc
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from support.pipeline_rig import ReceiverRig
from support.waiting import Until

from telemetry.export.ledger import DropReason


def test_flush_is_false_when_a_span_could_not_be_encoded(
    make_rig: Callable[..., ReceiverRig], receiver: Any
) -> None:
    """An ended span was not delivered; the next flush covers only the spans after it."""
    rig = make_rig(schedule_delay_ms=60_000)
    rig.tracer.start_span("bad", start_time=-1).end()
    rig.end_spans(1)
    assert rig.pipeline.force_flush(5_000) is False
    assert len(receiver.spans) == 1
    rig.end_spans(1)
    assert rig.pipeline.force_flush(5_000) is True


def test_flush_is_false_when_the_queue_was_full_before_it(
    make_rig: Callable[..., ReceiverRig], receiver: Any
) -> None:
    """A flush also reports spans that were dropped before it."""
    release = threading.Event()
    rig = make_rig(schedule_delay_ms=60_000, max_queue_size=8, max_export_batch_size=8, buffer_max_bytes=1024)
    receiver.answer = lambda _: release.wait(5)
    rig.end_spans(200)
    release.set()
    assert rig.ledger.dropped
    assert rig.pipeline.force_flush(5_000) is False
    assert rig.pipeline.force_flush(5_000) is True


def test_flush_after_the_end_tells_of_spans_that_were_dropped_since(
    make_rig: Callable[..., ReceiverRig],
) -> None:
    """There is no run to flush then, but a span was lost all the same; it is told once."""
    rig = make_rig(schedule_delay_ms=60_000)
    rig.end_spans(1)
    assert rig.pipeline.stop(5) is True
    assert rig.pipeline.force_flush(5_000) is True
    rig.end_spans(1)
    assert rig.ledger.dropped[DropReason.SHUTDOWN] == 1
    assert rig.pipeline.force_flush(5_000) is False
    assert rig.pipeline.force_flush(5_000) is True


def test_force_flush_is_true_when_everything_arrived(
    make_rig: Callable[..., ReceiverRig], receiver: Any
) -> None:
    """A flush does not wait for the schedule delay."""
    rig = make_rig(schedule_delay_ms=60_000)
    rig.end_spans(10)
    assert rig.pipeline.force_flush(5_000) is True
    assert len(receiver.spans) == 10


def test_force_flush_and_stop_are_false_and_bounded_when_the_collector_is_dead(
    make_rig: Callable[..., ReceiverRig], receiver: Any
) -> None:
    """Neither exceeds its timeout, and the abandoned spans are counted."""
    receiver.stop()
    rig = make_rig()
    rig.end_spans(100)
    started = time.monotonic()
    assert rig.pipeline.force_flush(200) is False
    assert rig.pipeline.stop(1.0) is False
    assert time.monotonic() - started < 4
    assert rig.ledger.dropped == {DropReason.SHUTDOWN: 100}
    assert rig.ledger.is_balanced


def test_stop_sends_what_is_queued(make_rig: Callable[..., ReceiverRig], receiver: Any) -> None:
    """Shutdown loses nothing while the Collector is up."""
    rig = make_rig(schedule_delay_ms=60_000)
    rig.end_spans(2_000)
    assert rig.pipeline.stop(5) is True
    assert len(receiver.spans) == 2_000


def test_stop_is_bounded_though_every_batch_is_answered_slowly(
    make_rig: Callable[..., ReceiverRig], receiver: Any
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


def test_pipeline_starts_again_after_a_stop(make_rig: Callable[..., ReceiverRig], receiver: Any) -> None:
    """Spans between stop and start are counted as dropped; later ones arrive again."""
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


def test_forked_child_starts_from_nothing_and_leaves_the_parent_alone(
    make_rig: Callable[..., ReceiverRig], receiver: Any, until: Until
) -> None:
    """The child has none of its parent's spans: none is sent twice, and the parent loses none."""
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


@pytest.mark.parametrize("seconds", [float("inf"), 1e12])
def test_endless_times_are_no_error(
    seconds: float, make_rig: Callable[..., ReceiverRig], receiver: Any
) -> None:
    """`stop()` accepts infinite and very long timeouts."""
    rig = make_rig()
    rig.end_spans(1)
    assert rig.pipeline.stop(seconds)
    assert len(receiver.names) == 1
