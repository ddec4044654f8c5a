"""`python -m loadtest run`: load with a closing summary; `python -m loadtest ui`: Locust's own page."""

import os
import socket
import sys
import time
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from dotenv import load_dotenv
from rich.console import Console
from rich.markup import escape

from loadtest import sampling_report, tune_report
from loadtest.arguments import TRACE_ID, http_url, trace_template
from loadtest.faults import FAULTS
from loadtest.folder import new_folder
from loadtest.generator import PROJECT, Generator, Load, end_on_signals, environment
from loadtest.lab import Lab
from loadtest.outage import Outage
from loadtest.outage_judging import judge_outage
from loadtest.outage_report import write_report
from loadtest.report import LoadResult, print_result
from loadtest.sampling import SamplingLab
from loadtest.sampling_judging import judge_sampling
from loadtest.shapes import Shape
from loadtest.tune import Sweep
from loadtest.tune_analysis import analyse
from loadtest.tune_plan import (
    FULL_GRID,
    QUICK_GRID,
    REPEATS,
    WARM_UP_SECONDS,
    Cell,
    Journal,
    Plan,
    numbers,
    plan_grid,
    words,
)
from loadtest.verdict import is_good, print_verdicts
from stack.errors import StackError
from telemetry.errors import TelemetryError

cli = typer.Typer(add_completion=False, help="Load on the demo shop.")
console = Console()

Port = Annotated[int, typer.Option(envvar="STOREFRONT_PORT", min=1, max=65535, help="The storefront's port.")]
Users = Annotated[int, typer.Option(envvar="USERS", min=1, help="Shoppers at the same time.")]
Rate = Annotated[float, typer.Option(envvar="RATE", min=0.01, help="Requests a second, over all of them.")]

Arrivals = Annotated[
    Shape,
    typer.Option(
        envvar="SHAPE",
        help="How the rate goes over the run: steady; step, five stairs up; spike, the full rate for the "
        "middle fifth only; soak, slowly up and then held.",
    ),
]
Workers = Annotated[
    int, typer.Option(envvar="WORKERS", min=0, max=64, help="Processes to shop from; 0: one does all.")
]
PrometheusUrl = Annotated[
    str,
    typer.Option(
        envvar="LOCUST_PROMETHEUS_URL",
        callback=lambda value: _checked(http_url, value),
        help="Push Locust's own statistics there; its Prometheus needs --web.enable-otlp-receiver.",
    ),
]
TraceUrl = Annotated[
    str,
    typer.Option(
        envvar="LOCUST_TRACE_URL",
        callback=lambda value: _checked(trace_template, value),
        help="Where a failed request's trace is looked at, with {trace_id} in it. "
        "Default: Jaeger's HTTP API at its port.",
    ),
]
JaegerPort = Annotated[
    int, typer.Option(envvar="JAEGER_PORT", min=1, max=65535, help="For the links to traces.")
]

Reports = Annotated[Path, typer.Option(envvar="REPORTS", help="Where each run's report gets a folder.")]


@cli.command()
def run(
    *,
    users: Users = 20,
    rate: Rate = 50.0,
    shape: Arrivals = Shape.STEADY,
    seconds: Annotated[int, typer.Option(envvar="SECONDS", min=1, help="How long.")] = 30,
    storefront_port: Port = 8000,
    jaeger_port: JaegerPort = 16686,
    trace_url: TraceUrl = "",
    workers: Workers = 0,
    prometheus_url: PrometheusUrl = "",
    json: Annotated[Path | None, typer.Option(help="Also write the result here.")] = None,
) -> None:
    """Shops for a while and sums up; fails when any request got another answer than it was meant to get."""
    _check_storefront(storefront_port)
    with TemporaryDirectory() as folder:
        result_file = json or Path(folder) / "result.json"
        result_file.unlink(missing_ok=True)
        load = Load(
            users=users,
            rate=rate,
            storefront_port=storefront_port,
            shape=shape,
            trace_url=trace_url or _trace_api(jaeger_port),
            prometheus_url=prometheus_url,
            workers=workers,
        )
        end_on_signals()
        was_interrupted = False
        with console.status(f"{users} shoppers, {rate:g} requests/s, {shape}, {seconds} s"):
            generator = Generator(load, seconds=seconds, result_file=result_file)
            try:
                exit_code = generator.wait()
            except KeyboardInterrupt:
                was_interrupted, exit_code = True, generator.stop()
        if exit_code != 0 or not result_file.exists():
            console.print(
                f"[red]Locust ended with exit status {exit_code} and no result; its words are above.[/red]"
            )
            raise typer.Exit(exit_code or 1)
        result = LoadResult.model_validate_json(result_file.read_text())
    print_result(result, console, trace_url=load.trace_url)
    if was_interrupted:
        raise typer.Exit(130)
    if not result.is_good:
        raise typer.Exit(1)


@cli.command()
def ui(
    *,
    users: Users = 20,
    rate: Rate = 50.0,
    shape: Arrivals = Shape.STEADY,
    storefront_port: Port = 8000,
    locust_port: Annotated[
        int, typer.Option(envvar="LOCUST_PORT", min=1, max=65535, help="The page's port.")
    ] = 8089,
    jaeger_port: JaegerPort = 16686,
    trace_url: TraceUrl = "",
    workers: Workers = 0,
    prometheus_url: PrometheusUrl = "",
) -> None:
    """Opens Locust's own page, on this machine only, until Ctrl-C."""
    console.print(f"Locust's page: http://127.0.0.1:{locust_port} (Ctrl-C ends it)")
    load = Load(
        users=users,
        rate=rate,
        storefront_port=storefront_port,
        shape=shape,
        trace_url=trace_url or _trace_api(jaeger_port),
        prometheus_url=prometheus_url,
        workers=workers,
    )
    command = load.command()
    command += ["--web-host", "127.0.0.1", "--web-port", f"{locust_port}"]
    # Becoming Locust, not starting it: Ctrl-C and every other signal then are its own.
    os.execve(command[0], command, environment())  # noqa: S606 - no shell wanted


