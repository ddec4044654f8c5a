"""`make tune`."""

import time
from typing import Annotated

import typer
from rich.markup import escape

from loadtest.folder import new_folder
from loadtest.lab import Lab
from loadtest.load.generator import PROJECT, end_on_signals
from loadtest.options import (
    Reports,
    Users,
    console,
    duration_seconds,
    finite,
    numbers,
    whole_numbers,
    words,
)
from loadtest.tune.analysis import analyse
from loadtest.tune.plan import (
    FULL_GRID,
    OTHER_CORES,
    QUICK_GRID,
    REPEATS,
    WARM_UP_SECONDS,
    Cell,
    Journal,
    Plan,
    code_digest,
    plan_grid,
    seconds_for,
)
from loadtest.tune.report import front_lines, settings_text, verdicts_of, write_report
from loadtest.tune.sweep import Sweep
from loadtest.verdict import print_verdicts


def tune(
    *,
    freshness: Annotated[
        str,
        typer.Option(envvar="FRESHNESS", help="Within which time the Collector must have 95 %: 1s, 250ms."),
    ] = "",
    users: Users = 20,
    rate: Annotated[
        float, typer.Option(envvar="RATE", callback=finite, min=0.01, help="Requests a second.")
    ] = 80.0,
    quick: Annotated[
        bool, typer.Option("--quick", envvar="QUICK", help="Three minutes instead of fifteen.")
    ] = False,
    batches: Annotated[str, typer.Option(envvar="BATCHES", help="Batch sizes: 64,512.")] = "",
    delays_ms: Annotated[str, typer.Option(envvar="DELAYS", help="Delays in ms: 200,1000.")] = "",
    compressions: Annotated[str, typer.Option(envvar="COMPRESSIONS", help="none,gzip")] = "",
    repeats: Annotated[int | None, typer.Option(envvar="REPEATS", min=1, help="Runs of each cell.")] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            envvar="SECONDS", callback=finite, min=1, help="Measured of each run; 8 or five of the delays."
        ),
    ] = None,
    other_cores: Annotated[
        float,
        typer.Option(
            envvar="OTHER_CORES",
            callback=finite,
            min=0,
            help="How much CPU unrelated processes may use in a valid run: raise it on a shared machine.",
        ),
    ] = OTHER_CORES,
    fresh: Annotated[
        bool, typer.Option("--fresh", envvar="FRESH", help="Not going on with a run that was cut off.")
    ] = False,
    reports: Reports = PROJECT / "reports",
) -> None:
    """Tries batch sizes, delays and compressions: what is the cheapest that is fresh enough?"""
    freshness_seconds = duration_seconds("FRESHNESS", freshness)
    end_on_signals()
    lab = Lab.open(console)
    config = lab.config_of_services({})
    default = Cell.of(config)
    grid = QUICK_GRID if quick else FULL_GRID
    delays = numbers("DELAYS", delays_ms) or grid.delays_within(freshness_seconds)
    plan = Plan(
        cells=plan_grid(
            batches=whole_numbers("BATCHES", batches) or grid.batches,
            delays_ms=delays,
            compressions=words("COMPRESSIONS", compressions, ("none", "gzip")) or grid.compressions,
            default=default,
        ),
        default=default,
        repeats=repeats or REPEATS,
        rate=rate,
        users=users,
        warm_up_seconds=WARM_UP_SECONDS,
        measured_seconds=seconds or seconds_for(delays),
        other_cores=other_cores,
        runtime=lab.runtime.kind,
        configuration=lab.shown_configuration({}),
        code=code_digest(),
        seed=int(time.time()),
    )
    for cell in plan.cells:
        lab.config_of_services(cell.variables)  # or a service would reject it in the middle of the sweep
    journal = None if fresh else Journal.find_unfinished(reports, plan)
    if journal is None:
        journal = Journal.begin(new_folder(reports, "tune"), plan)
    else:
        console.print(f"going on with {journal.folder}, where {len(journal.runs())} runs are done")
    try:
        runs = Sweep(lab, journal, console).run()
    finally:
        lab.put_back()
    detection_seconds = 3 * config.attempt_timeout_seconds + config.schedule_delay_ms / 1000
    tuning = analyse(
        journal.plan,
        runs,
        freshness_seconds=freshness_seconds,
        detection_seconds=detection_seconds,
        least_queue=config.max_queue_size,
    )
    page = write_report(journal.plan, runs, tuning, journal.folder)
    journal.finish(tuning)
    print_verdicts(console, verdicts_of(tuning))
    for line in front_lines(tuning):
        console.print(escape(line), soft_wrap=True, highlight=False)
    for model in tuning.models:
        console.print(f"cost of telemetry, {model.compression}: {model}", soft_wrap=True, highlight=False)
    if tuning.recommendation is None:
        console.print(f"[yellow]{escape(tuning.why_nothing)}[/]", highlight=False)
        console.print(f"report, with the settings of the front: {page}", soft_wrap=True, highlight=False)
        raise typer.Exit(0 if tuning.front and freshness_seconds is None else 1)
    recommended = PROJECT / "recommended.env"
    recommended.write_text(settings_text(tuning.recommendation))
    console.print(escape(tuning.recommendation.reason), highlight=False)
    console.print(f"settings: {recommended}", soft_wrap=True, highlight=False)
    console.print("to use them: make up TELEMETRY_ENV=recommended.env")
    console.print(f"report: {page}", soft_wrap=True, highlight=False)
