"""The commands of `python -m stack`."""

import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Protocol

import typer
from rich.console import Console
from rich.markup import escape

from stack.canary import send_canary
from stack.console_page import ConsolePage
from stack.current import current_stack, runtimes_of
from stack.doctor import Severity, examine
from stack.errors import StackError
from stack.interruption import Interrupted, raise_on_signals, undone_when_interrupted
from stack.lenient_settings import load_settings_anyway
from stack.lock import locked
from stack.native.programs import ensure_programs
from stack.native.releases import RECORDS, ReleaseError, fetch, sha256_of
from stack.parts import toxiproxy_part
from stack.records import (
    all_records,
    environment_of_run,
    forget_all,
    is_run_named,
    moved_runs,
    naming_the_run,
    recall,
    record_of,
)
from stack.report import print_findings, print_missing, print_parts
from stack.runtime import PartState, Runtime
from stack.settings import StackSettings, load_settings

cli = typer.Typer(add_completion=False, no_args_is_help=True, help="The reference stack.")
# Lines in a log should not be wrapped: output that is not a terminal gets a large fixed width.
console = Console(width=None if sys.stdout.isatty() else 160)

PartName = Annotated[str, typer.Argument(help="A part's name, as `make status` shows it.")]


class _Parts(Protocol):
    """Actions on a part by its name, for parts of the runtime and of the console's own supervisor."""

    def kill(self, name: str) -> bool: ...
    def pause(self, name: str) -> bool: ...
    def resume(self, name: str) -> bool: ...
    def start(self, name: str) -> bool: ...


def _started_stack() -> tuple[StackSettings, Runtime, str]:
    """Finds the requested run even if this shell has malformed variables; see `current_stack`."""
    return current_stack(console, settings=load_settings_anyway(console, recall(console)))


@cli.command()
def up() -> None:
    """Starts the stack and proves that it works."""
    settings, runtime, reason = current_stack(console, to_start=True)
    console.print(f"runtime: {runtime.kind} ({reason})", soft_wrap=True, highlight=False)
    page = ConsolePage(settings, runtime.kind, console)
    record = record_of(settings)
    with locked(settings, console):
        undo_record = record.as_it_is()
        with undone_when_interrupted(console, undo_record, runtime.as_it_is(), page.as_it_is()):
            page.check_port()  # before anything is started, as for the other ports
            try:
                runtime.up(record.keep)
            except StackError:
                if not runtime.is_up():
                    undo_record()
                raise
            with console.status("sending a canary order and reading its trace and metrics back"):
                canary = send_canary(settings)
            console.print(
                f"canary: an order went through both services; its trace {canary} is in Jaeger, "
                "with spans of both, and Prometheus counted it"
            )
            page.start()
    parts = [*runtime.status(), page.status()]
    print_parts(console, parts)
    print_missing(console, runtime.missing)
    if any(part.state is not PartState.UP for part in parts):
        raise typer.Exit(1)


@cli.command()
def build() -> None:
    """Gets the programs that `up` would need, as it would."""
    programs = ensure_programs(load_settings(), console)
    for name, path in programs.paths.items():
        console.print(f"{name}: {path}", soft_wrap=True, highlight=False)
    print_missing(console, programs.missing)


