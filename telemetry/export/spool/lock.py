"""The ownership of a spool directory: a lock that the kernel releases however its holder ends.

Several processes share a destination. Each has an owner directory. A directory whose lock is free no longer
has an owner; the process that takes the lock sends its contents.
"""

import errno
import os
import re
import secrets
from pathlib import Path
from typing import Self

from .descriptors import close_file, is_same_file, lock_file, names_in, open_file
from .trust import is_own_folder

LOCK = "lock"
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
        """Creates and locks a new folder in `parent`.

        Raises:
            OSError: it cannot be created.
        """
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
        if not is_own_folder(folder):
            return None
        lock = cls._lock(folder, 0)
        if lock is not None or (folder / LOCK).exists():
            return lock
        try:
            folder.rmdir()  # created but never locked
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
            # Files that somebody copied here without the lock; or its owner is just creating it.
            return cls._lock(folder, os.O_CREAT)
        return None

    @classmethod
    def _lock(cls, folder: Path, flags: int) -> Self | None:
        try:
            descriptor = open_file(folder / LOCK, os.O_RDWR | flags)
        except FileNotFoundError:
            return None
        is_locked = False
        try:
            # Its owner may have removed it between opening and locking: the lock would be on nothing.
            is_locked = lock_file(descriptor) and is_same_file(folder / LOCK, descriptor)
        finally:
            if not is_locked:
                close_file(descriptor)
        return cls(folder, descriptor) if is_locked else None

    @property
    def is_there(self) -> bool:
        """Whether the folder is still the one that was locked."""
        if self._descriptor is None:
            return False
        try:
            return is_same_file(self.folder / LOCK, self._descriptor)
        except OSError:
            return False

    def release(self) -> None:
        """Releases the lock, leaving the folder to other processes."""
        if self._descriptor is not None:
            close_file(self._descriptor)
            self._descriptor = None

    def remove(self) -> None:
        """Removes the folder if it holds nothing but its lock, and releases it.

        Raises:
            OSError: it cannot be read or removed.
        """
        try:
            if names_in(self.folder) == [LOCK]:
                (self.folder / LOCK).unlink()
                self.folder.rmdir()
        finally:
            self.release()

    def forget_after_fork(self) -> None:
        """Closes a forked child's copy of the lock, which stays the parent's.

        Closing one of two descriptors keeps the lock; unlocking through either would release it.
        """
        self.release()


def is_owned(folder: Path) -> bool:
    """Returns whether a living process owns an owner directory, without taking it.

    Raises:
        OSError: it cannot be read.
    """
    try:
        descriptor = open_file(folder / LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        # Shared: several may ask at once. A process that happens to look for orphans looks again later.
        return not lock_file(descriptor, is_shared=True)
    finally:
        close_file(descriptor)
