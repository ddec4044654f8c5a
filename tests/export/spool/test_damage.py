"""Spool files that are truncated, corrupted, full or removed."""

import resource
import shutil
from collections.abc import Callable
from pathlib import Path

from support.spool_rig import SPANS, SpoolRig, segments

from telemetry.export.ledger import DropReason
from telemetry.export.spool.format import HEADER_BYTES


def test_record_cut_off_at_any_byte_costs_only_itself(make: Callable[..., SpoolRig], tmp_path: Path) -> None:
    """A record that is half written is not adopted: its process had not reported it as safe."""
    source = make()
    source.append(b"one")
    source.append(b"two")
    whole = source.spool.size_bytes
    source.append(b"cut off")
    (file,) = segments(tmp_path)
    content = file.read_bytes()
    source.crash()
    owner = file.parent
    for length in range(whole, len(content)):
        file.write_bytes(content[:length])
        rig = make()
        rig.adopt_all()
        assert rig.take_all() == [b"one", b"two"], length
        reading = rig.ledger.read()
        assert (reading.adopted, reading.delivered, reading.dropped) == (2 * SPANS, 2 * SPANS, {})
        assert not owner.exists()
        rig.spool.close()
        owner.mkdir()
        (owner / "lock").touch()


def test_flipped_bit_at_any_byte_costs_at_most_its_record(
    make: Callable[..., SpoolRig], tmp_path: Path
) -> None:
    """A damaged record is not sent; it is counted if its header is intact, and the file is kept."""
    source = make()
    written = [b"first payload", b"second payload", b"third payload"]
    for payload in written:
        source.append(payload)
    (file,) = segments(tmp_path)
    content = file.read_bytes()
    source.crash()
    owner = file.parent
    record = HEADER_BYTES + len(written[0])
    for position in range(record):  # of the first record
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        file.write_bytes(damaged)
        rig = make()
        rig.adopt_all()
        taken = rig.take_all()
        assert taken in (written, written[1:]), position
        reading = rig.ledger.read()
        assert reading.is_balanced
        assert reading.spooled == 0
        lost = reading.dropped.get(DropReason.SPOOL_CORRUPT, 0)
        assert lost == (SPANS if position >= HEADER_BYTES else 0), position
        assert bool(list((tmp_path / "spool" / "quarantine").glob("*"))) == (taken != written), position
        shutil.rmtree(tmp_path / "spool" / "quarantine", ignore_errors=True)
        rig.spool.close()
        shutil.rmtree(owner, ignore_errors=True)
        owner.mkdir()
        (owner / "lock").touch()


def test_damage_in_ones_own_segment_is_counted(make: Callable[..., SpoolRig], tmp_path: Path) -> None:
    """Spans are counted even if a header, and with it their number, is lost."""
    rig = make()
    for payload in (b"one", b"two", b"three"):
        rig.append(payload)
    (file,) = segments(tmp_path)
    content = bytearray(file.read_bytes())
    content[0] ^= 1  # the first header
    content[-1] ^= 1  # the last payload
    file.write_bytes(content)
    assert rig.take_all() == [b"two"]
    reading = rig.ledger.read()
    assert reading.dropped == {DropReason.SPOOL_CORRUPT: 2 * SPANS}
    assert reading.spooled == 0
    assert rig.append(b"next") is not None
    assert rig.take_all() == [b"next"]


def test_few_damaged_files_are_kept(make: Callable[..., SpoolRig], tmp_path: Path) -> None:
    """The quarantine keeps only a few files, so that it does not fill the disk."""
    for _ in range(12):
        dead = make()
        dead.append(b"payload")
        (file,) = [path for path in segments(tmp_path) if "quarantine" not in path.parts]
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        dead.crash()
        heir = make()
        heir.adopt_all()
        assert heir.ledger.read().dropped == {DropReason.SPOOL_CORRUPT: SPANS}
        heir.spool.close()
    assert len(list((tmp_path / "spool" / "quarantine").iterdir())) == 8


def test_disk_that_is_full_in_the_middle_of_a_record_takes_it_back(
    make: Callable[..., SpoolRig], tmp_path: Path
) -> None:
    """The partial record is removed, and the records before and after it are intact."""
    rig = make()
    rig.append(b"before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (rig.spool.size_bytes + HEADER_BYTES + 10, hard))
    try:
        assert rig.append(b"x" * 1_000) is None
        (file,) = segments(tmp_path)
        assert file.stat().st_size == rig.spool.size_bytes
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert rig.ledger.read().dropped == {DropReason.SPOOL_FULL: SPANS}
    rig.append(b"after")
    assert rig.take_all() == [b"before", b"after"]


def test_folder_that_is_removed_is_made_anew(make: Callable[..., SpoolRig], tmp_path: Path) -> None:
    """The lost spans are counted, and new ones are kept."""
    rig = make()
    rig.append(b"lost")
    shutil.rmtree(tmp_path / "spool")
    rig.pass_time(2)
    assert rig.ledger.read().dropped == {DropReason.SPOOL_CORRUPT: SPANS}
    assert rig.told == []
    assert rig.append(b"kept") is not None
    assert segments(tmp_path)
    assert rig.take_all() == [b"kept"]
