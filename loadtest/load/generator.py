"""Runs Locust in separate processes, which confines gevent's patching of sockets and threads to them."""

import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from loadtest.load.requests_file import written_paths
from loadtest.load.shapes import Shape

PROJECT = Path(__file__).resolve().parents[2]
LOCUSTFILE = Path(__file__).with_name("locustfile.py")
GRACE_SECONDS = 20
"""For requests in progress when the time is over; longer than Locust's own timeouts."""
WORKERS_COME_WITHIN_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The load to generate."""

    users: int
    rate: float
    """Requests a second, over all users."""
    storefront_port: int
    shape: Shape = Shape.STEADY
    trace_url: str = ""
    """A trace's address, with `{trace_id}` in it; if empty, Locust's table of failures has no links."""
    prometheus_url: str = ""
    """The Prometheus that Locust's own statistics are pushed to; empty for none."""
    workers: int = 0
    """Worker processes besides the master; with 0, one process does everything."""

    def command(self) -> list[str]:
        """Returns Locust's command line, without the options of a headless run or of its page."""
        command = [sys.executable, "-m", "locust", "--locustfile", str(LOCUSTFILE)]
        command += ["--host", f"http://127.0.0.1:{self.storefront_port}"]
        command += ["--users", f"{self.users}", "--spawn-rate", f"{self.users}", "--rate", f"{self.rate}"]
        command += ["--shape", self.shape]
        if self.trace_url:
            command += ["--trace-url", self.trace_url]
        if self.prometheus_url:
            command += ["--prometheus-url", self.prometheus_url]
        if self.workers:
            command += ["--processes", f"{self.workers}", *_meeting_place()]
        return command


class Generator:
    """A headless run of Locust, from its start to its end.

    Args:
        load: the load to generate.
        seconds: the run's length, rounded up, because Locust only supports whole seconds.
        result_file: where the summary is written, as `LoadResult`.
        requests_file: where a line for each request is written, or None. Each worker writes a file of its
            own beside it; `requests_file.written_paths` finds all of them.
        log: where Locust's output is written; None for this process's output.
    """

    def __init__(
        self,
        load: Load,
        *,
        seconds: float,
        result_file: Path,
        requests_file: Path | None = None,
        log: Path | None = None,
    ) -> None:
        command = load.command()
        command += ["--headless", "--skip-log-setup", "--only-summary", "--exit-code-on-error", "0"]
        command += ["--run-time", f"{math.ceil(seconds)}s", "--stop-timeout", f"{GRACE_SECONDS}"]
        command += ["--result-file", f"{result_file.resolve()}"]
        if requests_file is not None:
            command += ["--requests-file", f"{requests_file.resolve()}"]
            for leftover in written_paths(requests_file):
                leftover.unlink()
        output = None if log is None else log.open("w")
        # In its own session it does not receive Ctrl-C, only the SIGTERM from here, after which it still
        # finishes requests in progress and writes its result.
        self.process = subprocess.Popen(
            command,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            start_new_session=True,
        )
        if output is not None:
            output.close()

    def wait(self) -> int:
        """Waits for the run's end and returns its exit status."""
        return self.process.wait()

    def stop(self) -> int:
        """Ends the run early but gracefully: requests in progress are finished, the result is written."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(timeout=GRACE_SECONDS + 10)
        except subprocess.TimeoutExpired:
            # It leads its own process group, so no worker is left behind.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            return self.process.wait()


def prometheus_at(port: int) -> str:
    """Returns the address of this machine's Prometheus; empty if nothing listens there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return ""
    return f"http://127.0.0.1:{port}"


def end_on_signals() -> None:
    """Makes SIGINT and SIGTERM raise `KeyboardInterrupt`; a shell's background jobs ignore the former."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def environment() -> dict[str, str]:
    """Returns Locust's environment, without the settings of the shop's telemetry."""
    # With all three set to "none", Locust does not set up OpenTelemetry at all.
    silence = dict.fromkeys(("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER"), "none")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return {**inherited, **silence, "PYTHONPATH": str(PROJECT)}


def _meeting_place() -> list[str]:
    """Returns options for the master's address; by default all runs share one port, on every address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    there = ["--master-bind-host", "127.0.0.1", "--master-bind-port", f"{port}", "--master-port", f"{port}"]
    # The master gives up on workers that never connect, instead of waiting for them forever.
    return [*there, "--expect-workers-max-wait", f"{WORKERS_COME_WITHIN_SECONDS}"]
