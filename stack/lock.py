"""A lock: only one command at a time changes the stack, in either runtime."""

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout
from rich.console import Console

from stack.settings import StackSettings


@contextmanager
def locked(settings: StackSettings, console: Console) -> Iterator[bool]:
    """Locks the run folder, waiting for any other command; the kernel frees the lock if its holder dies.

    The lock is reentrant within a thread.

    Args:
        settings: the settings, which name the folder.
        console: where a wait is reported.

    Yields:
        Whether there was a wait: earlier observations may then be outdated.
    """
    folder = settings.stack_run_dir.absolute()
    # Next to the folder, which is created and removed.
    file = folder.with_name(f"{folder.name}.lock")
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file, is_singleton=True)
    has_waited = False
    try:
        lock.acquire(blocking=False)
    except Timeout:
        has_waited = True
        console.print("another command is using this stack: waiting until it ends", highlight=False)
        lock.acquire()
    try:
        yield has_waited
    finally:
        lock.release()