@cli.command()
def checksum(
    address: Annotated[str, typer.Argument(help="A release archive's address, as its publisher names it.")],
) -> None:
    """Records a release archive: downloads it, and adds its checksum to those that are taken."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "archive")
        try:
            fetch(address, file, address, console)
        except ReleaseError as error:
            raise StackError(str(error)) from error
        line = f"{sha256_of(file)}  {address}"
    others = [each for each in RECORDS.read_text().splitlines() if each.split()[-1:] != [address]]
    RECORDS.write_text("\n".join([*others, line]) + "\n")
    console.print(
        f"{line}\nrecorded in {RECORDS.name}: compare it with what the publisher says",
        soft_wrap=True,
        highlight=False,
    )


@cli.command()
def down() -> None:
    """Stops the stack; its data stays."""
    settings, runtime, _ = _started_stack()
    runtime.down()
    console.print(f"the stack ({runtime.kind}) is down; its data stays until `make clean`")
    others = [each.kind for each in runtimes_of(settings, console) if each.is_up()]
    if others:
        console.print(f"it is still up in the {others[0]} runtime: `make down RUNTIME={others[0]}` stops it")
        return
    ConsolePage(settings, runtime.kind, console).stop()
    record_of(settings).forget()


@cli.command()
def clean() -> None:
    """Stops a run in every runtime and removes its data: the one that is named, else every one."""
    if is_run_named():
        recall(console)
    else:
        for record in all_records(console):
            with environment_of_run(record.variables):
                _clean()
        forget_all()
        for offset in moved_runs():
            with environment_of_run({"PORT_OFFSET": offset}):
                _clean()
    _clean()


def _clean() -> None:
    settings = load_settings_anyway(console)
    for folder in ConsolePage(settings, "", console).clean():
        console.print(f"removed folder {folder}", soft_wrap=True, highlight=False)
    for runtime in runtimes_of(settings, console):
        for removed in runtime.clean():
            console.print(f"removed {removed}", soft_wrap=True, highlight=False)
    record_of(settings).forget()


@cli.command()
def status() -> None:
    """Shows every part, with its process; fails when one is not up."""
    settings, runtime, reason = _started_stack()
    console.print(f"runtime: {runtime.kind} ({reason})", soft_wrap=True, highlight=False)
    parts = [*runtime.status(), ConsolePage(settings, runtime.kind, console).status()]
    print_parts(console, parts, with_processes=True)
    print_missing(console, runtime.missing)
    if any(part.state is not PartState.UP for part in parts):
        raise typer.Exit(1)


@cli.command()
def doctor() -> None:
    """Says what is up, what is not, why, and what to do; fails on an error."""
    settings, runtime, reason = _started_stack()
    findings = examine(settings, runtime, reason, ConsolePage(settings, runtime.kind, console))
    print_findings(console, findings)
    if any(finding.severity is Severity.ERROR for finding in findings):
        raise typer.Exit(1)


@cli.command()
def logs(
    name: PartName,
    *,
    lines: Annotated[int, typer.Option(min=1, help="How many lines.")] = 50,
    follow: Annotated[bool, typer.Option(help="Go on until Ctrl-C.")] = False,
) -> None:
    """Shows a part's log."""
    settings, runtime, _ = _started_stack()
    page = ConsolePage(settings, runtime.kind, console)
    _check_name(name, settings, runtime, page)
    owner = page.processes if name == page.part.name else runtime
    for line in owner.logs(name, lines=lines, follow=follow):
        print(line)  # noqa: T201 - a log is shown as it is, without markup


@cli.command()
def kill(name: PartName) -> None:
    """Ends a part at once (SIGKILL); it stays dead until started."""
    _act(
        name,
        lambda parts: parts.kill(name),
        "is dead",
        "was dead already",
        f"`make start PART={name}` brings it back",
    )


@cli.command()
def pause(name: PartName) -> None:
    """Freezes a part (SIGSTOP)."""
    _act(
        name,
        lambda parts: parts.pause(name),
        "is frozen",
        "was frozen already",
        f"`make resume PART={name}` goes on",
    )


@cli.command()
def resume(name: PartName) -> None:
    """Lets a frozen part go on."""
    _act(name, lambda parts: parts.resume(name), "goes on", "was not frozen: there was nothing to do")


@cli.command()
def start(name: PartName) -> None:
    """Starts a part and waits until it is well."""
    _act(name, lambda parts: parts.start(name), "is up", "was up already: there was nothing to do")


def _act(name: str, act: Callable[[_Parts], bool], done: str, nothing: str, then: str = "") -> None:
    """Acts on a part and reports what was done, or that there was nothing to do."""
    settings, runtime, _ = _started_stack()
    page = ConsolePage(settings, runtime.kind, console)
    _check_name(name, settings, runtime, page)
    has_acted = act(page.processes if name == page.part.name else runtime)
    console.print(naming_the_run(f"the {name} {done if has_acted else nothing}{'; ' if then else ''}{then}"))


def _check_name(name: str, settings: StackSettings, runtime: Runtime, page: ConsolePage) -> None:
    known = [*runtime.endpoints, page.part.name]
    if name not in (*known, toxiproxy_part(settings).name):
        lacking = next((f": it is missing, {part.why}" for part in runtime.missing if part.name == name), "")
        raise StackError(f"there is no part {name!r}{lacking}; PART is one of {', '.join(known)}")


def main() -> None:
    """Runs a command; a `StackError` is printed as a message, with exit status 1."""
    raise_on_signals()
    try:
        cli()
    except StackError as error:
        console.print(
            f"[bold red]failed[/] {escape(naming_the_run(str(error)))}", highlight=False, soft_wrap=True
        )
        sys.exit(1)
    except Interrupted as interrupted:
        sys.exit(interrupted.exit_status)
