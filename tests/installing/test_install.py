"""`python3 -m requirements.install` in a project of its own, from an index on this machine."""

import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path

import psutil
import pytest
from installing.test_pins import NEWEST_PIP, OLDEST_PIP
from support.package_index import Wheel, make_wheel, newer_than, serve
from uv import find_uv_bin

from requirements.install import environment_of_uv, ways_to_packages

ROOT = Path(__file__).parents[2]
PINNED = {"first": "1.0", "second": "2.3", "third": "0.1"}
# Of the same names and build backend as the real one's steps ask for, with nothing to fetch.
PYPROJECT = """
    [build-system]
    requires = []
    build-backend = "backend"
    backend-path = ["."]

    [project]
    name = "project"
    version = "1.0"
"""
BACKEND = """
    import pathlib, zipfile

    def build_editable(folder, config_settings=None, metadata_directory=None):
        name = "project-1.0-py3-none-any.whl"
        with zipfile.ZipFile(pathlib.Path(folder, name), "w") as wheel:
            info = "project-1.0.dist-info"
            wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: project\\nVersion: 1.0\\n")
            tag = "Root-Is-Purelib: true\\nTag: py3-none-any\\n"
            wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\\n{tag}")
            wheel.writestr(f"{info}/RECORD", "")
        return name

    def build_wheel(folder, config_settings=None, metadata_directory=None):
        raise NotImplementedError
"""


@pytest.fixture(scope="session")
def wheel_of_uv() -> Wheel:
    """The installed uv, packed again: what an index offers."""
    installed = distribution("uv")
    program = f"uv-{installed.version}.data/scripts/uv"
    return make_wheel("uv", installed.version, files={program: Path(find_uv_bin()).read_bytes()})


