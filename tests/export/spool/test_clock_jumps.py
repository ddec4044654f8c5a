"""A wall clock that jumps: time that did not pass makes nothing old."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.spool_rig import SPANS, SpoolRig, segments

from telemetry.export.ledger import DropReason
from telemetry.settings.spool import destination_folder

NOW = 1_700_000_000.0
YEAR = 365 * 86_400.0
JUMPS = pytest.mark.parametrize("jump", [YEAR, -YEAR, 3_600.0, -3_600.0], ids=["+1y", "-1y", "+1h", "-1h"])


@JUMPS
def test_jump_expires_nothing(jump: float, make: Callable[..., SpoolRig]) -> None:
    """Neither own batches nor adopted ones; what is written afterwards ages with the others."""
    dead = make(max_age_seconds=60, wall_seconds=NOW)
    dead.append(b"adopted")
    dead.crash()
    rig = make(max_age_seconds=60, wall_seconds=NOW)
    rig.append(b"own")
    rig.adopt_all()
    rig.wall_seconds += jump
    rig.pass_time(5)
    rig.append(b"after")
    rig.pass_time(5)
    assert rig.spool.status.oldest_at_seconds == pytest.approx(NOW + jump, abs=1)
    assert rig.take_all() == [b"adopted", b"own", b"after"]


@JUMPS
def test_age_still_counts_after_a_jump(jump: float, make: Callable[..., SpoolRig]) -> None:
    """Time that passes expires batches from before and after it, each in its turn."""
    rig = make(max_age_seconds=60, wall_seconds=NOW)
    rig.append(b"before")
    rig.pass_time(30)
    rig.wall_seconds += jump
    rig.pass_time(0)
    rig.append(b"after")
    rig.pass_time(31)
    assert rig.ledger.read().dropped == {DropReason.SPOOL_EXPIRED: SPANS}
    assert rig.spool._segments.size_bytes > 0
    rig.pass_time(31)
    assert rig.ledger.read().dropped == {DropReason.SPOOL_EXPIRED: 2 * SPANS}
    assert rig.take_all() == []


def test_records_carry_the_time_that_the_clock_showed(make: Callable[..., SpoolRig]) -> None:
    """A clock that was set right must not make the next process take these batches for old."""
    rig = make(max_age_seconds=60, wall_seconds=NOW)
    rig.append(b"before")
    rig.wall_seconds += YEAR
    rig.pass_time(1)
    rig.append(b"after")
    rig.crash()
    heir = make(max_age_seconds=60, wall_seconds=NOW + YEAR)
    heir.adopt_all()
    assert heir.take_all() == [b"after"]


def test_clock_that_is_corrected_a_little_is_followed(make: Callable[..., SpoolRig]) -> None:
    """A monotonic clock that runs too slowly for weeks must not keep batches for ever."""
    rig = make(max_age_seconds=60, wall_seconds=NOW)
    rig.append(b"old")
    for _ in range(70):
        rig.now += 0.5
        rig.wall_seconds += 1.0
        rig.spool.maintain()
    assert rig.take_all() == []


def test_sweep_spares_others_after_a_jump(tmp_path: Path) -> None:
    """Their files are younger than the clock says."""
    old, new = (destination_folder(tmp_path, key) for key in ("old key", "new key"))
    dead = SpoolRig(old)
    dead.append()
    dead.crash()
    rig = SpoolRig(new, max_age_seconds=60, wall_seconds=time.time())
    rig.wall_seconds += YEAR
    rig.adopt_all()
    assert len(segments(tmp_path)) == 1
    for file in segments(tmp_path):
        os.utime(file, (0, 0))
    rig.adopt_all()
    assert segments(tmp_path) == []
    rig.spool.forget_after_fork()


def test_clock_before_1970_writes_all_the_same(make: Callable[..., SpoolRig]) -> None:
    """A record has no time before the epoch."""
    rig = make(max_age_seconds=60, wall_seconds=-1e6)
    assert rig.append(b"early") is not None
    assert rig.take_all() == [b"early"]
