"""A destination's directory as one process holds it: its own owner directory and those of dead processes.

    <spool>/<destination>/<owner>/lock, 00000001.seg, 00000002.seg, …
    <spool>/<destination>/quarantine/

`lock.py` says who owns an owner directory.
"""

import os
from contextlib import suppress
from pathlib import Path

from .lock import OWNER, DirectoryLock
from .segment import SUFFIX

_QUARANTINE = "quarantine"
_MOST_QUARANTINED = 8
"""The maximum number of damaged files kept for inspection, for all processes together."""


class SpoolDirectory:
    """The directory where segments are created, found and put away. For use by one thread.

    Args:
        path: shared by all processes that send to the same destination; created if missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.free_bytes = self.disk_bytes = 0
        """The free and total space of the disk when last measured."""
        self.trouble: str | None = None
        """Why the directory could not be opened, and the remedy."""
        self._own: DirectoryLock | None = None
        self._inherited: dict[DirectoryLock, set[Path]] = {}
        """Owner directories of dead processes, each with its unfinished files."""
        self._number = 0

    @property
    def own(self) -> Path | None:
        """This process's owner directory; None before `open()`."""
        return None if self._own is None else self._own.folder

    @property
    def is_removed(self) -> bool:
        """Whether somebody has removed this process's owner directory."""
        return self._own is not None and not self._own.is_there

    def open(self) -> None:
        """Creates an owner directory for this process, or a new one if it was removed.

        Raises:
            OSError: it cannot be created, or the directory cannot be trusted.
        """
        removed, self._own = self._own, None
        if removed is not None:
            removed.release()
        self._own = DirectoryLock.create(self.path)
        self.measure_disk()

    def next_file(self) -> Path:
        """Returns the path of the next segment.

        Raises:
            OSError: this process has no owner directory.
        """
        if self._own is None:
            raise OSError("it is not open")
        self._number += 1
        return self._own.folder / f"{self._number:08}{SUFFIX}"

    def take_orphans(self) -> list[Path]:
        """Takes over the owner directories of dead processes; returns their files, the oldest of each first.

        Raises:
            OSError: the directory cannot be read.
        """
        found: list[Path] = []
        held = {lock.folder for lock in self._locks()}
        for owner in sorted(self.path.iterdir()):
            if owner in held or not OWNER.fullmatch(owner.name):
                continue
            with suppress(OSError):  # it is being created or removed, or belongs to another user
                lock = DirectoryLock.take(owner)
                if lock is not None:
                    self._inherited[lock] = set()
                    files = sorted(owner.glob(f"*{SUFFIX}"))
                    if files:
                        self._inherited[lock].update(files)
                        found += files
                    else:
                        self._leave(lock)
        return found

    def finish(self, file: Path) -> None:
        """Marks a file as finished; an inherited owner directory is removed with its last file."""
        for lock, files in tuple(self._inherited.items()):
            if file in files:
                files.remove(file)
                if not files:
                    self._leave(lock)

    def quarantine(self, file: Path) -> None:
        """Moves a damaged file aside for inspection; only the latest few are kept.

        Raises:
            OSError: it cannot be moved.
        """
        folder = self.path / _QUARANTINE
        folder.mkdir(mode=0o700, exist_ok=True)
        file.rename(folder / f"{file.parent.name}-{file.name}")
        kept = sorted(folder.iterdir(), key=lambda each: each.stat().st_mtime)
        for old in kept[:-_MOST_QUARANTINED]:
            old.unlink(missing_ok=True)

    def measure_disk(self) -> None:
        """Measures the size and the free space of the disk."""
        with suppress(OSError):  # it was just removed, which the next check detects
            disk = os.statvfs(self.path)
            self.free_bytes = disk.f_bavail * disk.f_frsize
            self.disk_bytes = disk.f_blocks * disk.f_frsize

    def close(self) -> None:
        """Releases all locks, leaving the remaining files to the next process."""
        for lock in self._locks():
            _remove(lock)
        self._own = None
        self._inherited.clear()

    def forget_after_fork(self) -> None:
        """Closes a forked child's copies of the parent's locks."""
        for lock in self._locks():
            lock.forget_after_fork()

    def _leave(self, inherited: DirectoryLock) -> None:
        del self._inherited[inherited]
        _remove(inherited)

    def _locks(self) -> tuple[DirectoryLock, ...]:
        return (*self._inherited, *([] if self._own is None else [self._own]))


def _remove(lock: DirectoryLock) -> None:
    with suppress(OSError):  # somebody is inspecting it, or it cannot be read
        lock.remove()
