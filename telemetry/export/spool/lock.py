"""The ownership of a spool directory: a lock that the kernel releases however its holder ends.

Several processes share a destination. Each has an owner directory. A directory whose lock is free no longer
has an owner; the process that takes the lock sends its contents.
"""

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Self

try:
    import fcntl
except ImportError:  # Windows; opening a spool reports it
    fcntl = None  # type: ignore[assignment]

_LOCK = "lock"
OWNER = re.compile(r"\d+-[0-9a-f]{8}")
"""The pattern of owner directory names."""
_TRIES = 20


class DirectoryLock:
    """A folder held by its lock. For use by one thread."""

    def __init__(self, folder: Path, descriptor: int) -> None:
        self.folder = folder
        self._descriptor: int | None = descriptor

    @classmethod
    def create(cls, parent: Path) -> Self:
        """Creates and locks a new folder in `parent`, which is created if missing.

        Raises:
            OSError: it cannot be created, or `parent` cannot be trusted.
        """
        if fcntl is None:
            raise OSError("this system has no file locks: a spool needs Linux or macOS")
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if parent.stat().st_uid != os.geteuid():
            raise OSError(f"{parent} belongs to another user")
        for _ in range(_TRIES):
            folder = parent / f"{os.getpid()}-{secrets.token_hex(4)}"
            folder.mkdir(mode=0o700)
            lock = cls._lock(folder, os.O_CREAT | os.O_EXCL)
            # A process looking for orphans may have been faster and will then remove the folder.
            if lock is not None:
                return lock
        raise OSError(f"no owner directory could be created in {parent}")

    @classmethod
    def take(cls, folder: Path) -> Self | None:
        """Takes a folder whose owner is gone; returns None if it has an owner, or there is nothing to take.

        Raises:
            OSError: the folder cannot be read.
        """
        if not folder.is_dir() or folder.stat().st_uid != os.geteuid():
            return None
        lock = cls._lock(folder, 0)
        if lock is None:
            with suppress(OSError):  # created but never locked; one with a lock is not empty
                folder.rmdir()
        return lock

    @classmethod
    def _lock(cls, folder: Path, flags: int) -> Self | None:
        try:
            descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its owner may have removed it between opening and locking: the lock would be on nothing.
            if _is_same(folder / _LOCK, descriptor):
                return cls(folder, descriptor)
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(descriptor)
        return None

    @property
    def is_there(self) -> bool:
        """Whether the folder is still the one that was locked."""
        if self._descriptor is None:
            return False
        try:
            return _is_same(self.folder / _LOCK, self._descriptor)
        except OSError:
            return False

    def release(self) -> None:
        """Releases the lock, leaving the folder to other processes."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def remove(self) -> None:
        """Removes the folder if it holds nothing but its lock, and releases it.

        Raises:
            OSError: it cannot be read or removed.
        """
        try:
            if [path.name for path in self.folder.iterdir()] == [_LOCK]:
                (self.folder / _LOCK).unlink()
                self.folder.rmdir()
        finally:
            self.release()

    def forget_after_fork(self) -> None:
        """Closes a forked child's copy of the lock, which stays the parent's.

        Closing one of two descriptors keeps the lock; unlocking through either would release it.
        """
        self.release()


def _is_same(path: Path, descriptor: int) -> bool:
    return os.path.samestat(path.stat(), os.fstat(descriptor))
