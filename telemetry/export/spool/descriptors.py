"""Descriptors of spool files: a forked child closes its copies, whatever the parent was just doing.

A lock belongs to the open file, which a fork shares. A copy that nobody closes would hold the lock of a dead
parent. The worker opens files for an instant only, but a fork by another thread may come in between.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...fork import call_around_fork, call_in_forked_child

try:
    import fcntl
except ImportError:  # Windows; opening a spool reports it
    fcntl = None  # type: ignore[assignment]

_LONGEST_HOLD_SECONDS = 1.0
"""The longest that a fork waits for a disk that hangs."""


class _Descriptors:
    """The open descriptors of all spools of this process. Thread-safe."""

    def __init__(self) -> None:
        self._reset()
        call_around_fork(before=self._hold, in_parent=self._let_go)
        call_in_forked_child(self._close_copies)

    def _reset(self) -> None:
        self._open: set[int] = set()
        self._guard = threading.RLock()
        self._forking: set[int] = set()
        """The threads that hold the guard for a fork."""

    def open(self, path: Path, flags: int, mode: int) -> int:
        with self._guard:
            descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
            self._open.add(descriptor)
        return descriptor

    def close(self, descriptor: int) -> None:
        with self._guard:
            if descriptor in self._open:  # else a fork has closed it
                self._open.remove(descriptor)
                os.close(descriptor)

    def list(self, folder: Path) -> list[str]:
        with self._guard:
            return [each.name for each in folder.iterdir()]

    def _hold(self) -> None:
        if self._guard.acquire(timeout=_LONGEST_HOLD_SECONDS):
            self._forking.add(threading.get_ident())

    def _let_go(self) -> None:
        if threading.get_ident() in self._forking:
            self._forking.remove(threading.get_ident())
            self._guard.release()

    def _close_copies(self) -> None:
        for descriptor in self._open:
            with suppress(OSError):
                os.close(descriptor)
        self._reset()


_descriptors = _Descriptors()


def open_file(path: Path, flags: int, mode: int = 0o600) -> int:
    """Opens a file, which must not be a symbolic link; the descriptor is neither inherited nor forked.

    Raises:
        OSError: it cannot be opened.
    """
    return _descriptors.open(path, flags, mode)


def close_file(descriptor: int) -> None:
    """Closes a descriptor of `open_file`; in a forked child, those of the parent are closed already."""
    _descriptors.close(descriptor)


@contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    """Opens a file for the duration of a block.

    Raises:
        OSError: it cannot be opened.
    """
    descriptor = open_file(path, flags)
    try:
        yield descriptor
    finally:
        close_file(descriptor)


def require_locks() -> None:
    """Checks that this system can lock files.

    Raises:
        OSError: it cannot.
    """
    if fcntl is None:
        raise OSError("this system has no file locks: a spool needs Linux or macOS")


def lock_file(descriptor: int, *, is_shared: bool = False) -> bool:
    """Locks an open file until it is closed, without waiting; returns False if others hold a lock on it.

    Raises:
        OSError: the file system has no locks.
    """
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_same_file(path: Path, descriptor: int) -> bool:
    """Returns whether a path still leads to an open file."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def read_file(path: Path) -> bytes:
    """Returns a file's content.

    Raises:
        OSError: it cannot be read.
    """
    with opened(path, os.O_RDONLY) as descriptor:
        content, size = bytearray(), os.fstat(descriptor).st_size
        while len(content) < size:
            part = os.pread(descriptor, size - len(content), len(content))
            if not part:
                break
            content += part
        return bytes(content)


def names_in(folder: Path) -> list[str]:
    """Returns the names in a folder, sorted.

    Raises:
        OSError: it cannot be read.
    """
    return sorted(_descriptors.list(folder))
