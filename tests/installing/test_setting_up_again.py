"""`python3 -m requirements.install` after a failed set-up, or after its inputs have changed."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from support.pips import NEWEST_PIP
from support.project_to_set_up import EXPECTED, Project, make_python, path_with_uv, waiting_index
from uv import find_uv_bin


def test_failure_is_reported_and_the_next_run_succeeds(project: Project, index: str, tmp_path: Path) -> None:
    """The network is missing in the first run and there in the second."""
    python = make_python(tmp_path / "python", pip=NEWEST_PIP)
    status, said = project.set_up(python, "http://127.0.0.1:9/simple")
    assert status == 1
    assert "Mend the network" in said
    assert "Traceback" not in said
    status, said = project.set_up(python, index)
    assert status == 0, said
    assert project.installed() == EXPECTED


def test_changed_pins_are_installed_in_place(project: Project, index: str, tmp_path: Path) -> None:
    """Packages that are no longer pinned are removed; the environment itself stays."""
    python = make_python(tmp_path / "python")
    assert project.set_up(python, index)[0] == 0
    marker = project.folder / ".venv" / "stays"
    marker.touch()
    pins = project.folder / "requirements" / "dev.txt"
    pins.write_text(
        "".join(line for line in pins.read_text().splitlines(keepends=True) if "third" not in line)
    )
    status, said = project.set_up(python, index)
    assert status == 0, said
    assert project.installed() == {name: version for name, version in EXPECTED.items() if name != "third"}
    assert marker.exists()


def test_activated_environment_that_was_cut_off_is_made_again(
    project: Project, index: str, tmp_path: Path
) -> None:
    """Its own Python and uv come first on PATH, and are removed with it."""
    status, said = project.set_up(make_python(tmp_path / "python"), index)
    assert status == 0, said
    own = project.folder / ".venv" / "bin"
    (own / "uv").symlink_to(find_uv_bin())
    (project.folder / ".venv" / ".ready").unlink()
    status, said = project.set_up(own / "python", index, path=f"{own}:/nothing")
    assert status == 0, said
    assert project.installed() == EXPECTED


def test_pins_changed_meanwhile_are_not_taken_for_installed(
    project: Project, tmp_path: Path, until: Callable[..., None]
) -> None:
    """Pins saved while an index is slow to answer are installed by the next run."""
    python = make_python(tmp_path / "python", pip=NEWEST_PIP)
    pins = project.folder / "requirements" / "dev.txt"
    both = pins.read_text().splitlines(keepends=True)
    pins.write_text(both[0])
    path = path_with_uv(tmp_path)
    with waiting_index(project.wheels) as (index, asked, answers):
        process = project.start(python, index, path)
        assert asked.wait(timeout=50)
        noted = pins.stat().st_mtime
        until("a save is newer", lambda: _save(pins, "".join(both)) > noted)
        answers.set()
        said, _ = process.communicate(timeout=50)
        assert process.returncode == 0, said
        assert "second" not in project.installed()
        status, said = project.set_up(python, index, path)
    assert status == 0, said
    assert project.installed() == EXPECTED


def _save(file: Path, content: str) -> float:
    file.write_text(content)
    return file.stat().st_mtime


def test_finished_environment_whose_python_is_gone_is_made_again(
    project: Project, index: str, tmp_path: Path
) -> None:
    """An upgrade of the system's Python can remove it."""
    python = make_python(tmp_path / "python", pip=NEWEST_PIP)
    assert project.set_up(python, index)[0] == 0
    own = project.folder / ".venv" / "bin" / "python"
    own.unlink()
    own.symlink_to("/nowhere/python")
    status, said = project.set_up(python, index)
    assert status == 0, said
    assert _version_of(own) == _version_of(Path(sys.executable))
    assert project.installed() == EXPECTED


def _version_of(python: Path) -> str:
    return subprocess.run([python, "-V"], capture_output=True, text=True, check=True).stdout


def test_moved_project_is_set_up_again(project: Project, index: str, tmp_path: Path) -> None:
    """The scripts of its environment name the old folder."""
    python = make_python(tmp_path / "python", pip=NEWEST_PIP)
    assert project.set_up(python, index)[0] == 0
    project.folder = project.folder.rename(tmp_path / "elsewhere")
    status, said = project.set_up(python, index)
    assert status == 0, said
    assert "set up in" in said
    activate = (project.folder / ".venv" / "bin" / "activate").read_text()
    assert str(project.folder) in activate
    assert str(tmp_path / "project") not in activate
