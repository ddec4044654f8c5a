"""`python -m loadtest run`: load with a closing summary; `python -m loadtest ui`: Locust's own page.

Locust runs as a process of its own: gevent's patching of sockets and threads stays in there.
"""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from dotenv import load_dotenv
from rich.console import Console

from loadtest.report import LoadResult, print_result

PROJECT = Path(__file__).resolve().parent.parent
LOCUSTFILE = Path(__file__).with_name("locustfile.py")
GRACE_SECONDS = 20
"""For requests under way when the time is over, longer than Locust's own time-outs."""

cli = typer.Typer(add_completion=False, help="Load on the demo shop.")
console = Console()

Port = Annotated[int, typer.Option(envvar="STOREFRONT_PORT", min=1, max=65535, help="The storefront's port.")]
Users = Annotated[int, typer.Option(envvar="USERS", min=1, help="Shoppers at the same time.")]
Rate = Annotated[float, typer.Option(envvar="RATE", min=0.01, help="Requests a second, over all of them.")]


@cli.command()
def run(
    *,
    users: Users = 20,
    rate: Rate = 50.0,
    seconds: Annotated[int, typer.Option(envvar="SECONDS", min=1, help="How long.")] = 30,
    storefront_port: Port = 8000,
    jaeger_port: Annotated[int, typer.Option(envvar="JAEGER_PORT", help="For the links to traces.")] = 16686,
    json: Annotated[Path | None, typer.Option(help="Also write the result here.")] = None,
) -> None:
    """Shops for a while and sums up; fails when any request got another answer than it was meant to get."""
    _check_storefront(storefront_port)
    with TemporaryDirectory() as folder:
        result_file = json or Path(folder) / "result.json"
        result_file.unlink(missing_ok=True)
        command = _locust_command(users, rate, storefront_port)
        command += ["--headless", "--skip-log-setup", "--only-summary", "--exit-code-on-error", "0"]
        command += ["--run-time", f"{seconds}", "--stop-timeout", f"{GRACE_SECONDS}"]
        command += ["--result-file", f"{result_file.resolve()}"]
        with console.status(f"{users} shoppers, {rate:g} requests/s, {seconds} s"):
            exit_code, was_interrupted = _run_locust(command)
        if exit_code != 0 or not result_file.exists():
            console.print(
                f"[red]Locust ended with exit status {exit_code} and no result; its words are above.[/red]"
            )
            raise typer.Exit(exit_code or 1)
        result = LoadResult.model_validate_json(result_file.read_text())
    print_result(result, console, jaeger_url=f"http://127.0.0.1:{jaeger_port}")
    if was_interrupted:
        raise typer.Exit(130)
    if not result.is_good:
        raise typer.Exit(1)


@cli.command()
def ui(
    *,
    users: Users = 20,
    rate: Rate = 50.0,
    storefront_port: Port = 8000,
    locust_port: Annotated[
        int, typer.Option(envvar="LOCUST_PORT", min=1, max=65535, help="The page's port.")
    ] = 8089,
) -> None:
    """Opens Locust's own page, on this machine only, until Ctrl-C."""
    console.print(f"Locust's page: http://127.0.0.1:{locust_port} (Ctrl-C ends it)")
    command = _locust_command(users, rate, storefront_port)
    command += ["--web-host", "127.0.0.1", "--web-port", f"{locust_port}"]
    # Becoming Locust, not starting it: Ctrl-C and every other signal then are its own.
    os.execve(command[0], command, _locust_environment())  # noqa: S606 - no shell wanted


def _locust_command(users: int, rate: float, storefront_port: int) -> list[str]:
    command = [sys.executable, "-m", "locust", "--locustfile", str(LOCUSTFILE)]
    command += ["--host", f"http://127.0.0.1:{storefront_port}"]
    return [*command, "--users", f"{users}", "--spawn-rate", f"{users}", "--rate", f"{rate}"]


def _locust_environment() -> dict[str, str]:
    # All three at "none" keep Locust from setting OpenTelemetry up at all.
    silence = dict.fromkeys(("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER"), "none")
    return {**os.environ, **silence, "PYTHONPATH": str(PROJECT)}


def _run_locust(command: list[str]) -> tuple[int, bool]:
    """Runs Locust to its end; returns its exit status and whether Ctrl-C or SIGTERM cut it short."""
    # SIGINT too: a shell starts its background jobs with it ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    # In a session of its own it hears of Ctrl-C once, from here, as the signal after which it still
    # finishes what is under way and writes its result.
    process = subprocess.Popen(
        command, env=_locust_environment(), stdin=subprocess.DEVNULL, start_new_session=True
    )
    try:
        return process.wait(), False
    except KeyboardInterrupt:
        process.terminate()
        try:
            return process.wait(timeout=GRACE_SECONDS + 10), True
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait(), True


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
    cli()


if __name__ == "__main__":
    main()
