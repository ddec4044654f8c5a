"""A spool that is damaged, full, not writable, or shared."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.collector import Collector
from support.fault_rig import FaultRig, MakeRig, assert_ledger, lines
from support.waiting import Until

from telemetry.export.ledger import DropReason


def spool_file(folder: Path) -> Path:
    """Returns the only segment file below a folder."""
    (file,) = (path for path in folder.rglob("*.seg") if "quarantine" not in path.parts)
    return file


def spooled(make_rig: MakeRig, collector: Collector, folder: Path, until: Until, **settings: Any) -> FaultRig:
    """Simulates a process that died with two batches of three spans on disk."""
    collector.stop()
    rig = make_rig(collector, spool_dir=folder, max_export_batch_size=3, **settings)
    rig.end_spans(3)
    until("one batch on disk", lambda: rig.ledger.spooled == 3)
    rig.end_spans(3)
    until("both on disk", lambda: rig.ledger.spooled == 6)
    rig.pipeline.stop(1)
    rig.pipeline._spool.forget_after_fork()  # type: ignore[union-attr] # the kernel closes its files
    collector.start()
    return rig


@pytest.mark.parametrize(
    ("damage", "adopted", "lost", "is_quarantined"),
    [
        pytest.param(lambda content: content, 6, 0, False, id="none"),
        pytest.param(lambda content: content[:-7], 3, 0, False, id="torn tail"),
        pytest.param(lambda content: content + b"\xf5SPL", 6, 0, False, id="torn header"),
        pytest.param(lambda content: content + bytes(500), 6, 0, False, id="tail of zeros"),
        pytest.param(lambda content: content[:-1] + b"?", 6, 3, True, id="flipped bits in a payload"),
        pytest.param(lambda content: b"?" + content[1:], 3, 0, True, id="flipped bits in a header"),
        pytest.param(lambda content: content[:4] + b"\x00" + content[5:], 3, 0, False, id="sent before"),
        pytest.param(lambda content: b"no spool at all" * 20, 0, 0, True, id="another file"),
        pytest.param(lambda content: b"", 0, 0, False, id="empty"),
    ],
)
def test_damaged_spool_costs_what_is_damaged(
    damage: Callable[[bytes], bytes],
    adopted: int,
    lost: int,
    is_quarantined: bool,
    make_rig: MakeRig,
    collector: Collector,
    tmp_path: Path,
    until: Until,
) -> None:
    """Intact records are sent, damaged ones are counted and quarantined, and no process fails on them."""
    spooled(make_rig, collector, tmp_path, until)
    file = spool_file(tmp_path)
    file.write_bytes(damage(file.read_bytes()))
    owner = file.parent
    heir = make_rig(collector, spool_dir=tmp_path)
    heir.pipeline.replay()
    until("the heir is done", lambda: not owner.exists())
    reading = heir.ledger
    assert reading.is_balanced
    assert (reading.adopted, reading.delivered, reading.spooled) == (adopted, adopted - lost, 0)
    assert dict(reading.dropped) == ({DropReason.SPOOL_CORRUPT: lost} if lost else {})
    assert len(collector.taken) == adopted - lost
    assert bool(list(tmp_path.rglob("quarantine/*"))) is is_quarantined
    assert not heir.pipeline.status.last_error
    heir.end_spans(1)
    assert heir.pipeline.force_flush(5_000) is True


def _unusable(folder: Path) -> dict[str, Any]:
    (folder / "file").touch()
    return {"spool_dir": folder / "file" / "spool"}


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        pytest.param(_unusable, "TELEMETRY_SPOOL_DIR", id="not writable"),
        pytest.param(
            lambda folder: {"spool_dir": folder, "spool_max_bytes": 2**16},
            "TELEMETRY_SPOOL_MAX_BYTES",
            id="full",
        ),
        pytest.param(
            lambda folder: {"spool_dir": folder, "spool_min_free": 0.999_999},
            "TELEMETRY_SPOOL_MIN_FREE",
            id="disk almost full",
        ),
    ],
)
def test_spool_that_takes_no_more_leaves_memory_and_counted_drops(
    settings: Callable[[Path], dict[str, Any]],
    remedy: str,
    make_rig: MakeRig,
    collector: Collector,
    tmp_path: Path,
    until: Until,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The remedy is logged once, memory stays bounded, and all kept spans arrive."""
    collector.stop()
    rig = make_rig(collector, buffer_max_bytes=2**15, max_export_batch_size=10, **settings(tmp_path))
    for _ in range(200):
        rig.end_spans(10, text="x" * 100)
        until("the queue taken", lambda: rig.ledger.in_memory < 1_000)
        if rig.ledger.dropped:
            break
    until("a drop", lambda: rig.ledger.dropped)
    assert rig.pipeline.buffered_bytes <= 2**15
    status = rig.pipeline.spool_status
    assert status is not None
    assert remedy in str(status.trouble)
    assert sum("the spool of unsent spans" in line and remedy in line for line in lines(caplog)) == 1
    collector.start()
    until("nothing pending", lambda: rig.ledger.in_memory == rig.ledger.spooled == 0)
    dropped = rig.ledger.dropped
    assert set(dropped) == {DropReason.BUFFER_FULL if "DIR" in remedy else DropReason.SPOOL_FULL}
    assert_ledger(rig, delivered=len(rig.names) - sum(dropped.values()), dropped=dropped)
    assert len(collector.taken) == rig.ledger.delivered


def test_two_processes_in_one_folder_send_nothing_twice(
    make_rig: MakeRig, collector: Collector, tmp_path: Path, until: Until
) -> None:
    """Of several processes in one folder, only one adopts an orphan."""
    dead = spooled(make_rig, collector, tmp_path, until)
    heirs = [make_rig(collector, spool_dir=tmp_path) for _ in range(4)]
    threads = [threading.Thread(target=heir.pipeline.replay) for heir in heirs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until("all delivered", lambda: len(collector.taken) == 6)
    until("and counted", lambda: sum(heir.ledger.delivered for heir in heirs) == 6)
    assert sorted(collector.taken) == sorted(dead.names)
    assert sum(heir.ledger.adopted for heir in heirs) == 6
    assert all(heir.ledger.is_balanced for heir in heirs)
