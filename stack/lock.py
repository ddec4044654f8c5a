"""One command at a time changes the stack, whichever runtime it runs in."""

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock

from stack.settings import StackSettings


@contextmanager
def locked(settings: StackSettings) -> Iterator[None]:
    """Waits for another command of the same run folder to end; freed by the kernel if that one dies."""
    folder = settings.stack_run_dir.absolute()
    # Beside the folder, which comes and goes.
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        yield
