"""Folders for a run's Unix sockets, whose paths the kernel limits to 107 bytes."""

import hashlib
import os
import tempfile
from pathlib import Path

_LONGEST_PATH = 100
_TEMPORARY = Path("/tmp")  # noqa: S108 - the name below it is of this user and this folder


def socket_folder(run_folder: Path, name: str, *, longest_file: str) -> Path:
    """Returns a folder for sockets: in the run folder, or in the temporary folder if that is too deep."""
    usual = run_folder / "sockets" / name
    if len(os.fsencode(usual / longest_file)) <= _LONGEST_PATH:
        return usual
    return _elsewhere(run_folder) / name


def socket_folders(run_folder: Path) -> tuple[Path, ...]:
    """Returns every folder that a run may have sockets in."""
    return run_folder / "sockets", _elsewhere(run_folder)


def _elsewhere(run_folder: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(run_folder)).hexdigest()[:16]
    # Not TMPDIR: the next shell may set another one.
    temporary = _TEMPORARY if os.access(_TEMPORARY, os.W_OK) else Path(tempfile.gettempdir())
    return temporary / f"stack-{os.getuid()}-{digest}"
