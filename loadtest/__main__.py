"""`python -m loadtest …`: the commands behind the Makefile's targets."""

import os
import sys
from importlib import import_module

import typer
from rich.markup import escape

from loadtest.options import console
from stack.errors import StackError
from stack.lenient_settings import load_settings_anyway
from stack.records import naming_the_run, recall
from stack.service_variables import API_KEY, api_key
from telemetry.errors import TelemetryError

COMMANDS = {
    "run": "loadtest.load.command",
    "ui": "loadtest.load.command",
    "outage": "loadtest.outage.command",
    "tune": "loadtest.tune.command",
    "sampling": "loadtest.sampling.command",
}
"""The module of each command."""


def commands(asked: str) -> typer.Typer:
    """Returns a CLI with the requested command only, or with all of them if it is unknown, for the help.

    Plots and statistics take a second or two to import, and a plain load run needs neither.
    """
    cli = typer.Typer(add_completion=False, no_args_is_help=True, help="Load on the demo shop.")
    # A callback makes typer expect the command's name even if there is only one command.
    cli.callback()(lambda: None)
    for name in [asked] if asked in COMMANDS else COMMANDS:
        cli.command(name)(getattr(import_module(COMMANDS[name]), name))
    return cli


def main() -> None:
    """Runs a command with the ports and the key of the stack that was started, or would be."""
    try:
        settings = load_settings_anyway(console, recall(console))
        # No other settings: those of the services have their own order of precedence.
        ports = {name: value for name, value in settings.variables().items() if name.endswith("_PORT")}
        os.environ.update({**ports, API_KEY: api_key(settings)})
        commands(sys.argv[1] if len(sys.argv) > 1 else "")()
    except (StackError, TelemetryError) as error:
        console.print(f"[bold red]failed[/] {escape(naming_the_run(str(error)))}", highlight=False)
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("interrupted")
        sys.exit(130)


if __name__ == "__main__":
    main()
