"""What the spool counts and promises between its calls: syncs, free space, reads that fail, runs, pace."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.spool_rig import SPANS, SpoolRig

from telemetry.export.backlog import Backlog
from telemetry.export.pace import ReplayPace


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The descriptors that were synced, in order."""
    synced: list[int] = []
    real = os.fdatasync

    def fdatasync(descriptor: int) -> None:
        synced.append(descriptor)
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    return synced


def test_interval_syncs_once_a_second_what_was_appended(
    make: Callable[..., SpoolRig], syncs: list[int]
) -> None:
    """Each second in which something was appended, and no other."""
    rig = make(fsync="interval")
    rig.append()
    rig.append()
    rig.pass_time(1)
    assert len(syncs) == 1
    rig.pass_time(1)
    assert len(syncs) == 1
    rig.append()
    rig.pass_time(1)
    assert len(syncs) == 2


@pytest.mark.parametrize(("fsync", "expected"), [("interval", 1), ("never", 0), ("always", 2)])
def test_end_of_a_run_syncs(
    fsync: str, expected: int, make: Callable[..., SpoolRig], syncs: list[int]
) -> None:
    """What the next process is to find survives a loss of power from then on."""
    rig = make(fsync=fsync)
    rig.append()
    rig.spool.pause()
    assert len(syncs) == expected


def test_system_without_fdatasync_syncs_otherwise(
    make: Callable[..., SpoolRig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """MacOS has none."""
    monkeypatch.delattr(os, "fdatasync")
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    assert make(fsync="always").append() is not None
    assert len(synced) == 1


def test_free_space_shrinks_with_each_record_until_it_is_measured_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Between two looks at the disk the floor of free space holds."""

    class Disk:
        f_frsize = 1
        f_blocks = 100_000
        f_bavail = 13_000

    real = os.statvfs
    monkeypatch.setattr(os, "statvfs", lambda path: Disk() if "spool" in str(path) else real(path))
    rig = SpoolRig(tmp_path / "spool", min_free_ratio=0.1)
    kept = 0
    while rig.append(b"x" * 964) is not None:  # 1,000 bytes with their header
        kept += 1
        assert kept < 10
    assert kept == 3
    rig.pass_time(2)
    assert rig.append() is not None, "somebody has freed the disk"
    rig.spool.forget_after_fork()


@pytest.mark.parametrize("is_requeued", [False, True])
def test_read_that_fails_is_told_and_tried_again_later(
    is_requeued: bool, make: Callable[..., SpoolRig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost, and nobody asks again at once."""
    rig = make()
    record = rig.append(b"payload", is_held=is_requeued)
    if is_requeued:
        rig.spool.requeue(record)
    real, reads = os.pread, []

    def pread(*arguments: Any) -> bytes:
        reads.append(arguments)
        if len(reads) == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(*arguments)

    monkeypatch.setattr(os, "pread", pread)
    assert rig.spool.next() is None
    assert len(reads) == 1
    assert "a record cannot be read" in rig.told[0]
    assert not rig.spool.has_waiting
    rig.pass_time(1)
    assert rig.take_all() == [b"payload"]


def test_half_delivered_record_is_counted_again_once(make: Callable[..., SpoolRig]) -> None:
    """Two restarts adopt it as two spans more, not four."""
    rig = make()
    record = rig.append(b"halves", is_held=True)
    record.split()
    rig.spool.acknowledge(record, 2)
    assert record.segment.rewind() == 2
    assert record.segment.rewind() == 0
    assert record.segment.rewind() == 0
    assert rig.take_all() == [b"halves"]


def test_replay_is_paced_by_what_was_sent(make: Callable[..., SpoolRig]) -> None:
    """Each spooled batch pushes the next one away, as far as its spans take at the pace."""
    rig = make()
    rig.append(b"one")
    rig.append(b"two")
    rig.spool.pause()
    backlog = Backlog(2**20, rig.spool, rig.ledger, rig.generation, is_write_ahead=False)
    backlog.begin()
    assert backlog.next(rig.now) is not None
    first = backlog.pace.next_at
    assert first == pytest.approx(rig.now + SPANS / 2_000)
    assert backlog.next(rig.now) is not None
    assert backlog.pace.next_at == pytest.approx(rig.now + 2 * SPANS / 2_000)
    assert ReplayPace().next_at == 0