class Project:
    """A folder with what the set-up is made from."""

    def __init__(self, folder: Path, wheel_of_uv: Wheel) -> None:
        self.folder = folder
        pins = [make_wheel(name, version, files={f"{name}.py": b""}) for name, version in PINNED.items()]
        self.wheels = [*pins, *map(newer_than, pins), wheel_of_uv, newer_than(wheel_of_uv)]
        requirements = folder / "requirements"
        requirements.mkdir(parents=True)
        shutil.copy(ROOT / "requirements" / "install.py", requirements)
        (requirements / "dev.txt").write_text("".join(map(_pin, pins)))
        (requirements / "uv.txt").write_text(_pin(wheel_of_uv))
        (folder / "pyproject.toml").write_text(textwrap.dedent(PYPROJECT))
        (folder / "backend.py").write_text(textwrap.dedent(BACKEND))

    def start(self, python: Path, index: str, path: str = "/nothing", **more: str) -> "subprocess.Popen[str]":
        """Begins to set it up, in a shell with more variables; without an index where none is given."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
        variables = {
            "PATH": path,
            **({"PIP_INDEX_URL": index} if index else {}),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_CACHE_DIR": "1",
            "UV_CACHE_DIR": str(self.folder.with_name("uv-cache")),
            **more,
        }
        return subprocess.Popen(
            [python, "-m", "requirements.install"],
            cwd=self.folder,
            env={**kept, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def set_up(self, python: Path, index: str, path: str = "/nothing", **more: str) -> tuple[int, str]:
        """Sets it up; the exit status, and what was said."""
        process = self.start(python, index, path, **more)
        said, _ = process.communicate(timeout=100)
        return process.returncode, said

    def installed(self) -> dict[str, str]:
        """What `.venv` holds, by name."""
        return dict(
            path.name.removesuffix(".dist-info").split("-")
            for path in self.folder.glob(".venv/lib/*/site-packages/*.dist-info")
        )


def _pin(wheel: Wheel) -> str:
    return f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.digest}\n"


@pytest.fixture
def project(tmp_path: Path, wheel_of_uv: Wheel) -> Project:
    """A project that was never set up."""
    return Project(tmp_path / "project", wheel_of_uv)


@pytest.fixture
def index(project: Project) -> Iterator[str]:
    """Offers what it pins, and what is newer."""
    with serve(project.wheels) as address:
        yield address


@contextmanager
def waiting_index(wheels: list[Wheel]) -> Iterator[tuple[str, threading.Event, threading.Event]]:
    """An index that answers nobody until it may: its address, whether it was asked, the leave to answer."""
    asked, answers = threading.Event(), threading.Event()

    def wait_for_leave() -> None:
        asked.set()
        answers.wait(timeout=50)

    with serve(wheels, wait_for_leave) as index:
        yield index, asked, answers


def make_python(folder: Path, *, pip: tuple[str, str] | None = None, lacks: tuple[str, ...] = ()) -> Path:
    """A Python with this pip, or none, and without these modules of the standard library."""
    subprocess.run([find_uv_bin(), "venv", "--quiet", "--python", sys.executable, folder], check=True)
    python = folder / "bin" / "python"
    if pip is not None:
        pin = folder / "pip.txt"
        pin.write_text("pip=={} --hash=sha256:{}\n".format(*pip))
        command = [
            find_uv_bin(),
            "pip",
            "install",
            "--quiet",
            "--python",
            python,
            *ways_to_packages(),
            "--require-hashes",
            "-r",
            pin,
        ]
        subprocess.run(command, env=environment_of_uv(), check=True)
    (packages,) = folder.glob("lib/*/site-packages")
    (packages / "lacking.pth").write_text(
        "".join(f"import sys; sys.modules[{name!r}] = None\n" for name in lacks)
    )
    return python


EXPECTED = {**PINNED, "project": "1.0"}


def test_uv_of_the_path_is_used(project: Project, index: str, tmp_path: Path) -> None:
    """Nothing else is fetched to install with."""
    python = make_python(tmp_path / "python", lacks=("venv",))
    status, said = project.set_up(python, index, _path_with_uv(tmp_path))
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
def test_uv_is_fetched_by_whichever_pip_there_is(
    pip: tuple[str, str] | None, project: Project, index: str, tmp_path: Path
) -> None:
    """The pinned one, and with it exactly what is pinned, though everything has a newer release."""
    python = make_python(tmp_path / "python", pip=pip)
    status, said = project.set_up(python, index)
    assert status == 0, said
    assert project.installed() == EXPECTED
    assert project.set_up(python, index) == (0, ""), "a second time there is nothing to do"


def test_what_to_install_is_said_where_nothing_can_fetch_uv(
    project: Project, index: str, tmp_path: Path
) -> None:
    """As on a Debian without python3-venv."""
    python = make_python(tmp_path / "python", lacks=("venv", "ensurepip"))
    status, said = project.set_up(python, index)
    assert status == 1
    assert "apt install python3-venv" in said
    assert not (project.folder / ".venv").exists()


def test_old_or_broken_uv_of_the_path_is_passed_over(project: Project, index: str, tmp_path: Path) -> None:
    """The pinned one is fetched instead."""
    (tmp_path / "bin").mkdir()
    old = tmp_path / "bin" / "uv"
    old.write_text("#!/bin/sh\necho 'uv 0.1.2'\n")
    old.chmod(0o755)
    python = make_python(tmp_path / "python")
    status, said = project.set_up(python, index, path=f"{tmp_path / 'bin'}:/nothing")
    assert status == 0, said
    assert project.installed() == EXPECTED


def test_failure_is_told_and_the_next_one_goes_on(project: Project, index: str, tmp_path: Path) -> None:
    """A network that is not there, then one that is."""
    python = make_python(tmp_path / "python", pip=NEWEST_PIP)
    status, said = project.set_up(python, "http://127.0.0.1:9/simple")
    assert status == 1
    assert "Mend the network" in said
    assert "Traceback" not in said
    status, said = project.set_up(python, index)
    assert status == 0, said
    assert project.installed() == EXPECTED


def test_changed_pins_are_installed_in_place(project: Project, index: str, tmp_path: Path) -> None:
    """What is no longer pinned goes; the environment itself stays."""
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
    """Its own Python and uv come first on the path, and go with it."""
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
    """A file of pins that an editor saves while an index is slow to answer."""
    python = make_python(tmp_path / "python", pip=NEWEST_PIP)
    pins = project.folder / "requirements" / "dev.txt"
    both = pins.read_text().splitlines(keepends=True)
    pins.write_text(both[0])
    path = _path_with_uv(tmp_path)
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


def _path_with_uv(folder: Path) -> str:
    (folder / "bin").mkdir()
    (folder / "bin" / "uv").symlink_to(find_uv_bin())
    return f"{folder / 'bin'}:/nothing"


def _save(file: Path, content: str) -> float:
    file.write_text(content)
    return file.stat().st_mtime


def test_finished_environment_whose_python_is_gone_is_made_again(
    project: Project, index: str, tmp_path: Path
) -> None:
    """As after an upgrade of the system's Python."""
    python = make_python(tmp_path / "python", pip=NEWEST_PIP)
    assert project.set_up(python, index)[0] == 0
    own = project.folder / ".venv" / "bin" / "python"
    own.unlink()
    own.symlink_to("/nowhere/python")
    status, said = project.set_up(python, index)
    assert status == 0, said
    assert _version_of(own) == _version_of(Path(sys.executable))
    assert project.installed() == EXPECTED


