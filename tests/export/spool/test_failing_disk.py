"""A disk that fails during the spool's work: no span is counted twice, and every loss is reported."""

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.spool_rig import SPANS, SpoolRig

from telemetry.export.backlog import Backlog
from telemetry.export.ledger import ON_DISK
from telemetry.export.otlp.result import Disposition, ExportResult
from telemetry.export.otlp.spans import Encoder
from telemetry.export.otlp.split import Batch
from telemetry.export.spool.spool import Spool

DELIVERED = ExportResult(Disposition.DELIVERED, "delivered")
Failing = Callable[..., None]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Failing:
    """Makes an `os` function fail with an error a given number of times."""

    def fail(name: str, error: int, times: int, *, when: Callable[..., bool] = lambda *_: True) -> None:
        real, left = getattr(os, name), [times]

        def call(*arguments: Any, **options: Any) -> Any:
            if left[0] and when(*arguments):
                left[0] -= 1
                raise OSError(error, os.strerror(error))
            return real(*arguments, **options)

        monkeypatch.setattr(os, name, call)

    return fail


@pytest.mark.parametrize("is_held", [True, False])
def test_record_that_could_not_be_synced_is_there_once(
    is_held: bool, failing: Failing, tmp_path: Path
) -> None:
    """The record was written, and a warning says that it may not survive a loss of power."""
    rig = SpoolRig(tmp_path, fsync="always")
    failing("fdatasync", errno.EIO, 1)
    record = rig.append(is_held=is_held)
    assert record is not None
    assert "may not survive a loss of power" in rig.told[0]
    if is_held:
        rig.ledger.deliver(SPANS, ON_DISK)
        rig.spool.acknowledge(record, SPANS)
        assert rig.take_all() == []
    else:
        assert rig.take_all() == [b"payload"]
    reading = rig.ledger.read()
    assert reading.is_balanced
    assert (reading.delivered, reading.spooled) == (SPANS, 0)


@pytest.mark.parametrize("error", [errno.EIO, errno.EROFS, errno.ENOSPC])
def test_what_was_sent_and_cannot_be_marked_is_not_sent_again(
    error: int, failing: Failing, tmp_path: Path
) -> None:
    """The process's next run does not adopt the record either, and the mark is written later."""
    rig = SpoolRig(tmp_path)
    for number in range(3):
        rig.append(b"payload %d" % number)
    failing("pwrite", error, 1, when=lambda _, data, *rest: len(data) == 1)
    assert rig.take() == b"payload 0"
    assert "cannot be marked" in rig.told[0]
    rig.spool.pause()
    assert rig.spool.open()
    assert rig.take_all() == [b"payload 1", b"payload 2"]
    assert rig.ledger.read().is_balanced
    rig.pass_time(2)
    assert not list(tmp_path.glob("*/*.seg"))


def test_mark_that_was_late_keeps_a_record_from_the_next_process(failing: Failing, tmp_path: Path) -> None:
    """A mark that failed is written by the next maintenance."""
    rig = SpoolRig(tmp_path)
    rig.append(b"sent")
    rig.append(b"left")
    failing("pwrite", errno.EIO, 1, when=lambda _, data, *rest: len(data) == 1)
    assert rig.take() == b"sent"
    rig.pass_time(2)
    rig.crash()
    heir = SpoolRig(tmp_path)
    heir.adopt_all()
    assert heir.take_all() == [b"left"]


def test_record_of_which_half_was_delivered_is_counted_again_when_it_is_sent_again(tmp_path: Path) -> None:
    """When the other half finds no room at the run's end, the delivered half is adopted and resent."""
    rig = SpoolRig(tmp_path, max_bytes=2**16)
    whole = batch_of(2)
    record = rig.spool.append(whole.payload, 2, is_held=False)
    assert record is not None
    for _ in range(2):
        rig.ledger.admit(rig.generation, is_full=False)
    assert rig.ledger.spool(2, rig.generation)
    backlog = backlog_of(rig)
    queued = backlog.next(rig.now)
    assert queued is not None
    backlog.split(queued)
    half = backlog.next(0.0)
    assert half is not None
    backlog.finish(half, DELIVERED)
    assert (rig.ledger.read().delivered, rig.ledger.read().spooled) == (1, 1)
    refusing = rig.spool
    refusing._writer._settings = replace(refusing._writer._settings, max_bytes=1)
    backlog.end()
    again = backlog_of(rig)
    queued = again.next(rig.now)
    assert queued is not None
    again.finish(queued, DELIVERED)
    reading = rig.ledger.read()
    assert reading.is_balanced
    assert (reading.ended, reading.adopted, reading.delivered, reading.spooled) == (2, 1, 3, 0)


def batch_of(spans: int) -> Batch:
    """Returns an encoded batch of `spans` spans."""
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - only this test needs it

    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    ended = [tracer.start_span(f"span {number}") for number in range(spans)]
    for span in ended:
        span.end()
    return Encoder().encode(ended)  # type: ignore[arg-type]


def backlog_of(rig: SpoolRig) -> Backlog:
    """Returns a run's backlog on the rig's spool."""
    if rig.spool._is_in_use.locked():
        rig.spool._is_in_use.release()
    backlog = Backlog(2**20, rig.spool, rig.ledger, rig.generation, is_write_ahead=False)
    backlog.begin()
    return backlog


@pytest.mark.parametrize("error", [errno.EMFILE, errno.EIO])
def test_orphan_that_cannot_be_read_is_tried_again(error: int, failing: Failing, tmp_path: Path) -> None:
    """The next maintenance retries it; until then no other process gets it, and it is not forgotten."""
    dead = SpoolRig(tmp_path)
    dead.append(b"left")
    dead.crash()
    failing("open", error, 1, when=lambda path, *_: str(path).endswith(".seg"))
    heir = SpoolRig(tmp_path)
    assert heir.take_all() == []
    assert "cannot be read now" in heir.told[0]
    heir.adopt_all()
    assert heir.take_all() == [b"left"]
    assert heir.ledger.read().adopted == SPANS


def test_part_that_was_taken_away_makes_nobody_busy(tmp_path: Path) -> None:
    """With unread orphans but no folder of its own, the spool rests instead of looping."""
    rig = SpoolRig(tmp_path)
    rig.spool._adoption._unread.append(tmp_path / "some.seg")
    assert rig.spool.rest_seconds == 0
    rig.spool._directory._own = None
    assert rig.spool.rest_seconds > 0


def test_disk_without_a_size_is_written_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file system that reports 0 blocks does not count as full."""
    real = os.statvfs

    class NoSize:
        f_bavail = f_blocks = 0
        f_frsize = 4096

    monkeypatch.setattr(os, "statvfs", lambda path: NoSize() if "spool" in str(path) else real(path))
    rig = SpoolRig(tmp_path / "spool", min_free_ratio=0.1)
    assert rig.append() is not None


def test_run_that_begins_before_the_last_one_is_done_gets_the_spool_later(tmp_path: Path) -> None:
    """Until then the run works without the spool and checks again by itself."""
    rig = SpoolRig(tmp_path)
    backlog = Backlog(2**20, rig.spool, rig.ledger, rig.generation, is_write_ahead=True)
    backlog.begin()
    assert isinstance(backlog._unopened, Spool)
    assert backlog.spool_rest_seconds is not None
    rig.spool.pause()
    backlog.maintain()
    rig.ledger.admit(rig.generation, is_full=False)
    assert backlog.add(batch_of(1), 0, spill=False)
    assert rig.ledger.read().spooled == 1
