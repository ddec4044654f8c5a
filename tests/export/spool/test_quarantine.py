"""Damaged files are kept for inspection, within the spool's bounds and behind everything that can be sent."""

from collections.abc import Callable
from pathlib import Path

from support.spool_rig import SPANS, SpoolRig, segments

from telemetry.export.ledger import DropReason

LIMIT = 2**16


def bytes_in(folder: Path) -> int:
    """Returns the size of all segments, damaged ones included."""
    return sum(file.stat().st_size for file in segments(folder))


def damage(folder: Path) -> None:
    """Flips a bit in the last payload of each segment that is in use."""
    for file in segments(folder):
        if "quarantine" not in file.parts:
            content = bytearray(file.read_bytes())
            content[-1] ^= 1
            file.write_bytes(content)


def test_damaged_files_are_inside_the_limit(make: Callable[..., SpoolRig], tmp_path: Path) -> None:
    """They give way, the oldest first, to batches that need the space; then the spool is full as ever."""
    for _ in range(6):
        rig = make(max_bytes=LIMIT)
        rig.append(b"x" * 7_000)
        damage(tmp_path)
        rig.crash()
        heir = make(max_bytes=LIMIT)
        heir.adopt_all()
        assert heir.ledger.read().dropped == {DropReason.SPOOL_CORRUPT: SPANS}
        heir.spool.close()
    rig = make(max_bytes=LIMIT)
    assert rig.spool._directory.quarantine.size_bytes > 6 * 7_000
    kept = 0
    while rig.append(b"x" * 1_000) is not None:
        kept += 1
        assert bytes_in(tmp_path) <= LIMIT
        assert kept < 100
    assert kept > 60
    assert rig.spool._directory.quarantine.size_bytes == 0
    assert rig.take_all() == [b"x" * 1_000] * kept


def test_file_damaged_beyond_the_limit_is_not_kept(make: Callable[..., SpoolRig], tmp_path: Path) -> None:
    """The process that left it had a larger limit."""
    rig = make(max_bytes=2**20)
    rig.append(b"x" * 2 * LIMIT)
    damage(tmp_path)
    rig.crash()
    heir = make(max_bytes=LIMIT)
    heir.adopt_all()
    assert heir.ledger.read().dropped == {DropReason.SPOOL_CORRUPT: SPANS}
    assert bytes_in(tmp_path) == 0
    assert heir.append() is not None


def test_what_another_process_quarantined_is_seen(make: Callable[..., SpoolRig], tmp_path: Path) -> None:
    """The folder is shared: its size is measured again each second."""
    rig = make(max_bytes=LIMIT)
    rig.append()
    (tmp_path / "spool" / "quarantine").mkdir()
    (tmp_path / "spool" / "quarantine" / "1-0123abcd-00000001.seg").write_bytes(b"x" * LIMIT)
    rig.pass_time(2)
    assert rig.append() is not None
    assert bytes_in(tmp_path) <= LIMIT
