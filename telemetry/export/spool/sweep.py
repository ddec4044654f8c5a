"""What nobody will ever send: batches for a destination that no process uses any more."""

import logging
import re
from contextlib import suppress
from pathlib import Path

from .lock import OWNER, DirectoryLock
from .segment import SUFFIX

logger = logging.getLogger(__name__)

DESTINATION = re.compile(r"[0-9a-f]{16}")
"""What a destination's folder is called: the beginning of a hash."""


def remove_expired(destination: Path, max_age_seconds: float, now_seconds: float) -> None:
    """Removes what dead processes left beside a destination, for others, once it is too old to be sent.

    An endpoint was renamed, or a key changed: its batches may be sent neither here nor as somebody else.

    Args:
        destination: the folder that is in use; left alone.
        max_age_seconds: what is younger is left alone.
        now_seconds: on the wall clock.
    """
    # The folder that it is in is the user's, who may keep other things there.
    for other in destination.parent.iterdir():
        if other != destination and DESTINATION.fullmatch(other.name) and not other.is_symlink():
            with suppress(OSError):  # it is being made or removed, or belongs to another user
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
                "%d bytes of spans for another endpoint or other headers were older than "
                "TELEMETRY_SPOOL_MAX_AGE_SECONDS, and are removed from %s",
                removed,
                other,
            )
    with suppress(OSError):
        other.rmdir()  # unless something is left in it
