"""The user's cache of programs: entries are written atomically, by one process at a time."""

import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_path
from rich.console import Console

from stack.errors import StackError


def cache_folder() -> Path:
    """Returns the cache's folder; `XDG_CACHE_HOME` moves it."""
    return user_cache_path("fastapi-telemetry-stack")


def machine() -> str:
    """Returns the system and architecture, for the name of a cache entry."""
    return f"{platform.system()}-{platform.machine()}".lower()


@contextmanager
def whole_or_nothing(folder: Path) -> Iterator[Path]:
    """Yields a temporary folder to fill; it replaces `folder` only if the block succeeds."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left_over in folder.parent.glob(f".{folder.name}-*"):
        # From a command that was killed: no other can be running, because the cache is locked.
        shutil.rmtree(left_over, ignore_errors=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield unfinished
        unfinished.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)  # an entry that lacks a file
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def cache_locked(console: Console) -> Iterator[Path]:
    """Locks the cache and yields its folder; reports if it has to wait for another build.

    Raises:
        StackError: the cache cannot be written.
    """
    cache = cache_folder()
    lock = FileLock(cache / "build.lock")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        console.print(f"another build holds {lock.lock_file}: waiting for it", soft_wrap=True)
        lock.acquire()
    except OSError as error:
        raise StackError(
            f"the cache of programs cannot be written: {error}; set XDG_CACHE_HOME to a folder that can"
        ) from error
    try:
        yield cache
    finally:
        lock.release()
