"""Removes batches that will never be sent: those for a destination that no process uses any more."""

import logging
import re
from contextlib import suppress
from pathlib import Path

from .lock import OWNER, DirectoryLock
from .segment import SUFFIX

logger = logging.getLogger(__name__)

DESTINATION = re.compile(r"[0-9a-f]{16}")
"""The pattern of destination folder names: the beginning of a hash."""


def remove_expired(destination: Path, max_age_seconds: float, now_seconds: float) -> None:
    """Removes batches that dead processes left for other destinations, once they are too old to be sent.

    After an endpoint is renamed or a key changes, its batches may be sent neither here nor as somebody else.

    Args:
        destination: the folder that is in use; it is left alone.
        max_age_seconds: younger files are left alone.
        now_seconds: the time on the wall clock.
    """
    # The parent folder belongs to the user, who may keep other things there.
    for other in destination.parent.iterdir():
        if other != destination and DESTINATION.fullmatch(other.name) and not other.is_symlink():
            with suppress(OSError):  # it is being created or removed, or belongs to another user
                _sweep(other, max_age_seconds, now_seconds)


def _sweep(other: Path, max_age_seconds: float, now_seconds: float) -> None:
    for owner in [path for path in other.iterdir() if OWNER.fullmatch(path.name)]:
        files = list(owner.glob(f"*{SUFFIX}"))
        if any(now_seconds - file.stat().st_mtime <= max_age_seconds for file in files):
            continue
        lock = DirectoryLock.take(owner)
        if lock is None:
            continue
        removed = sum(file.stat().st_size for file in files)
        for file in files:
            file.unlink()
        lock.remove()
        if removed:
            logger.warning(
                "removed %d bytes of spans for another endpoint or other headers, older than "
                "TELEMETRY_SPOOL_MAX_AGE_SECONDS, from %s",
                removed,
                other,
            )
    with suppress(OSError):
        other.rmdir()  # unless something is left in it
