"""`make load` and `make load-ui`: a load run, or Locust's own page."""

import os
import socket
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from loadtest.load.arguments import TRACE_ID, http_url, trace_template
from loadtest.load.generator import Generator, Load, end_on_signals, environment, prometheus_at
from loadtest.load.report import LoadResult, print_result
from loadtest.load.shapes import Shape
from loadtest.options import Users, console, finite

Port = Annotated[int, typer.Option(envvar="STOREFRONT_PORT", min=1, max=65535, help="The storefront's port.")]
Rate = Annotated[
    float, typer.Option(envvar="RATE", callback=finite, min=0.01, help="Requests a second, over all of them.")
]

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
PrometheusPort = Annotated[
    int, typer.Option(envvar="PROMETHEUS_PORT", min=1, max=65535, help="Asked where no address was given.")
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
    prometheus_port: PrometheusPort = 9090,
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
            prometheus_url=prometheus_url or prometheus_at(prometheus_port),
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
                f"[red]Locust ended with exit status {exit_code} and no result; see its output above.[/red]"
            )
            raise typer.Exit(exit_code or 1)
        result = LoadResult.model_validate_json(result_file.read_text())
    print_result(result, console, trace_url=load.trace_url)
    if was_interrupted:
        raise typer.Exit(130)
    if not result.is_good:
        raise typer.Exit(1)


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
    prometheus_port: PrometheusPort = 9090,
) -> None:
    """Opens Locust's own page, on this machine only, until Ctrl-C."""
    console.print(f"Locust's page: http://127.0.0.1:{locust_port} (Ctrl-C ends it)")
    load = Load(
        users=users,
        rate=rate,
        storefront_port=storefront_port,
        shape=shape,
        trace_url=trace_url or _trace_api(jaeger_port),
        prometheus_url=prometheus_url or prometheus_at(prometheus_port),
        workers=workers,
    )
    command = load.command()
    command += ["--web-host", "127.0.0.1", "--web-port", f"{locust_port}"]
    # Locust replaces this process, so that Ctrl-C and every other signal reach it directly.
    os.execve(command[0], command, environment())  # noqa: S606 - no shell wanted


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
