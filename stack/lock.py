"""One command at a time changes the stack, whichever runtime it runs in."""

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout
from rich.console import Console

from stack.settings import StackSettings


@contextmanager
def locked(settings: StackSettings, console: Console) -> Iterator[bool]:
    """Waits for another command of the same run folder to end; freed by the kernel if that one dies.

    Within a thread that holds it already it can be taken again.

    Args:
        settings: name the folder.
        console: is told when there is something to wait for.

    Yields:
        Whether another command was waited for: what it found before may be different now.
    """
    folder = settings.stack_run_dir.absolute()
    # Beside the folder, which comes and goes.
    file = folder.with_name(f"{folder.name}.lock")
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file, is_singleton=True)
    has_waited = False
    try:
        lock.acquire(blocking=False)
    except Timeout:
        has_waited = True
        console.print("another command is at work on this stack: waiting for its end", highlight=False)
        lock.acquire()
    try:
        yield has_waited
    finally:
        lock.release()
