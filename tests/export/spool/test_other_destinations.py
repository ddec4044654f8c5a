"""Folders of other destinations: what they say, who is told of them, and when they are removed."""

import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from support.spool_rig import SPANS, SpoolRig

from telemetry.config import TelemetryConfig
from telemetry.export.spool.note import NOTE, Destination, read_note
from telemetry.export.spool.sweep import OtherDestinations
from telemetry.settings.spool import destination_folder


def renamed(tmp_path: Path, *, is_crashed: bool = True) -> tuple[SpoolRig, Path]:
    """Leaves batches for an endpoint that was renamed."""
    folder = destination_folder(tmp_path / "spool", "old")
    dead = SpoolRig(folder, endpoint="http://old:4317")
    dead.append(b"one")
    dead.append(b"two")
    if is_crashed:
        dead.crash()
    return dead, folder


def test_folder_says_where_its_spans_go_without_secrets(tmp_path: Path) -> None:
    """In plain words, for people, in a file that only the owner reads."""
    config = TelemetryConfig(
        protocol="http/protobuf",
        endpoint="https://user:password@collector.example:4317?token=secret",
        headers={"authorization": "Bearer secret"},
        spool_dir=tmp_path,
    )
    assert config.spool is not None
    rig = SpoolRig(config.spool.folder, endpoint=config.spool.endpoint, protocol=config.spool.protocol)
    note = config.spool.folder / NOTE
    text = note.read_text()
    assert "endpoint: https://collector.example:4317/v1/traces\nprotocol: http/protobuf\n" in text
    assert "python -m telemetry spool" in text
    assert not {"user", "password", "secret", "Bearer"} & set(text.replace("@", " ").split())
    assert "secret" not in text
    assert stat.S_IMODE(note.stat().st_mode) == 0o600
    assert read_note(config.spool.folder) == Destination(
        "https://collector.example:4317/v1/traces", "http/protobuf"
    )
    rig.spool.forget_after_fork()


def test_folder_of_an_earlier_version_gets_its_note(make: Callable[..., SpoolRig], tmp_path: Path) -> None:
    """Also one whose note was cut off by a full disk."""
    folder = tmp_path / "spool"
    folder.mkdir()
    assert read_note(folder) == Destination()
    for wrong in (None, "", "endpoint: http://nob", "x" * 5_000):
        if wrong is not None:
            (folder / NOTE).write_text(wrong)
        make()
        assert read_note(folder) == Destination("http://collector:4317", "grpc")
        assert len((folder / NOTE).read_text()) < 1_000


def test_note_says_nothing_to_a_terminal(make: Callable[..., SpoolRig], tmp_path: Path) -> None:
    """What a file says is shown, never executed."""
    make()
    (tmp_path / "spool" / NOTE).write_text("endpoint: http://x\x1b[2J:1\x07\n" + "protocol: \x9b31mgrpc\n")
    assert read_note(tmp_path / "spool") == Destination("http://x[2J:1", "31mgrpc")


def test_spans_for_a_renamed_endpoint_are_told_once_with_the_command(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """At the start, not when they expire; until they are sent the status counts them."""
    _, folder = renamed(tmp_path)
    rig = SpoolRig(destination_folder(tmp_path / "spool", "new"), endpoint="http://new:4317")
    command = f"python -m telemetry spool send {folder} --to http://new:4317"
    assert f"{2 * SPANS} span(s) wait in the spool for http://old:4317 (grpc)" in caplog.text
    assert command in caplog.text
    assert rig.spool.status.stranded_spans == 2 * SPANS
    rig.adopt_all()
    rig.adopt_all()
    assert caplog.text.count(command) == 1
    heir = SpoolRig(folder)
    heir.adopt_all()
    assert len(heir.take_all()) == 2
    heir.spool.close()
    rig.adopt_all()
    rig.pass_time(2)
    assert rig.spool.status.stranded_spans == 0
    rig.spool.forget_after_fork()


def test_spans_that_somebody_is_sending_are_not_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two services may share the folder; one of them may just be replaced by its next process."""
    alive, folder = renamed(tmp_path, is_crashed=False)
    dead = SpoolRig(folder)
    dead.append(b"of a brother")
    dead.crash()
    rig = SpoolRig(destination_folder(tmp_path / "spool", "new"))
    assert "wait in the spool" not in caplog.text
    assert rig.spool.status.stranded_spans == 0
    alive.crash()
    rig.adopt_all()
    assert "wait in the spool" in caplog.text
    assert rig.spool.status.stranded_spans == 3 * SPANS
    rig.spool.forget_after_fork()


def test_counting_them_again_reads_only_what_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is done each half minute, perhaps for hundreds of megabytes."""
    renamed(tmp_path)
    others = OtherDestinations(destination_folder(tmp_path / "spool", "new"))
    reads: list[int] = []
    real = os.pread

    def pread(*arguments: int) -> bytes:
        reads.append(arguments[0])
        return real(*arguments)

    monkeypatch.setattr(os, "pread", pread)
    (first,) = others.find_stranded()
    assert reads
    counting = len(reads)
    (second,) = others.find_stranded()
    assert first == second
    assert len(reads) - counting < counting, "only the note was read again"


def test_empty_folder_of_another_destination_is_removed(tmp_path: Path) -> None:
    """With its note, or without one as an earlier version left it; foreign files keep it."""
    root = tmp_path / "spool"
    old, older, full = (destination_folder(root, name) for name in ("old", "older", "full"))
    SpoolRig(old).spool.close()
    older.mkdir()
    SpoolRig(full).spool.close()
    (full / "notes of mine").touch()
    OtherDestinations(destination_folder(root, "new")).remove_expired(60, 1e9)
    assert [path for path in (old, older, full) if path.exists()] == [full]


def test_damaged_files_of_another_destination_go_when_they_are_old(tmp_path: Path) -> None:
    """Nobody inspects them any more, and no process of that destination bounds them."""
    folder = destination_folder(tmp_path / "spool", "old")
    SpoolRig(folder).spool.close()
    (folder / "quarantine").mkdir()
    for name, age_seconds in (("1-0123abcd-00000001.seg", 100), ("1-0123abcd-00000002.seg", 10)):
        (folder / "quarantine" / name).touch()
        os.utime(folder / "quarantine" / name, (1e9 - age_seconds, 1e9 - age_seconds))
    others = OtherDestinations(destination_folder(tmp_path / "spool", "new"))
    others.remove_expired(60, 1e9)
    assert [path.name for path in (folder / "quarantine").iterdir()] == ["1-0123abcd-00000002.seg"]
    others.remove_expired(60, 1e9 + 60)
    assert not folder.exists()


def test_sweep_removes_nothing_that_another_process_is_just_making(tmp_path: Path) -> None:
    """A process that starts again and again always gets its folder, while another one sweeps."""
    root = tmp_path / "spool"
    destination = destination_folder(root, "new")
    pid = os.fork()
    if pid == 0:
        others = OtherDestinations(destination_folder(root, "of the sweeper"))
        while True:
            others.remove_expired(0, 1e12)
    try:
        for number in range(300):
            rig = SpoolRig(destination)
            assert rig.spool.status.trouble is None
            for _ in range(3):
                assert rig.append(b"%d" % number) is not None
                assert rig.take() == b"%d" % number
            assert not rig.spool._directory.is_removed
            rig.spool.pause()
            rig.spool.close()
            assert rig.ledger.read().dropped == {}
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