@cli.command()
def outage(
    *,
    fault: Annotated[str, typer.Option(envvar="FAULT", help=f"One of {', '.join(FAULTS)}.")] = "kill",
    users: Users = 20,
    rate: Rate = 50.0,
    seconds: Annotated[float, typer.Option(envvar="SECONDS", min=5, help="How long the fault lasts.")] = 20.0,
    reports: Reports = PROJECT / "reports",
) -> None:
    """Breaks the pipeline under load, and judges what it promises; fails when a promise was not kept."""
    if fault not in FAULTS:
        raise typer.BadParameter(f"FAULT={fault!r} is none of {', '.join(FAULTS)}")
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


@cli.command()
def tune(
    *,
    users: Users = 20,
    rate: Annotated[float, typer.Option(envvar="RATE", min=0.01, help="Requests a second.")] = 80.0,
    quick: Annotated[
        bool, typer.Option("--quick", envvar="QUICK", help="Three minutes instead of fifteen.")
    ] = False,
    batches: Annotated[str, typer.Option(envvar="BATCHES", help="Batch sizes: 64,512.")] = "",
    delays_ms: Annotated[str, typer.Option(envvar="DELAYS", help="Delays in ms: 200,1000.")] = "",
    compressions: Annotated[str, typer.Option(envvar="COMPRESSIONS", help="none,gzip")] = "",
    repeats: Annotated[int | None, typer.Option(envvar="REPEATS", min=1, help="Runs of each cell.")] = None,
    seconds: Annotated[float, typer.Option(envvar="SECONDS", min=1, help="Measured of each run.")] = 8.0,
    fresh: Annotated[
        bool, typer.Option("--fresh", envvar="FRESH", help="Not going on with a run that was cut off.")
    ] = False,
    reports: Reports = PROJECT / "reports",
) -> None:
    """Tries batch sizes, delays and compressions, and recommends what is better beyond noise."""
    end_on_signals()
    lab = Lab.open(console)
    config = lab.config_of_services({})
    default = Cell.of(config)
    grid = QUICK_GRID if quick else FULL_GRID
    plan = Plan(
        cells=plan_grid(
            batches=tuple(int(size) for size in numbers("BATCHES", batches)) or grid.batches,
            delays_ms=numbers("DELAYS", delays_ms) or grid.delays_ms,
            compressions=words("COMPRESSIONS", compressions, ("none", "gzip")) or grid.compressions,
            default=default,
        ),
        default=default,
        repeats=repeats or REPEATS,
        rate=rate,
        users=users,
        warm_up_seconds=WARM_UP_SECONDS,
        measured_seconds=seconds,
        runtime=lab.runtime.kind,
        seed=int(time.time()),
    )
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
        journal.plan, runs, detection_seconds=detection_seconds, least_queue=config.max_queue_size
    )
    page = tune_report.write_report(journal.plan, runs, tuning, journal.folder)
    journal.finish(tuning)
    print_verdicts(console, tune_report.verdicts_of(tuning))
    if tuning.recommendation is None:
        console.print("[yellow]nothing is recommended[/]: what is used now could not be measured properly")
        raise typer.Exit(1)
    recommended = PROJECT / "recommended.env"
    recommended.write_text(tune_report.recommended_env(tuning))
    console.print(escape(tuning.recommendation.reason), highlight=False)
    console.print(f"settings: {recommended}", soft_wrap=True, highlight=False)
    console.print("to use them: make up TELEMETRY_ENV=recommended.env")
    console.print(f"report: {page}", soft_wrap=True, highlight=False)


@cli.command()
def sampling(
    *,
    users: Users = 20,
    rate: Annotated[float, typer.Option(envvar="RATE", min=1, help="Requests a second.")] = 100.0,
    seconds: Annotated[
        float, typer.Option(envvar="SECONDS", min=5, help="Of load, for each sampler.")
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
    page = sampling_report.write_report(run, verdicts, folder)
    print_verdicts(console, verdicts)
    console.print(f"report: {page}", soft_wrap=True, highlight=False)
    if not is_good(verdicts):
        raise typer.Exit(1)


def _trace_api(jaeger_port: int) -> str:
    return f"http://127.0.0.1:{jaeger_port}/api/v3/traces/{TRACE_ID}"


def _checked(check: Callable[[str], str], value: str) -> str:
    try:
        return check(value)
    except ArgumentTypeError as error:
        raise typer.BadParameter(str(error)) from None


def _check_storefront(port: int) -> None:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError as error:
        console.print(f"[red]No storefront at http://127.0.0.1:{port} ({error}).[/red]")
        console.print("Start the stack with `make up`; STOREFRONT_PORT names another port.")
        raise typer.Exit(2) from None


def main() -> None:
    """Runs the command line, with the ports of `.env` unless the environment has its own."""
    load_dotenv(PROJECT / ".env")
    try:
        cli()
    except (StackError, TelemetryError, ValueError) as error:
        console.print(f"[bold red]failed[/] {escape(str(error))}", highlight=False)
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("interrupted")
        sys.exit(130)


if __name__ == "__main__":
    main()
