"""Which uv `python3 -m requirements.install` uses, in a project of its own."""

import sys
from pathlib import Path

import pytest
from support.pips import NEWEST_PIP, OLDEST_PIP
from support.project_to_set_up import EXPECTED, Project, make_python, path_with_uv


def test_uv_of_the_path_is_used(project: Project, index: str, tmp_path: Path) -> None:
    """No other uv is fetched."""
    python = make_python(tmp_path / "python", lacks=("venv",))
    status, said = project.set_up(python, index, path_with_uv(tmp_path))
    assert status == 0, said
    assert project.installed() == EXPECTED
    assert not (project.folder / ".uv").exists()


@pytest.mark.parametrize(
    "pip",
    [
        pytest.param(OLDEST_PIP.get(sys.version_info[:2], NEWEST_PIP), id="oldest pip"),
        pytest.param(NEWEST_PIP, id="newest pip"),
        pytest.param(None, id="ensurepip"),
    ],
)
def test_uv_is_fetched_by_any_pip(
    pip: tuple[str, str] | None, project: Project, index: str, tmp_path: Path
) -> None:
    """The pinned uv installs exactly the pins, though everything has a newer release."""
    python = make_python(tmp_path / "python", pip=pip)
    status, said = project.set_up(python, index)
    assert status == 0, said
    assert project.installed() == EXPECTED
    assert project.set_up(python, index) == (0, ""), "a second time there is nothing to do"


def test_what_to_install_is_said_where_nothing_can_fetch_uv(
    project: Project, index: str, tmp_path: Path
) -> None:
    """On Debian without python3-venv, the message names the package to install."""
    python = make_python(tmp_path / "python", lacks=("venv", "ensurepip"))
    status, said = project.set_up(python, index)
    assert status == 1
    assert "apt install python3-venv" in said
    assert not (project.folder / ".venv").exists()


def test_old_or_broken_uv_of_the_path_is_passed_over(project: Project, index: str, tmp_path: Path) -> None:
    """The pinned uv is fetched instead."""
    (tmp_path / "bin").mkdir()
    old = tmp_path / "bin" / "uv"
    old.write_text("#!/bin/sh\necho 'uv 0.1.2'\n")
    old.chmod(0o755)
    python = make_python(tmp_path / "python")
    status, said = project.set_up(python, index, path=f"{tmp_path / 'bin'}:/nothing")
    assert status == 0, said
    assert project.installed() == EXPECTED


def test_uv_that_does_not_run_is_fetched_again(project: Project, index: str, tmp_path: Path) -> None:
    """A copied folder may have lost its execute permissions."""
    python = make_python(tmp_path / "python", pip=NEWEST_PIP)
    assert project.set_up(python, index)[0] == 0
    (program,) = project.folder.glob(".uv/*/bin/uv")
    program.chmod(0o644)
    (project.folder / ".venv" / ".ready").unlink()
    status, said = project.set_up(python, index)
    assert status == 0, said
    assert project.installed() == EXPECTED
