"""The spool on a real disk: order, bounds, damage, owners."""

import os
import resource
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.spool_rig import SPANS, Rig

from telemetry.export.ledger import DropReason
from telemetry.export.spool.format import HEADER_BYTES
from telemetry.export.spool.pace import ReplayPace
from telemetry.settings.sections import destination_folder


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    """Makes spools in one folder; each is closed at the end, and its ledger must add up."""
    rigs: list[Rig] = []

    def build(**settings: Any) -> Rig:
        rigs.append(Rig(tmp_path / "spool", **settings))
        return rigs[-1]

    yield build
    for rig in rigs:
        assert rig.ledger.read().is_balanced
        rig.spool.forget_after_fork()


def segments(folder: Path) -> list[Path]:
    """The segment files below a folder."""
    return sorted(folder.rglob("*.seg"))


def test_batches_come_back_in_their_order(make: Callable[..., Rig]) -> None:
    """First in, first out, each once."""
    rig = make()
    written = [b"%d" % number for number in range(100)]
    for payload in written:
        rig.append(payload)
    assert rig.ledger.read().spooled == 100 * SPANS
    assert rig.take_all() == written
    assert rig.ledger.read().delivered == 100 * SPANS
    assert not rig.spool.has_waiting


def test_batch_held_in_memory_is_given_only_when_it_is_given_back(make: Callable[..., Rig]) -> None:
    """What is on its way already must not be sent a second time from disk."""
    rig = make()
    held = rig.append(b"held", is_held=True)
    rig.append(b"waiting")
    assert rig.take_all() == [b"waiting"]
    rig.spool.requeue(held)
    assert rig.take_all() == [b"held"]


def test_only_the_owner_may_read_what_is_spooled(make: Callable[..., Rig], tmp_path: Path) -> None:
    """Spans may hold anything: files are 0600, folders 0700, whatever the umask."""
    before = os.umask(0)
    try:
        make().append()
    finally:
        os.umask(before)
    for path in (tmp_path / "spool").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_another_destination_has_another_folder(tmp_path: Path) -> None:
    """Nothing is ever sent to another endpoint, or with another tenant's credentials."""
    folders = {
        destination_folder(tmp_path, endpoint, headers)
        for endpoint in ("http://one:4317", "http://two:4317")
        for headers in ("{}", "{'key': 'secret'}")
    }
    assert len(folders) == 4
    assert all("secret" not in str(folder) for folder in folders)


def test_full_spool_refuses_and_takes_again_when_space_came_back(make: Callable[..., Rig]) -> None:
    """It never grows beyond its bytes; files are removed as they are sent."""
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


def test_disk_that_others_need_is_left_free(make: Callable[..., Rig]) -> None:
    """With less than the ratio free, nothing is written."""
    rig = make(min_free_ratio=0.999_999)
    assert rig.append() is None
    assert rig.ledger.read().dropped == {DropReason.SPOOL_FULL: SPANS}
    assert "TELEMETRY_SPOOL_MIN_FREE" in rig.told[-1]


def test_old_batches_are_given_up(make: Callable[..., Rig]) -> None:
    """Before they are sent, and without anybody asking for them."""
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


def test_old_batch_in_somebodys_hand_keeps_its_file(make: Callable[..., Rig]) -> None:
    """Given up with its file, the one beside it would come back when the file is read again."""
    rig = make(max_age_seconds=60)
    rig.append(b"in hand", is_held=True)
    rig.append(b"waiting")
    rig.pass_time(61)
    rig.spool.pause()
    assert rig.spool.open()
    assert rig.take_all() == []
    assert rig.ledger.read().dropped == {DropReason.SPOOL_EXPIRED: 2 * SPANS}
    assert rig.ledger.read().spooled == 0


def test_record_in_two_parts_stays_until_both_have_their_fate(make: Callable[..., Rig]) -> None:
    """A process that dies between the two leaves it to the next one."""
    dead = make()
    record = dead.append(b"two parts", is_held=True)
    record.parts = 2
    dead.spool.acknowledge(record, record.spans)
    dead.crash()
    heir = make()
    heir.adopt_all()
    assert heir.take_all() == [b"two parts"]


def test_wall_clock_that_goes_back_gives_up_nothing(make: Callable[..., Rig]) -> None:
    """A batch from the future is young."""
    rig = make(max_age_seconds=60)
    rig.append(b"future")
    rig.wall_seconds -= 1e6
    rig.pass_time(2)
    assert rig.take_all() == [b"future"]


def test_what_a_dead_process_left_is_adopted_and_sent_first(make: Callable[..., Rig], tmp_path: Path) -> None:
    """Its spans are counted as adopted; its folder goes when they are sent."""
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
    assert list((tmp_path / "spool").iterdir()) == []


def test_orphans_segments_are_sent_in_their_order(make: Callable[..., Rig], tmp_path: Path) -> None:
    """The oldest first, over many files, and before one's own."""
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


