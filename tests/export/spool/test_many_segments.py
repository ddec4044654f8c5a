"""Thousands of segments: no append costs more for them, and no descriptor is held for each."""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.spool_rig import SPANS, SpoolRig, segments

from telemetry.export.spool.segment import Segment


def leave(folder: Path, owner: str, files: int, *, seconds: float = 999_000.0) -> None:
    """Leaves the files of a dead process, each with one record."""
    place = folder / owner
    place.mkdir(parents=True)
    (place / "lock").touch()
    for number in range(files):
        segment = Segment(place / f"{number:08}.seg")
        segment.append(b"left %d" % number, SPANS, int(seconds * 1e9))
        segment.close()


def calls_of(work: Callable[[], object]) -> Counter[str]:
    """Returns how often each function is called, system calls included."""
    counted: Counter[str] = Counter()

    def note(frame: Any, event: str, argument: Any) -> None:
        if event == "call":
            counted[frame.f_code.co_qualname] += 1
        elif event == "c_call":
            counted[argument.__qualname__] += 1

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return counted


@pytest.mark.parametrize("is_full", [False, True], ids=["room", "full"])
def test_record_costs_the_same_however_many_segments_there_are(is_full: bool, tmp_path: Path) -> None:
    """To append, refuse, read and acknowledge: the same functions as often, counted rather than timed."""

    def measure(files: int) -> list[Counter[str]]:
        folder = tmp_path / f"{files}"
        leave(folder, "1-00000000", files)
        rig = SpoolRig(folder, max_bytes=10 * 2**20)
        rig.adopt_all()
        assert rig.ledger.read().adopted == files * SPANS
        rig.append()
        if is_full:
            rig.spool._writer._settings = replace(rig.spool._settings, max_bytes=rig.spool.size_bytes)
        counts = [calls_of(rig.append), calls_of(rig.take), calls_of(rig.take)]
        rig.spool.forget_after_fork()
        return counts

    few, many = measure(5), measure(2_000)
    assert few == many


def descriptors() -> int:
    """Returns the number of this process's open files."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_thousands_of_dead_processes_do_not_use_up_descriptors(tmp_path: Path) -> None:
    """Each holds a descriptor while it is inherited: they are taken over in groups, until all are sent."""
    for number in range(200):
        leave(tmp_path / "spool", f"{number + 1}-0123abcd", 1)
    before = descriptors()
    rig = SpoolRig(tmp_path / "spool")
    most = sent = 0
    for _ in range(5_000):
        rig.spool.maintain()
        most = max(most, descriptors() - before)
        sent += rig.take() is not None
        if sent == 200:
            break
    assert sent == 200, "without half a minute between the groups"
    assert 1 < most < 40
    assert (rig.ledger.read().adopted, rig.ledger.read().delivered) == (200 * SPANS, 200 * SPANS)
    assert segments(tmp_path) == []
    rig.spool.forget_after_fork()


def test_folder_copied_without_its_locks_is_adopted(tmp_path: Path) -> None:
    """Whoever saves a dead host's spool may take the segments alone."""
    leave(tmp_path / "spool", "1-0123abcd", 2)
    (tmp_path / "spool" / "1-0123abcd" / "lock").unlink()
    rig = SpoolRig(tmp_path / "spool")
    rig.adopt_all()
    assert rig.take_all() == [b"left 0", b"left 1"]
    rig.spool.forget_after_fork()
