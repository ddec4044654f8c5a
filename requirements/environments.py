"""Environments beside `.venv`, each with the pins of one file; made with the uv that `.venv` holds."""

import subprocess
import sys
from pathlib import Path

from uv import find_uv_bin

from requirements.install import environment_of_uv, ways_to_packages


def fill(environment: Path, pins: Path, python: str | Path = sys.executable) -> Path:
    """Makes an environment hold exactly these pins; returns its Python.

    Args:
        environment: its folder, which is made if there is none.
        pins: a file of requirements with their hashes.
        python: the Python to make it with.

    Raises:
        subprocess.CalledProcessError: uv failed; it has printed the reason.
    """
    interpreter = environment / "bin" / "python"
    if not interpreter.exists():
        subprocess.run((find_uv_bin(), "venv", "--quiet", "--python", python, environment), check=True)
    run_pip(interpreter, "sync", *ways_to_packages(), "--require-hashes", pins)
    return interpreter


def run_pip(interpreter: Path, command: str, *words: str | Path) -> None:
    """Runs a command of `uv pip` on an environment, with pip's sources of packages."""
    into = ("--quiet", "--python", interpreter)
    subprocess.run((find_uv_bin(), "pip", command, *into, *words), env=environment_of_uv(), check=True)
