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
from importlib.metadata import distribution
from pathlib import Path

import psutil
import pytest
from installing.package_index import Wheel, make_wheel, newer_than, serve
from installing.test_pins import NEWEST_PIP, OLDEST_PIP
from uv import find_uv_bin

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

    def start(self, python: Path, index: str, path: str = "/usr/bin:/bin") -> "subprocess.Popen[str]":
        """Begins to set it up."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
        variables = {
            "PATH": path,
            "PIP_INDEX_URL": index,
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_CACHE_DIR": "1",
            "UV_CACHE_DIR": str(self.folder.with_name("uv-cache")),
        }
        return subprocess.Popen(
            [python, "-m", "requirements.install"],
            cwd=self.folder,
            env={**kept, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def set_up(self, python: Path, index: str, path: str = "/usr/bin:/bin") -> tuple[int, str]:
        """Sets it up; the exit status, and what was said."""
        process = self.start(python, index, path)
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
            "--require-hashes",
            "-r",
            pin,
        ]
        subprocess.run(command, check=True)
    (packages,) = folder.glob("lib/*/site-packages")
    (packages / "lacking.pth").write_text(
        "".join(f"import sys; sys.modules[{name!r}] = None\n" for name in lacks)
    )
    return python


EXPECTED = {**PINNED, "project": "1.0"}


def test_uv_of_the_path_is_used(project: Project, index: str, tmp_path: Path) -> None:
    """Nothing else is fetched to install with."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "uv").symlink_to(find_uv_bin())
    python = make_python(tmp_path / "python", lacks=("venv",))
    status, said = project.set_up(python, index, path=f"{tmp_path / 'bin'}:/usr/bin:/bin")
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
    status, said = project.set_up(python, index, path=f"{tmp_path / 'bin'}:/usr/bin:/bin")
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
    status, said = project.set_up(own / "python", index, path=f"{own}:/usr/bin:/bin")
    assert status == 0, said
    assert project.installed() == EXPECTED


def test_two_at_once_install_once(project: Project, index: str, tmp_path: Path) -> None:
    """The second waits, says so, and finds everything done."""
    python = make_python(tmp_path / "python")
    both = [project.start(python, index) for _ in range(2)]
    said = [each.communicate(timeout=100)[0] for each in both]
    assert [each.returncode for each in both] == [0, 0], said
    assert sum("set up in" in each for each in said) == 1, said
    assert project.installed() == EXPECTED


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_anywhere_it_leaves_no_process_and_goes_on(
    number: signal.Signals, project: Project, tmp_path: Path, until: Callable[..., None]
) -> None:
    """Five times, at the answer of the index that a seeded draw names; then it is let through."""
    python = make_python(tmp_path / "python", pip=NEWEST_PIP)
    draw = random.Random(7)
    for _ in range(5):
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
        assert process.returncode == (130 if number is signal.SIGINT else 143), said
        assert "Traceback" not in said
        until(
            "its processes have ended", lambda family=family: not any(map(psutil.Process.is_running, family))
        )
        assert not (project.folder / ".venv" / ".ready").exists()
    with serve(project.wheels) as index:
        status, said = project.set_up(python, index)
    assert status == 0, said
    assert project.installed() == EXPECTED
