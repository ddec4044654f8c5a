"""`spool ls`, `verify` and `drop`: what waits, what is damaged, and what is deleted."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.dead_host import Run, damage_last, files
from support.paths import ROOT
from support.spool_rig import SpoolRig

Leave = Callable[..., SpoolRig]


def test_ls_shows_what_lies_where_and_changes_nothing(leave: Leave, spool: Path, run: Run) -> None:
    """Endpoint, owner, spans, bytes, since when: for each destination and process."""
    leave("a", "b")
    alive = leave("c", key="new", is_alive=True)
    before = files(spool)
    status, out, _ = run("ls")
    assert status == 0
    assert "for http://old:4317 (grpc)\n" in out
    assert "for http://new:4317 (grpc)\n" in out
    pid = os.getpid()
    assert f"  process {pid}, which has ended: 6 spans, " in out
    assert f"  process {pid}, which lives: 3 spans, " in out
    assert "in 1 file(s), since 1970-01-12T13:46:40+00:00 (" in out
    assert files(spool) == before
    assert len(alive.take_all()) == 1


def test_ls_for_scripts(leave: Leave, spool: Path, run: Run) -> None:
    """The same as JSON."""
    leave(is_alive=True)
    leave("a", "b")
    status, out, _ = run("ls", "--json")
    assert status == 0
    (destination,) = json.loads(out)
    assert (destination["endpoint"], destination["protocol"]) == ("http://old:4317", "grpc")
    assert destination["trouble"] is None
    dead, alive = sorted(destination["owners"], key=lambda owner: bool(owner["is_alive"]))
    assert (dead["spans"], dead["records"], dead["files"], dead["damage"]) == (6, 2, 1, [])
    assert dead["bytes"] == sum(
        len(content) for path, content in files(spool).items() if path.suffix == ".seg"
    )
    assert dead["oldest"] == "1970-01-12T13:46:40+00:00"
    assert (alive["is_alive"], alive["spans"], alive["oldest"]) == (True, 0, None)


def test_empty_spool_is_no_failure(spool: Path, run: Run) -> None:
    """A service that never had an outage."""
    spool.mkdir()
    assert run("ls") == (0, "nothing waits\n", "")
    assert run("verify")[:2] == (0, "0 spans, 0 bytes in 0 whole records; 0 damaged\n")
    assert run("drop", "--yes")[0] == 0


def test_verify_names_what_is_damaged(leave: Leave, spool: Path, run: Run) -> None:
    """With file, offset, and the spans that are lost; the exit status is for scripts."""
    leave("a", "b")
    assert run("verify")[0] == 0
    damage_last(spool)
    before = files(spool)
    status, out, _ = run("verify")
    (file,) = spool.rglob("*.seg")
    assert status == 1
    assert f"{file}: damaged at byte " in out
    assert ": 3 spans\n" in out
    assert "3 spans, " in out
    assert "1 whole records; 1 damaged" in out
    assert run("ls")[0] == 1
    (damage,) = json.loads(run("verify", "--json")[1])[0]["owners"][0]["damage"]
    assert (damage["file"], damage["spans"]) == (str(file), 3)
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.write_bytes(content)
    assert "an unknown number of spans" in run("verify")[1]
    assert set(files(spool)) == set(before)


def test_record_that_was_cut_off_is_no_damage(leave: Leave, spool: Path, run: Run) -> None:
    """It was never reported as safe."""
    leave("a", "b")
    (file,) = spool.rglob("*.seg")
    file.write_bytes(file.read_bytes()[:-7])
    assert run("verify")[0] == 0


def test_drop_shows_asks_and_deletes(
    leave: Leave, spool: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not without a yes; then everything of dead processes is gone, damaged files too."""
    leave("a", "b")
    (destination,) = spool.iterdir()
    (destination / "quarantine").mkdir()
    (destination / "quarantine" / "1-0123abcd-00000001.seg").write_bytes(b"x" * 2_048)
    before = files(spool)
    for answer, told in (("n\n", ""), ("", "add --yes")):
        monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
        status, out, err = run("drop")
        assert (status, out) == (1, "")
        assert "6 spans" in err
        assert "nothing was deleted" in err
        assert told in err
        assert files(spool) == before
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    status, out, _ = run("drop")
    assert status == 0
    assert out.startswith("deleted 6 spans, ")
    assert "and 2.0 KiB of damaged files" in out
    assert list(spool.iterdir()) == []


def test_drop_leaves_living_processes_alone(leave: Leave, spool: Path, run: Run) -> None:
    """What they have is theirs to send."""
    alive = leave("b", "c", is_alive=True)
    leave("a")
    status, out, _ = run("drop", "--yes", "--json")
    assert status == 0
    assert json.loads(out)["dropped"]["spans"] == 3
    assert json.loads(out)["in_use_by"] == [os.getpid()]
    assert "process " in run("drop", "--yes")[2]
    assert len(alive.take_all()) == 2


def test_folder_that_cannot_be_used_is_a_clear_error(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what is wrong, and what to do."""
    monkeypatch.delenv("TELEMETRY_SPOOL_DIR", raising=False)
    (tmp_path / "file").touch()
    for action in (["ls"], ["verify"], ["drop", "--yes"], ["send", "--to", "http://127.0.0.1:1"]):
        status, out, err = run(*action)
        assert (status, out) == (2, "")
        assert "name a folder, or set TELEMETRY_SPOOL_DIR" in err
        assert run(*action, tmp_path / "nowhere")[0] == 2
        assert f"{tmp_path / 'nowhere'} does not exist" in run(*action, tmp_path / "nowhere")[2]
        assert f"{tmp_path / 'file'} is not a folder" in run(*action, tmp_path / "file")[2]
    monkeypatch.setenv("TELEMETRY_SPOOL_MAX_BYTES", "many")
    status, _, err = run("ls")
    assert status == 2
    assert "TELEMETRY_SPOOL_MAX_BYTES='many'" in err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_folder_of_another_user_is_refused_with_the_remedy(leave: Leave, spool: Path, run: Run) -> None:
    """Its spans might be anything; the user that it belongs to can send them."""
    leave("a")
    (destination,) = spool.iterdir()
    os.chown(destination, 12_345, -1)
    before = files(spool)
    for action in (["ls"], ["drop", "--yes"], ["send", "--to", "http://127.0.0.1:1"]):
        status, out, err = run(*action)
        assert status == (1 if action == ["ls"] else 2)
        assert f"{destination} belongs to another user (uid 12345; this process has uid 0)" in out + err
        assert "run as that user" in out + err
    assert files(spool) == before


def test_program_runs_as_the_help_says(leave: Leave, spool: Path) -> None:
    """As a process of its own; the help needs nothing heavy."""
    leave("a")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def execute(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    done = execute("-m", "telemetry", "spool", "ls")
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 spans" in done.stdout
    assert execute("-m", "telemetry", "spool", "ls", "/nowhere").returncode == 2
    assert execute("-m", "telemetry").returncode == 2
    helped = execute("-m", "telemetry", "spool", "send", "--help")
    assert helped.returncode == 0
    assert "TELEMETRY_SPOOL_DIR" in helped.stdout
    loaded = execute("-c", "import telemetry.commands.main, sys; print(*sys.modules)").stdout.split()
    assert not {"pydantic", "grpc", "opentelemetry", "google.protobuf"} & set(loaded)
