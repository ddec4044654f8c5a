"""When records are synced to the disk, and how a floor of free space is kept between two looks at it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.spool_rig import SpoolRig

from telemetry.export.spool.format import HEADER_BYTES

PAYLOAD = b"x" * (1_000 - HEADER_BYTES)
"""A record of 1,000 bytes."""


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The files synced so far, by their descriptors."""
    real, calls = os.fdatasync, list[int]()

    def fdatasync(descriptor: int) -> None:
        calls.append(descriptor)
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    return calls


def test_records_are_synced_once_a_second(make: Callable[..., SpoolRig], synced: list[int]) -> None:
    """And only if something was written since."""
    rig = make(fsync="interval")
    rig.pass_time(1)
    assert len(synced) == 0
    rig.append()
    rig.pass_time(0)
    assert len(synced) == 1
    rig.append()
    rig.pass_time(0.5)
    assert len(synced) == 1
    rig.pass_time(0.5)
    assert len(synced) == 2
    rig.pass_time(5)
    assert len(synced) == 2


@pytest.mark.parametrize(("fsync", "after_append", "after_pause"), [("always", 1, 2), ("interval", 0, 1)])
def test_end_of_a_run_syncs(
    fsync: str, after_append: int, after_pause: int, make: Callable[..., SpoolRig], synced: list[int]
) -> None:
    """What is left for the next process survives a power loss."""
    rig = make(fsync=fsync)
    rig.append()
    assert len(synced) == after_append
    rig.spool.pause()
    assert len(synced) == after_pause


def test_never_means_never(make: Callable[..., SpoolRig], synced: list[int]) -> None:
    """Neither in a run, nor at its end, nor when a file is full."""
    rig = make(fsync="never", max_bytes=2**14)
    for _ in range(4):
        rig.append(PAYLOAD)
        rig.pass_time(1)
    rig.spool.pause()
    assert synced == []


def test_full_file_is_synced_before_the_next_one_begins(
    make: Callable[..., SpoolRig], synced: list[int], tmp_path: Path
) -> None:
    """Once it is closed, nobody would sync it any more."""
    rig = make(fsync="interval", max_bytes=2**14)
    rig.append(PAYLOAD)
    rig.append(PAYLOAD)
    assert len(synced) == 0
    rig.append(PAYLOAD)
    assert len(synced) == 1
    assert len(list(tmp_path.rglob("*.seg"))) == 2


def test_floor_of_free_space_holds_between_two_looks(
    make: Callable[..., SpoolRig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is measured once a second, in which a spool can write far more than was free."""
    real = os.statvfs

    class Disk:
        f_frsize = 1_000
        f_blocks = 100
        f_bavail = 13

    monkeypatch.setattr(os, "statvfs", lambda path: Disk if "spool" in str(path) else real(path))
    rig = make(min_free_ratio=0.1)
    assert [rig.append(PAYLOAD) is not None for _ in range(5)] == [True, True, True, False, False]
    assert "TELEMETRY_SPOOL_MIN_FREE" in rig.told[-1]
    rig.pass_time(1)
    assert [rig.append(PAYLOAD) is not None for _ in range(5)] == [True, True, True, False, False]
