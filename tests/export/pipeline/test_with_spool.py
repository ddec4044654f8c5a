"""The pipeline with a spool: spans that cannot be sent wait on disk and arrive later."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.pipeline_rig import SpooledRig, names
from support.waiting import Until

from telemetry.export.breaker import BreakerState
from telemetry.export.ledger import DropReason

MODES = pytest.mark.parametrize("mode", ["outage", "always"])


@MODES
def test_outage_goes_to_disk_and_everything_arrives(
    mode: str, make_spooled: Callable[..., SpooledRig], receiver: Any, until: Until
) -> None:
    """Memory is empty while the breaker is open, and the spool provides the probe without new traffic."""
    rig = make_spooled(mode)
    receiver.stop()
    rig.end_spans(*names(100))
    until("all on disk", lambda: rig.ledger.spooled == 100)
    until("memory to be empty", lambda: rig.pipeline.buffered_bytes == 0)
    assert rig.pipeline.breaker.state is not BreakerState.CLOSED
    receiver.start()
    until("all delivered", lambda: rig.ledger.delivered == 100)
    assert sorted(receiver.names) == sorted(names(100))
    assert rig.ledger.spooled == 0
    assert rig.pipeline.stop(5)


@MODES
def test_shutdown_in_an_outage_leaves_everything_to_the_next_process(
    mode: str,
    make_spooled: Callable[..., SpooledRig],
    receiver: Any,
    until: Until,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The number of spans is logged; the next process adopts and sends them without traffic of its own."""
    receiver.stop()
    rig = make_spooled(mode, schedule_delay_ms=60_000, max_queue_size=1_000)
    rig.end_spans(*names(700))
    assert rig.pipeline.stop(1) is False
    assert (rig.ledger.spooled, rig.ledger.dropped) == (700, {})
    assert "700 unsent span(s) remain in the spool" in caplog.text
    rig.pipeline._spool.forget_after_fork()  # type: ignore[union-attr] # the process ends
    receiver.start()
    heir = make_spooled(mode)
    heir.pipeline.replay()
    until("all delivered by the heir", lambda: heir.ledger.delivered == 700)
    assert heir.ledger.adopted == 700
    assert sorted(receiver.names) == sorted(names(700))


@MODES
def test_same_process_that_starts_again_finds_its_own(
    mode: str, make_spooled: Callable[..., SpooledRig], receiver: Any, until: Until
) -> None:
    """Nothing is adopted when the same process stops and starts."""
    receiver.stop()
    rig = make_spooled(mode)
    rig.end_spans(*names(10))
    assert rig.pipeline.stop(1) is False
    assert rig.ledger.spooled == 10
    receiver.start()
    rig.pipeline.start()
    rig.end_spans("fresh")
    until("all delivered", lambda: rig.ledger.delivered == 11)
    assert rig.ledger.adopted == 0


def test_flush_is_false_while_anything_waits_on_disk(
    make_spooled: Callable[..., SpooledRig], receiver: Any
) -> None:
    """Spooled spans count as unsent."""
    receiver.stop()
    rig = make_spooled()
    rig.end_spans(*names(3))
    assert rig.pipeline.force_flush(300) is False
    rig.end_spans("another")
    assert rig.pipeline.force_flush(300) is False
    assert rig.ledger.ended == 4


@MODES
def test_flush_is_true_when_everything_arrived(
    mode: str, make_spooled: Callable[..., SpooledRig], receiver: Any
) -> None:
    """In `always` mode, delivered spans are no longer on disk."""
    rig = make_spooled(mode)
    rig.end_spans(*names(10))
    assert rig.pipeline.force_flush(5_000) is True
    assert rig.ledger.spooled == 0
    assert len(receiver.spans) == 10


def test_always_mode_has_spans_on_disk_while_they_are_sent(
    make_spooled: Callable[..., SpooledRig], receiver: Any, until: Until
) -> None:
    """Spans are on disk before they are sent, so a dying process loses none of them."""
    release = threading.Event()
    receiver.answer = lambda _: release.wait(5)
    rig = make_spooled("always")
    rig.end_spans(*names(5))
    until("a call under way", lambda: receiver.calls == 1)
    assert (rig.ledger.spooled, rig.ledger.in_memory) == (5, 0)
    release.set()
    until("delivered", lambda: rig.ledger.delivered == 5)


def test_fresh_spans_overtake_the_spool(
    make_spooled: Callable[..., SpooledRig], receiver: Any, until: Until
) -> None:
    """After an outage new spans are sent at once, and the spool is replayed at its own pace."""
    receiver.stop()
    rig = make_spooled(max_export_batch_size=100, max_queue_size=10_000)
    rig.end_spans(*names(5_000, "old"))
    until("all on disk", lambda: rig.ledger.spooled == 5_000, seconds=20)
    receiver.start()
    until("the breaker to close", lambda: rig.pipeline.breaker.state is BreakerState.CLOSED)
    rig.end_spans("fresh")
    until("the fresh span", lambda: "fresh" in receiver.names)
    assert rig.ledger.spooled > 0
    until("the rest", lambda: rig.ledger.delivered == 5_001, seconds=20)


