"""Batches of a living process, a dead one, another destination and another user."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.spool_rig import SPANS, SpoolRig, segments

from telemetry.export.spool.note import NOTE
from telemetry.settings.spool import destination_folder


def test_another_destination_has_another_folder(tmp_path: Path) -> None:
    """Batches are never sent to another endpoint or with another tenant's credentials."""
    folders = {
        destination_folder(tmp_path, endpoint, headers)
        for endpoint in ("http://one:4317", "http://two:4317")
        for headers in ("{}", "{'key': 'secret'}")
    }
    assert len(folders) == 4
    assert all("secret" not in str(folder) for folder in folders)


def test_record_in_two_parts_stays_until_both_are_acknowledged(make: Callable[..., SpoolRig]) -> None:
    """If a process dies between the two, the next one adopts the record."""
    dead = make()
    record = dead.append(b"two parts", is_held=True)
    record.parts = 2
    dead.spool.acknowledge(record, record.spans)
    dead.crash()
    heir = make()
    heir.adopt_all()
    assert heir.take_all() == [b"two parts"]


def test_what_a_dead_process_left_is_adopted_and_sent_first(
    make: Callable[..., SpoolRig], tmp_path: Path
) -> None:
    """The dead process's spans count as adopted; its folder is removed once they are sent."""
    dead = make()
    dead.append(b"first")
    dead.append(b"sent")
    dead.append(b"second")
    assert dead.take() == b"first"
    dead.crash()
    heir = make()
    heir.append(b"own")
    heir.adopt_all()
    assert heir.ledger.read().adopted == 2 * SPANS
    assert heir.take_all() == [b"sent", b"second", b"own"]
    heir.spool.pause()
    assert [path.name for path in (tmp_path / "spool").iterdir()] == [NOTE]


def test_orphans_segments_are_sent_in_their_order(make: Callable[..., SpoolRig], tmp_path: Path) -> None:
    """Orphaned segments are sent oldest first, across many files, and before the process's own."""
    dead = make(max_bytes=2**16)
    written = [b"%03d" % number + b"x" * 1_000 for number in range(40)]
    for payload in written:
        dead.append(payload)
    assert len(segments(tmp_path)) > 3
    dead.crash()
    heir = make(max_bytes=2**16)
    heir.append(b"own")
    heir.adopt_all()
    assert heir.take_all() == [*written, b"own"]


def test_folder_of_a_living_process_is_left_alone(make: Callable[..., SpoolRig]) -> None:
    """Two spools in one folder never send the same batch."""
    one, other = make(), make()
    one.append(b"of one")
    other.append(b"of the other")
    one.adopt_all()
    other.adopt_all()
    assert one.take_all() == [b"of one"]
    assert other.take_all() == [b"of the other"]
    assert one.ledger.read().adopted == other.ledger.read().adopted == 0


def test_fork_leaves_the_lock_with_the_parent(make: Callable[..., SpoolRig]) -> None:
    """A child that closes its copy and exits does not release the parent's lock."""
    rig = make()
    rig.append(b"of the parent")
    pid = os.fork()
    if pid == 0:
        rig.spool.forget_after_fork()
        os._exit(0)
    os.waitpid(pid, 0)
    other = make()
    other.adopt_all()
    assert other.ledger.read().adopted == 0
    assert rig.take_all() == [b"of the parent"]


def test_another_users_folder_is_refused(tmp_path: Path) -> None:
    """In a shared place, another user's folder could contain anything."""
    if os.geteuid():
        pytest.skip("only root can give a folder away")
    folder = tmp_path / "spool"
    folder.mkdir()
    os.chown(folder, 12_345, -1)
    rig = SpoolRig(folder)
    assert "belongs to another user" in str(rig.spool.status.trouble)


def test_batches_of_another_destination_are_never_sent_and_do_not_stay_for_ever(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """After a key change, old batches are removed once they are too old, unless their process is alive."""
    old, other, new = (destination_folder(tmp_path, key) for key in ("old key", "other key", "new key"))
    foreign = tmp_path / "something else" / "12-0123abcd"
    foreign.mkdir(parents=True)
    dead, alive = SpoolRig(old), SpoolRig(other)
    dead.append(b"of the dead")
    alive.append(b"of the living")
    dead.crash()
    files = segments(tmp_path)
    rig = SpoolRig(new, max_age_seconds=60, wall_seconds=time.time())
    rig.adopt_all()
    assert segments(tmp_path) == files
    rig.wall_seconds += 61
    rig.adopt_all()
    assert rig.take_all() == []
    assert rig.ledger.read().adopted == 0
    assert [file.parent.parent for file in segments(tmp_path)] == [other]
    assert not old.exists()
    assert foreign.exists(), "the folder is the user's, and holds other things"
    assert "another endpoint or other headers" in caplog.text
    assert alive.take_all() == [b"of the living"]
