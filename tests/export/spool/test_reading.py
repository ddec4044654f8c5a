"""Reads that fail, records that come back, and the bytes of a record."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.spool_rig import SPANS, SpoolRig, segments

from telemetry.export.ledger import ON_DISK

GOLDEN = bytes.fromhex(
    "f553504c ff 01 01 00"  # magic, live, traces, version, unused
    "03000000 07000000"  # spans, length
    "0080c6a47e8d0300"  # 1,000,000 seconds after 1970, in nanoseconds
    "156a2c42 136a6519"  # checksums of payload and header
    "7061796c6f6164"  # the payload
)
"""A record of three spans in version 1 of the format. It never changes: other versions must read it."""


def test_record_has_the_bytes_that_other_versions_expect(
    make: Callable[..., SpoolRig], tmp_path: Path
) -> None:
    """Format and checksums are the same before and after an upgrade."""
    make().append(b"payload")
    (file,) = segments(tmp_path)
    assert file.read_bytes() == GOLDEN


def test_record_of_another_version_of_this_library_is_read(
    make: Callable[..., SpoolRig], tmp_path: Path
) -> None:
    """Its spans are adopted and sent."""
    owner = tmp_path / "spool" / "1-00000000"
    owner.mkdir(parents=True)
    (owner / "lock").touch()
    (owner / "00000001.seg").write_bytes(GOLDEN)
    rig = make()
    assert rig.take_all() == [b"payload"]
    assert rig.ledger.read().adopted == SPANS


@pytest.mark.parametrize("is_requeued", [False, True], ids=["unread", "requeued"])
def test_read_that_fails_is_told_and_tried_again_after_a_second(
    is_requeued: bool, make: Callable[..., SpoolRig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lasting error must neither go untold nor be retried as fast as it goes."""
    rig = make()
    record = rig.append(is_held=is_requeued)
    if is_requeued:
        rig.spool.requeue(record)
    real, left = os.pread, [1]

    def pread(*arguments: Any) -> bytes:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(*arguments)

    monkeypatch.setattr(os, "pread", pread)
    assert rig.spool.next() is None
    assert ["a record cannot be read" in line for line in rig.told] == [True]
    rig.now += 0.9
    assert not rig.spool.has_waiting
    rig.now += 0.2
    assert rig.spool.has_waiting
    assert rig.take_all() == [b"payload"]


def test_half_delivered_record_is_adopted_once_by_each_run_that_sends_it_again(
    make: Callable[..., SpoolRig],
) -> None:
    """A run that only begins and ends does not count its delivered half once more."""
    rig = make()
    record = rig.append(is_held=True)
    record.split()
    rig.ledger.deliver(1, ON_DISK)
    rig.spool.acknowledge(record, 1)
    for _ in range(3):
        rig.spool.pause()
        assert rig.spool.open()
        assert rig.ledger.read().adopted == 1
    assert rig.take_all() == [b"payload"]
    reading = rig.ledger.read()
    assert (reading.delivered, reading.spooled) == (1 + SPANS, 0)