def test_folder_of_a_living_process_is_left_alone(make: Callable[..., Rig]) -> None:
    """Two spools in one folder never send the same batch."""
    one, other = make(), make()
    one.append(b"of one")
    other.append(b"of the other")
    one.adopt_all()
    other.adopt_all()
    assert one.take_all() == [b"of one"]
    assert other.take_all() == [b"of the other"]
    assert one.ledger.read().adopted == other.ledger.read().adopted == 0


def test_fork_leaves_the_lock_with_the_parent(make: Callable[..., Rig]) -> None:
    """A child that closes its copy, and ends, does not free what is the parent's."""
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


def test_second_run_of_a_process_finds_what_the_first_left(make: Callable[..., Rig]) -> None:
    """Neither adopted nor lost: it was always its own."""
    rig = make()
    rig.append(b"held", is_held=True)
    rig.append(b"waiting")
    rig.spool.pause()
    assert rig.spool.open()
    assert rig.take_all() == [b"held", b"waiting"]
    assert rig.ledger.read().adopted == 0


def test_run_that_is_not_done_keeps_the_spool(make: Callable[..., Rig]) -> None:
    """One thread at a time: who comes too early does without."""
    rig = make()
    assert not rig.spool.open()
    rig.spool.pause()
    assert rig.spool.open()


def test_record_cut_off_at_any_byte_costs_only_itself(make: Callable[..., Rig], tmp_path: Path) -> None:
    """A process that dies while it writes had told nobody that the record is safe: it is not even adopted."""
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


def test_flipped_bit_at_any_byte_costs_at_most_its_record(make: Callable[..., Rig], tmp_path: Path) -> None:
    """Nothing that does not check is sent, what a header still tells is counted, and the file is kept."""
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


def test_damage_in_ones_own_segment_is_counted(make: Callable[..., Rig], tmp_path: Path) -> None:
    """Even where a header is lost, and with it how many spans it had."""
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


def test_few_damaged_files_are_kept(make: Callable[..., Rig], tmp_path: Path) -> None:
    """Quarantine is to be looked at, not to fill the disk."""
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
    make: Callable[..., Rig], tmp_path: Path
) -> None:
    """What was written of it is removed, and the records before and after are whole."""
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


@pytest.mark.parametrize("name", ["file/spool", "/proc/spool"])
def test_folder_that_cannot_be_used_is_told_with_the_remedy(tmp_path: Path, name: str) -> None:
    """Nothing is raised; spans are refused, and it is tried again later."""
    (tmp_path / "file").touch()
    rig = Rig(tmp_path / name)
    assert "TELEMETRY_SPOOL_DIR" in str(rig.spool.status.trouble)
    assert rig.append() is None
    assert rig.spool.refusal is DropReason.BUFFER_FULL
    if name.startswith("file"):
        (tmp_path / "file").unlink()
        rig.pass_time(31)
        assert rig.append() is not None


def test_folder_that_is_removed_is_made_anew(make: Callable[..., Rig], tmp_path: Path) -> None:
    """What was in it is lost, counted; what comes is kept."""
    rig = make()
    rig.append(b"lost")
    shutil.rmtree(tmp_path / "spool")
    rig.pass_time(2)
    assert rig.ledger.read().dropped == {DropReason.SPOOL_CORRUPT: SPANS}
    assert rig.told == []
    assert rig.append(b"kept") is not None
    assert segments(tmp_path)
    assert rig.take_all() == [b"kept"]


def test_another_users_folder_is_refused(tmp_path: Path) -> None:
    """Somebody else's folder in a shared place could hold anything."""
    if os.geteuid():
        pytest.skip("only root can give a folder away")
    folder = tmp_path / "spool"
    folder.mkdir()
    os.chown(folder, 12_345, -1)
    rig = Rig(folder)
    assert "belongs to another user" in str(rig.spool.status.trouble)


def test_batches_of_another_destination_are_never_sent_and_do_not_stay_for_ever(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A key changed: what was for the old one goes when it is too old, unless its owner lives."""
    old, other, new = (destination_folder(tmp_path, key) for key in ("old key", "other key", "new key"))
    foreign = tmp_path / "something else" / "12-0123abcd"
    foreign.mkdir(parents=True)
    dead, alive = Rig(old), Rig(other)
    dead.append(b"of the dead")
    alive.append(b"of the living")
    dead.crash()
    files = segments(tmp_path)
    rig = Rig(new, max_age_seconds=60)
    rig.wall_seconds = time.time()
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


def test_replay_is_paced_by_fresh_data() -> None:
    """At least 2,000 spans a second, else twice what is fresh; after a pause, not the same for all."""
    pace = ReplayPace()
    pace.begin(100.0, 0.25)
    assert pace.next_at == 100.25
    pace.sent(1_000, 100.25)
    assert pace.next_at == 100.75
    pace.fresh(25_000, 101.0)  # 5,000 a second over 5 s
    pace.sent(1_000, 101.0)
    assert pace.next_at == pytest.approx(101.1)
    pace.fresh(0, 120.0)  # long ago
    pace.sent(1_000, 120.0)
    assert pace.next_at == 120.5
