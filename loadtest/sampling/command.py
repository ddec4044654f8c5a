"""`make sampling`."""

from typing import Annotated

import typer

from loadtest.folder import new_folder
from loadtest.lab import Lab
from loadtest.load.generator import PROJECT, end_on_signals
from loadtest.options import Reports, Users, console, finite, numbers
from loadtest.sampling.experiment import SamplingLab
from loadtest.sampling.judging import judge_sampling
from loadtest.sampling.report import write_report
from loadtest.verdict import is_good, print_verdicts


def sampling(
    *,
    users: Users = 20,
    rate: Annotated[
        float, typer.Option(envvar="RATE", callback=finite, min=1, help="Requests a second.")
    ] = 100.0,
    seconds: Annotated[
        float, typer.Option(envvar="SECONDS", callback=finite, min=5, help="Of load, for each sampler.")
    ] = 10.0,
    ratios: Annotated[str, typer.Option(envvar="RATIOS", help="Of the head sampler.")] = "0.01,0.1,0.5,1",
    reports: Reports = PROJECT / "reports",
) -> None:
    """Measures head and tail sampling against what they promise; fails when a promise was not kept."""
    wanted = numbers("RATIOS", ratios)
    if not wanted or max(wanted) > 1:
        raise typer.BadParameter(f"RATIOS={ratios!r}: each is above 0 and at most 1")
    end_on_signals()
    folder = new_folder(reports, "sampling")
    lab = SamplingLab(
        Lab.open(console),
        rate=rate,
        users=users,
        seconds=seconds,
        ratios=sorted(wanted),
        folder=folder,
        console=console,
    )
    run = lab.run()
    verdicts = judge_sampling(run)
    page = write_report(run, verdicts, folder)
    print_verdicts(console, verdicts)
    console.print(f"report: {page}", soft_wrap=True, highlight=False)
    if not is_good(verdicts):
        raise typer.Exit(1)
