"""A separate project to set up with `python3 -m requirements.install`, and Pythons to do it with."""

import os
import shutil
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.package_index import Wheel, make_wheel, newer_than, serve
from uv import find_uv_bin

from requirements.install import environment_of_uv, ways_to_packages

ROOT = Path(__file__).parents[2]
PINNED = {"first": "1.0", "second": "2.3", "third": "0.1"}
# Enough for the steps of the real setup, without anything to fetch for the build.
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
EXPECTED = {**PINNED, "project": "1.0"}


class Project:
    """A folder with the files that the setup needs."""

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
        """Starts the setup in a shell with more variables; without an index if none is given."""
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
        """Sets the project up; returns the exit status and the output."""
        process = self.start(python, index, path, **more)
        said, _ = process.communicate(timeout=100)
        return process.returncode, said

    def installed(self) -> dict[str, str]:
        """Returns the versions in `.venv`, by name."""
        return dict(
            path.name.removesuffix(".dist-info").split("-")
            for path in self.folder.glob(".venv/lib/*/site-packages/*.dist-info")
        )


def _pin(wheel: Wheel) -> str:
    return f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.digest}\n"


@contextmanager
def waiting_index(wheels: list[Wheel]) -> Iterator[tuple[str, threading.Event, threading.Event]]:
    """Yields the address of an index that holds its responses, and two events: asked, and released."""
    asked, answers = threading.Event(), threading.Event()

    def wait_for_leave() -> None:
        asked.set()
        answers.wait(timeout=50)

    with serve(wheels, wait_for_leave) as index:
        yield index, asked, answers


def make_python(folder: Path, *, pip: tuple[str, str] | None = None, lacks: tuple[str, ...] = ()) -> Path:
    """Makes a Python with this pip, or none, and without these modules of the standard library."""
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


def path_with_uv(folder: Path) -> str:
    """Returns a PATH with nothing but uv on it."""
    (folder / "bin").mkdir()
    (folder / "bin" / "uv").symlink_to(find_uv_bin())
    return f"{folder / 'bin'}:/nothing"