def test_moved_project_is_set_up_again(project: Project, index: str, tmp_path: Path) -> None:
    """The scripts of its environment named the old folder."""
    python = make_python(tmp_path / "python", pip=NEWEST_PIP)
    assert project.set_up(python, index)[0] == 0
    project.folder = project.folder.rename(tmp_path / "elsewhere")
    status, said = project.set_up(python, index)
    assert status == 0, said
    assert "set up in" in said
    activate = (project.folder / ".venv" / "bin" / "activate").read_text()
    assert str(project.folder) in activate
    assert str(tmp_path / "project") not in activate


def test_uv_that_does_not_run_is_fetched_again(project: Project, index: str, tmp_path: Path) -> None:
    """A folder copied without the right to run what is in it."""
    python = make_python(tmp_path / "python", pip=NEWEST_PIP)
    assert project.set_up(python, index)[0] == 0
    (program,) = project.folder.glob(".uv/*/bin/uv")
    program.chmod(0o644)
    (project.folder / ".venv" / ".ready").unlink()
    status, said = project.set_up(python, index)
    assert status == 0, said
    assert project.installed() == EXPECTED


def _version_of(python: Path) -> str:
    return subprocess.run([python, "-V"], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("places", ["indexes", "folders"])
def test_all_places_that_pip_was_told_are_asked(
    places: str, project: Project, wheel_of_uv: Wheel, tmp_path: Path
) -> None:
    """Several further indexes, of which the first offers other versions only; or folders and no index."""
    python = make_python(tmp_path / "python", pip=NEWEST_PIP)
    config = tmp_path / "pip.conf"
    if places == "folders":
        folders = [tmp_path / "wheels-1", tmp_path / "wheels-2"]
        for position, wheel in enumerate(project.wheels):
            folders[position % 2].mkdir(exist_ok=True)
            (folders[position % 2] / wheel.file_name).write_bytes(wheel.content)
        lines = "".join(f"    {folder}\n" for folder in folders)
        config.write_text(f"[global]\nno-index = true\nfind-links =\n{lines}")
        status, said = project.set_up(python, "", PIP_CONFIG_FILE=str(config))
    else:
        newer = [wheel for wheel in project.wheels if wheel.version not in PINNED.values()]
        first, *others = [wheel for wheel in project.wheels if wheel.version in PINNED.values()]
        with (
            serve([*newer, wheel_of_uv]) as main,
            serve([newer_than(first), first]) as one,
            serve(others) as another,
        ):
            config.write_text(
                f"[global]\nindex-url = {main}\nextra-index-url =\n    {one}\n    {another}\n"
                "trusted-host =\n    127.0.0.1\n    localhost\n"
            )
            status, said = project.set_up(python, "", PIP_CONFIG_FILE=str(config))
    assert status == 0, said
    assert project.installed() == EXPECTED


def test_variables_of_other_projects_change_nothing(project: Project, index: str, tmp_path: Path) -> None:
    """Pip's and uv's settings of the shell, but for those that say where packages come from."""
    python = make_python(tmp_path / "python", pip=NEWEST_PIP)
    constraint = tmp_path / "constraint.txt"
    constraint.write_text("first==0.1\n")
    elsewhere = str(tmp_path / "elsewhere")
    status, said = project.set_up(
        python,
        index,
        PIP_USER="1",
        PIP_REQUIRE_VIRTUALENV="1",
        PIP_TARGET=elsewhere,
        PIP_PREFIX=elsewhere,
        PIP_CONSTRAINT=str(constraint),
        PIP_NO_BINARY=":all:",
        UV_CONSTRAINT=str(constraint),
        UV_OVERRIDE=str(constraint),
        UV_TARGET=elsewhere,
        UV_NO_BINARY="1",
        UV_EXCLUDE_NEWER="2001-01-01",
        UV_SYSTEM_PYTHON="1",
        UV_DRY_RUN="1",
        UV_PROJECT="/nowhere",
        UV_WORKING_DIR="/nowhere",
        VIRTUAL_ENV=elsewhere,
        PYTHONPATH=elsewhere,
    )
    assert status == 0, said
    assert project.installed() == EXPECTED
    assert not Path(elsewhere).exists()


def test_two_at_once_install_once(project: Project, index: str, tmp_path: Path) -> None:
    """The second waits, says so, and finds everything done."""
    python = make_python(tmp_path / "python")
    both = [project.start(python, index) for _ in range(2)]
    said = [each.communicate(timeout=100)[0] for each in both]
    assert [each.returncode for each in both] == [0, 0], said
    assert sum("set up in" in each for each in said) == 1, said
    assert project.installed() == EXPECTED


def test_next_one_waits_for_what_a_killed_one_left_running(
    project: Project, tmp_path: Path, until: Callable[..., None]
) -> None:
    """Nothing can end its children then: while they write, nobody else does."""
    python, path = make_python(tmp_path / "python"), _path_with_uv(tmp_path)
    with waiting_index(project.wheels) as (index, asked, answers):
        process = project.start(python, index, path)
        assert asked.wait(timeout=50)
        left = psutil.Process(process.pid).children(recursive=True)
        assert [each.name() for each in left] == ["uv"]
        process.kill()
        process.wait(timeout=50)
        following = project.start(python, index, path)
        assert following.stdout is not None
        assert "waiting for it" in following.stdout.readline()
        assert all(map(psutil.Process.is_running, left))
        answers.set()
        said, _ = following.communicate(timeout=100)
        process.communicate(timeout=50)
    assert following.returncode == 0, said
    assert project.installed() == EXPECTED
    until("its processes have ended", lambda: not any(map(psutil.Process.is_running, left)))


@pytest.fixture
def hears_hangups() -> Iterator[None]:
    """Children hear of a closed terminal, though the tests may run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hears_hangups")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_anywhere_it_leaves_no_process_and_goes_on(
    number: signal.Signals, project: Project, tmp_path: Path, until: Callable[..., None]
) -> None:
    """Four times, at the answer of the index that a seeded draw names; then it is let through."""
    python = make_python(tmp_path / "python", pip=NEWEST_PIP)
    draw = random.Random(number)
    for _ in range(4):
        asked, answers = threading.Semaphore(0), threading.Semaphore(0)

        def wait_for_leave(
            asked: threading.Semaphore = asked, answers: threading.Semaphore = answers
        ) -> None:
            asked.release()
            answers.acquire(timeout=50)

        with serve(project.wheels, wait_for_leave) as index:
            process = project.start(python, index)
            for _ in range(draw.randrange(4)):
                assert asked.acquire(timeout=50)
                answers.release()
            assert asked.acquire(timeout=50)
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            process.send_signal(number)
            said, _ = process.communicate(timeout=50)
            answers.release(10)
        assert process.returncode == 128 + number, said
        assert "Traceback" not in said
        until(
            "its processes have ended", lambda family=family: not any(map(psutil.Process.is_running, family))
        )
        assert not (project.folder / ".venv" / ".ready").exists()
    with serve(project.wheels) as index:
        status, said = project.set_up(python, index)
    assert status == 0, said
    assert project.installed() == EXPECTED
