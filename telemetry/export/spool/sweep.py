"""Batches for destinations that no process uses any more: who has some, and their removal when they are old.

After an endpoint is renamed or a key changes, they may be sent neither to the new one nor as somebody else.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .descriptors import names_in
from .directory import segment_files
from .lock import OWNER, DirectoryLock, is_owned
from .note import Destination, read_note, remove_if_empty
from .quarantine import Quarantine
from .scan import count_live_spans
from .trust import is_own_folder

logger = logging.getLogger(__name__)

DESTINATION = re.compile(r"[0-9a-f]{16}")
"""The pattern of destination folder names: the beginning of a hash."""


@dataclass(frozen=True, slots=True)
class Stranded:
    """Batches that dead processes left for a destination that no living process sends to."""

    folder: Path
    destination: Destination
    spans: int


class OtherDestinations:
    """The other destinations' folders beside the one in use. For use by one thread.

    Args:
        own: the folder that is in use; it is left alone.
    """

    def __init__(self, own: Path) -> None:
        self._own = own
        self._counted: dict[Path, tuple[tuple[int, int], int]] = {}
        """The spans in each file, with the size and time of the file that was counted."""

    def remove_expired(self, max_age_seconds: float, now_seconds: float) -> None:
        """Removes batches that dead processes left, once they are too old to be sent, and damaged files.

        Args:
            max_age_seconds: younger files are left alone.
            now_seconds: the time on the wall clock, without its jumps.
        """
        for folder in self._folders():
            with suppress(OSError):  # it is being created or removed
                for owner in _owners(folder):
                    _sweep(owner, max_age_seconds, now_seconds)
                if not _owners(folder):
                    Quarantine(folder).expire(max_age_seconds, now_seconds)
            remove_if_empty(folder)

    def find_stranded(self) -> list[Stranded]:
        """Returns what waits for destinations that no living process sends to."""
        found: list[Stranded] = []
        counted, self._counted = self._counted, {}
        for folder in self._folders():
            with suppress(OSError):  # it is being created or removed
                owners = _owners(folder)
                if not any(is_owned(owner) for owner in owners):
                    spans = sum(self._count(file, counted) for each in owners for file in segment_files(each))
                    if spans:
                        found.append(Stranded(folder, read_note(folder), spans))
        return found

    def _count(self, file: Path, counted: dict[Path, tuple[tuple[int, int], int]]) -> int:
        status = file.stat()
        key = status.st_size, status.st_mtime_ns
        known, spans = counted.get(file, (None, 0))
        if known != key:
            spans = count_live_spans(file)
        self._counted[file] = key, spans
        return spans

    def _folders(self) -> Iterator[Path]:
        # The parent folder belongs to the user, who may keep other things there.
        root = self._own.parent
        with suppress(OSError):
            for name in names_in(root):
                if DESTINATION.fullmatch(name) and root / name != self._own and is_own_folder(root / name):
                    yield root / name


def _owners(folder: Path) -> list[Path]:
    return [folder / name for name in names_in(folder) if OWNER.fullmatch(name)]


def _sweep(owner: Path, max_age_seconds: float, now_seconds: float) -> None:
    def are_expired(files: list[Path]) -> bool:
        return all(now_seconds - file.stat().st_mtime > max_age_seconds for file in files)

    if not are_expired(segment_files(owner)):
        return
    lock = DirectoryLock.take(owner)
    if lock is None:
        return
    removed = 0
    try:
        files = segment_files(owner)  # again: its owner may have written more before it died
        if are_expired(files):
            for file in files:
                removed += file.stat().st_size
                file.unlink()
    finally:
        lock.remove()  # or releases it, if files are left
    if removed:
        logger.warning(
            "removed %d bytes of spans for another endpoint or other headers, older than "
            "TELEMETRY_SPOOL_MAX_AGE_SECONDS, from %s",
            removed,
            owner.parent,
        )
