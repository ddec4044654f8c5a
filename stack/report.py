"""Prints the stack's parts and findings to the terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stack.doctor import Finding, Severity
from stack.parts import MissingPart
from stack.records import naming_the_run
from stack.runtime import PartState, PartStatus

_COLOURS = {
    PartState.UP: "green",
    PartState.UNHEALTHY: "red",
    PartState.PAUSED: "yellow",
    PartState.STOPPED: "red",
}
_SEVERITY_COLOURS = {Severity.OK: "green", Severity.WARNING: "yellow", Severity.ERROR: "red"}
_MEBIBYTE = 2**20
_WIDTH_FOR_ALL = 120


def print_parts(console: Console, parts: Sequence[PartStatus], *, with_processes: bool = False) -> None:
    """Prints a table of the parts' addresses, states and purposes, optionally with their processes."""
    table = Table(box=None, pad_edge=False)
    for heading in ("part", "address", "state"):
        table.add_column(heading, no_wrap=True)
    # With the processes, a narrow terminal has no room for it.
    has_purpose = not with_processes or console.width >= _WIDTH_FOR_ALL
    if has_purpose:
        table.add_column("what it is for")
    if with_processes:
        for heading in ("pid", "memory", "up for"):
            table.add_column(heading, justify="right")
    for status in parts:
        colour = _COLOURS[status.state]
        state = f"[{colour}]{status.state}[/]"
        row = [status.part.name, status.part.address, state, *([status.part.purpose] if has_purpose else [])]
        if with_processes:
            row += [
                "" if status.pid is None else str(status.pid),
                "" if status.memory_bytes is None else f"{status.memory_bytes / _MEBIBYTE:.0f} MiB",
                "" if status.uptime_seconds is None else _duration(status.uptime_seconds),
            ]
        table.add_row(*row)
    console.print(table)
    for status in parts:
        if status.detail:  # below the table, where it would leave no room for the rest
            console.print(f"{status.part.name}: {escape(status.detail)}", soft_wrap=True, highlight=False)


def print_findings(console: Console, findings: Sequence[Finding]) -> None:
    """Prints each finding, followed by its remedy, if any."""
    for finding in findings:
        colour = _SEVERITY_COLOURS[finding.severity]
        line = f"[{colour}]{finding.severity:<8}[/] {finding.subject}: {escape(finding.what)}"
        console.print(line, soft_wrap=True, highlight=False)
        if finding.remedy:
            remedy = escape(naming_the_run(finding.remedy))
            console.print(f"{'':<9}[bold]->[/] {remedy}", soft_wrap=True, highlight=False)


def print_missing(console: Console, missing: Sequence[MissingPart]) -> None:
    """Prints the parts that this runtime lacks, and why."""
    for part in missing:
        console.print(f"[yellow]missing[/] {part.name}: {part.why}")


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes:02} min"
        if hours
        else f"{minutes} min {seconds:02} s"
        if minutes
        else f"{seconds} s"
    )
