"""The user's cache of programs: each entry whole or not there at all, and one who fills it at a time."""

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
    """Where the programs lie; `XDG_CACHE_HOME` moves it."""
    return user_cache_path("fastapi-telemetry-stack")


def machine() -> str:
    """What a program is made for, as a part of its entry's name."""
    return f"{platform.system()}-{platform.machine()}".lower()


@contextmanager
def whole_or_nothing(folder: Path) -> Iterator[Path]:
    """Gives a folder to fill, which takes its place only when the block ends well."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left_over in folder.parent.glob(f".{folder.name}-*"):
        # Of a command that was killed; no other can be under way, for the cache is locked.
        shutil.rmtree(left_over, ignore_errors=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield unfinished
        unfinished.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)  # one that lacks a file
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def cache_locked(console: Console) -> Iterator[Path]:
    """The cache, with nobody else filling it; says so when it has to wait for that.

    Raises:
        StackError: it cannot be written.
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
