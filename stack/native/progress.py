"""Shows the progress and the remaining time of a long task: as a bar, or as lines without a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

SECONDS_BETWEEN_LINES = 20.0


@contextmanager
def progress_of(
    console: Console, what: str, total: float, *, seconds_between_lines: float = SECONDS_BETWEEN_LINES
) -> Iterator[Callable[[float], None]]:
    """Shows the progress of one task; call the yielded function, as often as you like, with the amount done.

    The remaining time is estimated from the pace of the last half minute, so it is rough if the pace varies.
    """
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal, speed_estimate_period=30
    ) as progress:
        progress.add_task(what, total=total)
        (task,) = progress.tasks
        printed_at = progress.get_time()

        def is_at(done: float) -> None:
            nonlocal printed_at
            progress.update(task.id, completed=min(done, total))
            if console.is_terminal or progress.get_time() - printed_at < seconds_between_lines:
                return
            printed_at = progress.get_time()
            left = task.time_remaining
            remaining = "" if left is None else f", about {left:.0f} s left"
            console.print(f"  {what}: {task.percentage:.0f} %{remaining}", highlight=False, soft_wrap=True)

        yield is_at
