"""A destination's directory as one process holds it: its own owner directory and those of dead processes.

    <spool>/<destination>/destination.txt
    <spool>/<destination>/<owner>/lock, 00000001.seg, 00000002.seg, …
    <spool>/<destination>/quarantine/

`lock.py` says who owns an owner directory, `note.py` what the note is for.
"""

import os
from contextlib import suppress
from pathlib import Path

from .descriptors import names_in, require_locks
from .lock import OWNER, DirectoryLock
from .note import Destination, hold_destination
from .quarantine import Quarantine
from .segment import SUFFIX

_MOST_INHERITED = 32
"""The maximum number of dead processes' directories held at once: each holds a descriptor."""


class SpoolDirectory:
    """The directory where segments are created, found and put away. For use by one thread.

    Args:
        path: shared by all processes that send to the same destination; created if missing.
        destination: for the note in it.
    """

    def __init__(self, path: Path, destination: Destination) -> None:
        self.path = path
        self.quarantine = Quarantine(path)
        self.free_bytes = self.disk_bytes = 0
        """The free and total space of the disk when last measured."""
        self.trouble: str | None = None
        """Why the directory could not be opened, and the remedy."""
        self._destination = destination
        self._own: DirectoryLock | None = None
        self._inherited: dict[Path, tuple[DirectoryLock, set[Path]]] = {}
        """Owner directories of dead processes, by path, each with its unfinished files."""
        self._has_left_some = False
        self._number = 0

    @property
    def own(self) -> Path | None:
        """This process's owner directory; None before `open()`."""
        return None if self._own is None else self._own.folder

    @property
    def is_removed(self) -> bool:
        """Whether somebody has removed this process's owner directory."""
        return self._own is not None and not self._own.is_there

    @property
    def has_more_orphans(self) -> bool:
        """Whether the latest `take_orphans()` left some, and there is room for many more now."""
        return self._has_left_some and len(self._inherited) <= _MOST_INHERITED // 2

    def open(self) -> None:
        """Creates an owner directory for this process, or a new one if it was removed.

        Raises:
            OSError: it cannot be created, or the directory cannot be trusted.
        """
        removed, self._own = self._own, None
        if removed is not None:
            removed.release()
        require_locks()
        with hold_destination(self.path, self._destination):
            self._own = DirectoryLock.create(self.path)
        self.measure_disk()
        self.quarantine.measure()

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
        """Takes over owner directories of dead processes; returns their files, the oldest of each first.

        Raises:
            OSError: the directory cannot be read.
        """
        found: list[Path] = []
        self._has_left_some = False
        for name in names_in(self.path):
            owner = self.path / name
            if owner in self._inherited or owner == self.own or not OWNER.fullmatch(name):
                continue
            if len(self._inherited) >= _MOST_INHERITED:
                self._has_left_some = True
                break
            with suppress(OSError):  # it is being created or removed, or belongs to another user
                lock = DirectoryLock.take(owner)
                if lock is not None:
                    self._inherited[owner] = lock, set()
                    files = segment_files(owner)
                    if files:
                        self._inherited[owner][1].update(files)
                        found += files
                    else:
                        self._leave(owner)
        return found

    def finish(self, file: Path) -> None:
        """Marks a file as finished; an inherited owner directory is removed with its last file."""
        _, files = self._inherited.get(file.parent, (None, set[Path]()))
        if file in files:
            files.remove(file)
            if not files:
                self._leave(file.parent)

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

    def _leave(self, inherited: Path) -> None:
        lock, _ = self._inherited.pop(inherited)
        _remove(lock)

    def _locks(self) -> tuple[DirectoryLock, ...]:
        inherited = [lock for lock, _ in self._inherited.values()]
        return (*inherited, *([] if self._own is None else [self._own]))


def segment_files(owner: Path) -> list[Path]:
    """Returns the segments in an owner directory, the oldest first.

    Raises:
        OSError: it cannot be read.
    """
    return [owner / name for name in names_in(owner) if name.endswith(SUFFIX)]


def _remove(lock: DirectoryLock) -> None:
    with suppress(OSError):  # somebody is inspecting it, or it cannot be read
        lock.remove()
