"""A separate folder for each run's report, so that no run overwrites another's."""

from datetime import datetime
from pathlib import Path


def new_folder(reports: Path, name: str) -> Path:
    """Makes `reports/<name>-<local time>` and returns it."""
    stamp = f"{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    folder = reports / f"{name}-{stamp}"
    folder.mkdir(parents=True)
    return folder
