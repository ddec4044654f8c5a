"""A destination's folder as one process holds it: a part of its own, and the parts it took from the dead."""

import os
from contextlib import suppress
from pathlib import Path

from .lock import PART, DirectoryLock
from .segment import SUFFIX

_QUARANTINE = "quarantine"
_MOST_QUARANTINED = 8
"""Damaged files kept to be looked at, of all processes together."""


class SpoolDirectory:
    """Where segments are made, found and put away. For one thread.

    Args:
        path: shared by all processes that send to the same destination; made when it is absent.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.free_bytes = self.disk_bytes = 0
        """Of the disk, when it was last measured."""
        self._own: DirectoryLock | None = None
        self._inherited: list[DirectoryLock] = []
        self._number = 0

    @property
    def own(self) -> Path | None:
        """The part of this process; None before `claim()`."""
        return None if self._own is None else self._own.folder

    @property
    def is_removed(self) -> bool:
        """Whether somebody has removed this process's part."""
        return self._own is not None and not self._own.is_there

    def claim(self) -> None:
        """Makes a part of this process's own, a new one if it was removed.

        Raises:
            OSError: it cannot be made, or the folder is not to be trusted.
        """
        removed, self._own = self._own, None
        if removed is not None:
            removed.release()
        self._own = DirectoryLock.make(self.path)
        self.measure_disk()

    def next_file(self) -> Path:
        """Where the next segment is to be written.

        Raises:
            OSError: this process has no part of its own.
        """
        if self._own is None:
            raise OSError("it is not open")
        self._number += 1
        return self._own.folder / f"{self._number:08}{SUFFIX}"

    def take_orphans(self) -> list[Path]:
        """Takes the parts of dead processes; returns their segments, the oldest of each first.

        Raises:
            OSError: the folder cannot be read.
        """
        found: list[Path] = []
        held = {claim.folder for claim in self._claims()}
        for part in sorted(self.path.iterdir()):
            if part in held or not PART.fullmatch(part.name):
                continue
            with suppress(OSError):  # it is being made or removed, or belongs to another user
                claim = DirectoryLock.take(part)
                if claim is not None:
                    self._inherited.append(claim)
                    files = sorted(part.glob(f"*{SUFFIX}"))
                    found += files
                    if not files:
                        self.let_go(part)
        return found

    def quarantine(self, file: Path) -> None:
        """Keeps a damaged file to be looked at, of which a few are kept.

        Raises:
            OSError: it cannot be moved.
        """
        folder = self.path / _QUARANTINE
        folder.mkdir(mode=0o700, exist_ok=True)
        file.rename(folder / f"{file.parent.name}-{file.name}")
        kept = sorted(folder.iterdir(), key=lambda each: each.stat().st_mtime)
        for old in kept[:-_MOST_QUARANTINED]:
            old.unlink(missing_ok=True)

    def let_go(self, part: Path) -> None:
        """An inherited part is done with; this process's own stays."""
        for claim in [each for each in self._inherited if each.folder == part]:
            self._inherited.remove(claim)
            _remove(claim)

    def measure_disk(self) -> None:
        """Notes how much of the disk is free."""
        with suppress(OSError):  # it was just removed; the next look tells
            disk = os.statvfs(self.path)
            self.free_bytes = disk.f_bavail * disk.f_frsize
            self.disk_bytes = disk.f_blocks * disk.f_frsize

    def close(self) -> None:
        """Leaves everything to whoever comes next."""
        for claim in self._claims():
            _remove(claim)
        self._own = None
        self._inherited.clear()

    def forget_after_fork(self) -> None:
        """In a forked child: closes its copies of the parent's locks."""
        for claim in self._claims():
            claim.forget_after_fork()

    def _claims(self) -> tuple[DirectoryLock, ...]:
        return (*self._inherited, *([] if self._own is None else [self._own]))


def _remove(claim: DirectoryLock) -> None:
    with suppress(OSError):  # somebody looks into it, or it holds what could not be read
        claim.remove()
