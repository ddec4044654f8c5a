"""`python -m loadtest …`: what the Makefile's targets call."""

import os
import sys
from importlib import import_module

import typer
from rich.markup import escape

from loadtest.options import console
from stack.errors import StackError
from stack.lenient_settings import load_settings_anyway
from stack.records import naming_the_run, recall
from telemetry.errors import TelemetryError

COMMANDS = {
    "run": "loadtest.load.command",
    "ui": "loadtest.load.command",
    "outage": "loadtest.outage.command",
    "tune": "loadtest.tune.command",
    "sampling": "loadtest.sampling.command",
}
"""Where each command is."""


def commands(asked: str) -> typer.Typer:
    """The command that is asked for; all of them when it is none, for the help.

    Plots and statistics take a second or two to import, and plain load needs neither.
    """
    cli = typer.Typer(add_completion=False, no_args_is_help=True, help="Load on the demo shop.")
    # A group even of one: its name is then an argument.
    cli.callback()(lambda: None)
    for name in [asked] if asked in COMMANDS else COMMANDS:
        cli.command(name)(getattr(import_module(COMMANDS[name]), name))
    return cli


def main() -> None:
    """Runs a command on the run that was started, or would be: with its ports."""
    try:
        settings = load_settings_anyway(console, recall(console))
        # No more of them: settings of the services have their own order of who wins.
        ports = {name: value for name, value in settings.variables().items() if name.endswith("_PORT")}
        os.environ.update(ports)
        commands(sys.argv[1] if len(sys.argv) > 1 else "")()
    except (StackError, TelemetryError) as error:
        console.print(f"[bold red]failed[/] {escape(naming_the_run(str(error)))}", highlight=False)
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("interrupted")
        sys.exit(130)


if __name__ == "__main__":
    main()
