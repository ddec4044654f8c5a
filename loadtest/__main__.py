"""`python -m loadtest …`: what the Makefile's targets call."""

import os
import sys

import typer
from dotenv import dotenv_values
from rich.markup import escape

from loadtest.load.command import run, ui
from loadtest.load.generator import PROJECT
from loadtest.options import console
from loadtest.outage.command import outage
from loadtest.sampling.command import sampling
from loadtest.tune.command import tune
from stack.errors import StackError
from telemetry.errors import TelemetryError

cli = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Load on the demo shop, and what it proves."
)
for command in (run, ui, outage, tune, sampling):
    cli.command()(command)


def main() -> None:
    """Runs a command, with the ports of `.env` unless the environment has its own."""
    for name, value in dotenv_values(PROJECT / ".env").items():
        # No more of it: settings of the services have their own order of who wins.
        if name.endswith("_PORT") and value is not None:
            os.environ.setdefault(name, value)
    try:
        cli()
    except (StackError, TelemetryError) as error:
        console.print(f"[bold red]failed[/] {escape(str(error))}", highlight=False)
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("interrupted")
        sys.exit(130)


if __name__ == "__main__":
    main()
