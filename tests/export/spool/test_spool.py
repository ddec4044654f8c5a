"""The spool on a real disk: order, limits, age and runs."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from support.spool_rig import SPANS, SpoolRig

from telemetry.export.ledger import DropReason


def test_batches_come_back_in_their_order(make: Callable[..., SpoolRig]) -> None:
    """Batches come out first in, first out, once each."""
    rig = make()
    written = [b"%d" % number for number in range(100)]
    for payload in written:
        rig.append(payload)
    assert rig.ledger.read().spooled == 100 * SPANS
    assert rig.take_all() == written
    assert rig.ledger.read().delivered == 100 * SPANS
    assert not rig.spool.has_waiting


def test_batch_held_in_memory_is_given_only_when_it_is_given_back(make: Callable[..., SpoolRig]) -> None:
    """A batch that is being sent must not also be sent from disk."""
    rig = make()
    held = rig.append(b"held", is_held=True)
    rig.append(b"waiting")
    assert rig.take_all() == [b"waiting"]
    rig.spool.requeue(held)
    assert rig.take_all() == [b"held"]


def test_only_the_owner_may_read_what_is_spooled(make: Callable[..., SpoolRig], tmp_path: Path) -> None:
    """Spans may hold anything, so files are 0600 and folders 0700 whatever the umask."""
    before = os.umask(0)
    try:
        make().append()
    finally:
        os.umask(before)
    for path in (tmp_path / "spool").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_full_spool_refuses_and_takes_again_when_space_came_back(make: Callable[..., SpoolRig]) -> None:
    """The spool never exceeds its size limit; files are removed as they are sent."""
    rig = make(max_bytes=2**16)
    while rig.append(b"x" * 1_000) is not None:
        assert rig.spool.size_bytes <= 2**16
    assert rig.ledger.read().dropped == {DropReason.SPOOL_FULL: SPANS}
    assert "TELEMETRY_SPOOL_MAX_BYTES" in rig.told[-1]
    assert rig.spool.status.trouble == rig.told[-1]
    for _ in range(20):
        rig.take()
    assert rig.append(b"x" * 1_000) is not None
    assert rig.spool.status.trouble is None


def test_disk_that_others_need_is_left_free(make: Callable[..., SpoolRig]) -> None:
    """Nothing is written when less than the configured ratio is free."""
    rig = make(min_free_ratio=0.999_999)
    assert rig.append() is None
    assert rig.ledger.read().dropped == {DropReason.SPOOL_FULL: SPANS}
    assert "TELEMETRY_SPOOL_MIN_FREE" in rig.told[-1]


def test_old_batches_are_given_up(make: Callable[..., SpoolRig]) -> None:
    """Old batches expire before they are sent, even if none is asked for."""
    rig = make(max_age_seconds=60)
    rig.append(b"old")
    rig.wall_seconds += 30
    rig.append(b"young")
    rig.wall_seconds += 31
    assert rig.take_all() == [b"young"]
    assert rig.ledger.read().dropped == {DropReason.SPOOL_EXPIRED: SPANS}
    rig.append(b"never asked for")
    rig.pass_time(61)
    assert rig.ledger.read().dropped == {DropReason.SPOOL_EXPIRED: 2 * SPANS}
    assert rig.spool.size_bytes == 0


def test_old_batch_in_somebodys_hand_keeps_its_file(make: Callable[..., SpoolRig]) -> None:
    """A batch expires only with its whole file; otherwise it would come back when the file is read again."""
    rig = make(max_age_seconds=60)
    rig.append(b"in hand", is_held=True)
    rig.append(b"waiting")
    rig.pass_time(61)
    rig.spool.pause()
    assert rig.spool.open()
    assert rig.take_all() == []
    assert rig.ledger.read().dropped == {DropReason.SPOOL_EXPIRED: 2 * SPANS}
    assert rig.ledger.read().spooled == 0


def test_wall_clock_that_goes_back_gives_up_nothing(make: Callable[..., SpoolRig]) -> None:
    """A batch from the future does not expire."""
    rig = make(max_age_seconds=60)
    rig.append(b"future")
    rig.wall_seconds -= 1e6
    rig.pass_time(2)
    assert rig.take_all() == [b"future"]


def test_second_run_of_a_process_finds_what_the_first_left(make: Callable[..., SpoolRig]) -> None:
    """The batches are neither adopted nor lost, since they belong to the same process."""
    rig = make()
    rig.append(b"held", is_held=True)
    rig.append(b"waiting")
    rig.spool.pause()
    assert rig.spool.open()
    assert rig.take_all() == [b"held", b"waiting"]
    assert rig.ledger.read().adopted == 0


def test_run_that_is_not_done_keeps_the_spool(make: Callable[..., SpoolRig]) -> None:
    """Only one run uses the spool at a time; a run that comes too early works without it."""
    rig = make()
    assert not rig.spool.open()
    rig.spool.pause()
    assert rig.spool.open()


@pytest.mark.parametrize("name", ["file/spool", "/proc/spool"])
def test_folder_that_cannot_be_used_is_reported_with_the_remedy(tmp_path: Path, name: str) -> None:
    """Nothing is raised; spans are refused, and the folder is tried again later."""
    (tmp_path / "file").touch()
    rig = SpoolRig(tmp_path / name)
    assert "TELEMETRY_SPOOL_DIR" in str(rig.spool.status.trouble)
    assert rig.append() is None
    assert rig.spool.refusal is DropReason.BUFFER_FULL
    if name.startswith("file"):
        (tmp_path / "file").unlink()
        rig.pass_time(31)
        assert rig.append() is not None
