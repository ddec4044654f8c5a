"""`make outage`."""

from typing import Annotated

import typer

from loadtest.folder import new_folder
from loadtest.lab import Lab
from loadtest.load.generator import PROJECT, end_on_signals
from loadtest.options import Reports, Users, console, finite
from loadtest.outage.experiment import Outage
from loadtest.outage.faults import FAULTS
from loadtest.outage.judging import judge_outage
from loadtest.outage.report import write_report
from loadtest.verdict import is_good, print_verdicts


def outage(
    *,
    fault: Annotated[str, typer.Option(envvar="FAULT", help=f"One of {', '.join(FAULTS)}.")] = "kill",
    users: Users = 20,
    rate: Annotated[
        float, typer.Option(envvar="RATE", callback=finite, min=1, help="Requests a second.")
    ] = 50.0,
    seconds: Annotated[
        float, typer.Option(envvar="SECONDS", callback=finite, min=5, help="How long the fault lasts.")
    ] = 20.0,
    reports: Reports = PROJECT / "reports",
) -> None:
    """Breaks the pipeline under load, and judges what it promises; fails when a promise was not kept."""
    if fault not in FAULTS:
        raise typer.BadParameter(f"FAULT={fault!r} is not one of {', '.join(FAULTS)}")
    end_on_signals()
    folder = new_folder(reports, f"outage-{fault}")
    run = Outage(
        Lab.open(console),
        FAULTS[fault],
        rate=rate,
        users=users,
        seconds=seconds,
        folder=folder,
        console=console,
    ).run()
    verdicts = judge_outage(run)
    page = write_report(run, verdicts, folder)
    print_verdicts(console, verdicts)
    console.print(f"report: {page}", soft_wrap=True, highlight=False)
    if not is_good(verdicts):
        raise typer.Exit(1)
