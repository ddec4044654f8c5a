"""`python -m stack …`: what the Makefile's targets call."""

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from stack.canary import send_canary
from stack.compose.runtime import ComposeRuntime
from stack.console_page import ConsolePage
from stack.current import current_stack
from stack.doctor import Judgement, examine
from stack.errors import StackError
from stack.native.programs import ensure_programs
from stack.native.runtime import NativeRuntime
from stack.report import print_findings, print_missing, print_parts
from stack.runtime import PartState
from stack.settings import load_settings

cli = typer.Typer(add_completion=False, no_args_is_help=True, help="The reference stack.")
# Nobody folds a log: what is not a terminal gets lines as long as they are.
console = Console(width=None if sys.stdout.isatty() else 160)

PartName = Annotated[str, typer.Argument(help="A part's name, as `make status` shows it.")]


@cli.command()
def up() -> None:
    """Starts the stack and proves that it works."""
    settings, runtime, reason = current_stack(console, to_start=True)
    console.print(f"runtime: {runtime.kind} ({reason})", soft_wrap=True, highlight=False)
    page = ConsolePage(settings, runtime.kind)
    page.check_port()  # before anything is started, like the others
    runtime.up()
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
    """Builds the programs that the cache lacks, as `up` would."""
    for name, path in ensure_programs(load_settings(), console).items():
        console.print(f"{name}: {path}")


@cli.command()
def down() -> None:
    """Stops the stack; its data stays."""
    settings, runtime, _ = current_stack(console)
    ConsolePage(settings, runtime.kind).stop()
    runtime.down()
    console.print(f"the stack ({runtime.kind}) is down; its data stays until `make clean`")


@cli.command()
def clean() -> None:
    """Stops the stack in every runtime and removes its data."""
    settings = load_settings()
    for folder in ConsolePage(settings, "").clean():
        console.print(f"removed folder {folder}", soft_wrap=True, highlight=False)
    for runtime in (ComposeRuntime(settings, console), NativeRuntime(settings, console)):
        for removed in runtime.clean():
            console.print(f"removed {removed}", soft_wrap=True, highlight=False)


@cli.command()
def status() -> None:
    """Shows every part, with its process; fails when one is not up."""
    settings, runtime, reason = current_stack(console)
    console.print(f"runtime: {runtime.kind} ({reason})", soft_wrap=True, highlight=False)
    parts = [*runtime.status(), ConsolePage(settings, runtime.kind).status()]
    print_parts(console, parts, with_processes=True)
    print_missing(console, runtime.missing)
    if any(part.state is not PartState.UP for part in parts):
        raise typer.Exit(1)


@cli.command()
def doctor() -> None:
    """Says what is up, what is not, why, and what to do; fails when something is ill."""
    settings, runtime, reason = current_stack(console)
    findings = examine(settings, runtime, reason, ConsolePage(settings, runtime.kind))
    print_findings(console, findings)
    if any(finding.judgement is Judgement.ILL for finding in findings):
        raise typer.Exit(1)


@cli.command()
def logs(
    name: PartName,
    *,
    lines: Annotated[int, typer.Option(min=1, help="How many lines.")] = 50,
    follow: Annotated[bool, typer.Option(help="Go on until Ctrl-C.")] = False,
) -> None:
    """Shows a part's log."""
    settings, runtime, _ = current_stack(console)
    page = ConsolePage(settings, runtime.kind)
    is_page = name == page.part.name
    for line in page.logs(lines) if is_page else runtime.logs(name, lines=lines, follow=follow):
        print(line)  # noqa: T201 - a log is shown as it is, without markup


@cli.command()
def kill(name: PartName) -> None:
    """Ends a part at once (SIGKILL); it stays dead until started."""
    current_stack(console)[1].kill(name)
    console.print(f"the {name} is dead; `make start PART={name}` brings it back")


@cli.command()
def pause(name: PartName) -> None:
    """Freezes a part (SIGSTOP)."""
    current_stack(console)[1].pause(name)
    console.print(f"the {name} is frozen; `make resume PART={name}` goes on")


@cli.command()
def resume(name: PartName) -> None:
    """Lets a frozen part go on."""
    current_stack(console)[1].resume(name)
    console.print(f"the {name} goes on")


@cli.command()
def start(name: PartName) -> None:
    """Starts a part and waits until it is well."""
    current_stack(console)[1].start(name)
    console.print(f"the {name} is up")


def main() -> None:
    """Runs a command; what went wrong is told in words, with exit status 1."""
    try:
        cli()
    except StackError as error:
        console.print(f"[bold red]failed[/] {escape(str(error))}", highlight=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
