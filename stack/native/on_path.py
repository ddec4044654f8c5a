"""Finds programs that the user has installed on PATH, and accepts them if their version is suitable."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from packaging.version import InvalidVersion, Version

_LONGEST_ANSWER_SECONDS = 10.0
_VERSION = re.compile(r'version(?:"\s*:\s*"|[ ,]+)v?(\d+(?:\.\d+)+\S*?)(?=[\s",)]|$)', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class NotOnPathError(Exception):
    """There is no usable program; `why` is None if there is none at all."""

    why: str | None


def programs_on_path(names: tuple[str, ...], arguments: tuple[str, ...], version: str) -> dict[str, Path]:
    """Returns the paths of the programs, if they have the wanted minor version and no older patch of it.

    Args:
        names: the names of the programs, all of which are needed.
        arguments: the arguments with which each prints its version.
        version: the version that our configuration files were written for.

    Raises:
        NotOnPathError: one is missing, does not print its version, or has another one.
    """
    found = {name: shutil.which(name) for name in names}
    paths = {name: Path(path).absolute() for name, path in found.items() if path is not None}
    if len(paths) < len(names):
        raise NotOnPathError(None)
    wanted = Version(version)
    for name, path in paths.items():
        there = _version_of(path, arguments)
        if there is None:
            raise NotOnPathError(f"{path} does not report its version ({name} {' '.join(arguments)})")
        if there.release[:2] != wanted.release[:2] or there < wanted:
            raise NotOnPathError(f"{path} is {there}")
    return paths


def _version_of(program: Path, arguments: tuple[str, ...]) -> Version | None:
    try:
        done = subprocess.run(
            [program, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LONGEST_ANSWER_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.search((done.stdout + b"\n" + done.stderr).decode(errors="replace"))
    try:
        return Version(found[1]) if found else None
    except InvalidVersion:
        return None