@MODES
def test_full_spool_and_full_memory_drop_the_newest_counted(
    mode: str, make_spooled: Callable[..., SpooledRig], receiver: Any, until: Until
) -> None:
    """Both bounds hold, and all kept spans arrive."""
    receiver.stop()
    rig = make_spooled(mode, spool_max_bytes=2**16, buffer_max_bytes=2**14, max_export_batch_size=10)
    rig.pipeline.breaker.force_open()  # a probe would take a batch from the spool, on top of the bound
    for _ in range(30):
        rig.end_spans(*names(10), text="x" * 1_000)
        until("the queue taken", lambda: not rig.pipeline._run.worker._queue)  # type: ignore[union-attr]
    until("drops", lambda: rig.ledger.dropped.get(DropReason.SPOOL_FULL))
    assert rig.pipeline.buffered_bytes <= 2**14
    assert rig.pipeline.spool_status.size_bytes <= 2**16  # type: ignore[union-attr]
    receiver.start()
    rig.pipeline.breaker.reset()
    until("the rest", lambda: rig.ledger.in_memory == rig.ledger.spooled == 0)
    assert rig.ledger.delivered == len(receiver.spans) == 300 - rig.ledger.dropped[DropReason.SPOOL_FULL]


def test_spool_that_cannot_be_used_is_logged_once_and_memory_serves(
    make_spooled: Callable[..., SpooledRig],
    receiver: Any,
    until: Until,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Delivery works as without a spool, and health and log name the remedy."""
    (tmp_path / "file").touch()
    receiver.stop()
    rig = make_spooled(spool_dir=tmp_path / "file" / "spool")
    rig.end_spans(*names(10))
    until("the breaker to open", lambda: rig.pipeline.breaker.snapshot().opened_total)
    assert "TELEMETRY_SPOOL_DIR" in rig.pipeline.spool_status.trouble  # type: ignore[union-attr, operator]
    receiver.start()
    until("all delivered", lambda: rig.ledger.delivered == 10)
    assert caplog.text.count("the spool of unsent spans") == 1


@MODES
def test_spooled_batch_over_the_servers_limit_is_sent_in_halves(
    mode: str, make_spooled: Callable[..., SpooledRig], receiver: Any, until: Until
) -> None:
    """The record is removed once both halves are acknowledged."""
    receiver.stop()
    rig = make_spooled(mode, max_export_batch_size=500)
    rig.end_spans(*names(500), text="x" * 10_000)  # more than the server's 4 MiB together
    until("all on disk", lambda: rig.ledger.spooled == 500)
    receiver.start()
    until("all delivered", lambda: rig.ledger.delivered == 500)
    assert sorted(receiver.names) == sorted(names(500))
    assert rig.pipeline.stop(5)


def test_half_of_a_spooled_batch_that_fails_is_not_sent_whole_again(
    make_spooled: Callable[..., SpooledRig], receiver: Any, until: Until, tmp_path: Path
) -> None:
    """The delivered half is sent only once; the other becomes a record of its own."""
    receiver.stop()
    # All spans form one batch, however long it takes to end them.
    rig = make_spooled(max_export_batch_size=500, max_in_flight=1, schedule_delay_ms=600_000)
    rig.end_spans(*names(500), text="x" * 10_000)
    until("all on disk", lambda: rig.ledger.spooled == 500)
    accepted = iter([None])

    def accept_one(context: grpc.ServicerContext) -> None:
        if next(accepted, "no more") is not None:
            context.abort(grpc.StatusCode.UNAVAILABLE, "on purpose")

    receiver.answer = accept_one
    receiver.start()
    until("one half delivered", lambda: rig.ledger.delivered == 250)
    until("the breaker to open again", lambda: rig.pipeline.breaker.snapshot().opened_total >= 2)
    until("the other half on disk", lambda: rig.ledger.spooled == 250)
    receiver.answer = lambda _: None
    until("the other half", lambda: rig.ledger.delivered == 500)
    assert sorted(receiver.names) == sorted(names(500))
    assert rig.pipeline.stop(5)
    assert list((tmp_path / "spool").rglob("*.seg")) == []


def test_spooled_batch_that_is_refused_is_dropped_once(
    make_spooled: Callable[..., SpooledRig], receiver: Any, until: Until
) -> None:
    """A refused record is not sent again, in this process or the next."""
    receiver.stop()
    rig = make_spooled()
    rig.end_spans(*names(5))
    until("all on disk", lambda: rig.ledger.spooled == 5)
    receiver.answer = lambda context: context.abort(grpc.StatusCode.INVALID_ARGUMENT, "on purpose")
    receiver.start()
    until("dropped", lambda: rig.ledger.dropped == {DropReason.NOT_RETRYABLE: 5})
    assert rig.ledger.spooled == 0
    assert rig.pipeline.stop(1)
    calls = receiver.calls
    heir = make_spooled()
    heir.pipeline.replay()
    heir.end_spans("fresh")
    until("the heir's own", lambda: heir.ledger.ended == sum(heir.ledger.dropped.values()) == 1)
    assert receiver.calls == calls + 1


@MODES
def test_identity_holds_while_threads_end_spans_and_the_server_flaps(
    mode: str, make_spooled: Callable[..., SpooledRig], receiver: Any, until: Until
) -> None:
    """Every reading adds up while sixteen threads end spans with a spool in use."""
    rig = make_spooled(mode, max_queue_size=512, max_export_batch_size=32)
    threads = [
        threading.Thread(target=rig.end_spans, args=names(100, f"thread {number}")) for number in range(16)
    ]
    for thread in threads:
        thread.start()
    for _ in range(3):
        receiver.stop()
        assert rig.ledger
        receiver.start()
        assert rig.ledger
    for thread in threads:
        thread.join()
    until("nothing pending", lambda: rig.ledger.in_memory == rig.ledger.spooled == 0, seconds=20)
    reading = rig.ledger
    assert reading.ended == 1_600 == reading.delivered + sum(reading.dropped.values())
    assert set(reading.dropped) <= {DropReason.QUEUE_FULL}
    assert len(set(receiver.names)) == reading.delivered
