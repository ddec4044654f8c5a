"""Locust as a process, or several, of its own: gevent's patching of sockets and threads stays in there."""

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
"""For requests under way when the time is over, longer than Locust's own time-outs."""
WORKERS_COME_WITHIN_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What load to make."""

    users: int
    rate: float
    """Requests a second, over all users."""
    storefront_port: int
    shape: Shape = Shape.STEADY
    trace_url: str = ""
    """Where a trace is looked at, with `{trace_id}` in it; empty: Locust's table of failures has no links."""
    prometheus_url: str = ""
    """The Prometheus that Locust's own statistics are pushed to; empty: none."""
    workers: int = 0
    """Processes beside the one that leads; 0: one process does all."""

    def command(self) -> list[str]:
        """Locust's command line, without what a run with or without its page adds."""
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
    """A run of Locust without its page, from its start to its end.

    Args:
        load: what to make.
        seconds: how long; Locust knows whole seconds only, so that it is rounded up.
        result_file: where its summary goes, as `LoadResult`.
        requests_file: where each request's line goes; None: nowhere. Workers have a file each beside it,
            and `requests_file.written_paths` finds all of them.
        log: where its output goes; None: to this process's.
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
        # In a session of its own it hears of Ctrl-C once, from here, as the signal after which it still
        # finishes what is under way and writes its result.
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
        """Waits for its end; returns its exit status."""
        return self.process.wait()

    def stop(self) -> int:
        """Ends it early, as its own end would: what is under way is finished, the result is written."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(timeout=GRACE_SECONDS + 10)
        except subprocess.TimeoutExpired:
            # Its session is its own: no worker is left behind.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            return self.process.wait()


def prometheus_at(port: int) -> str:
    """The address of this machine's Prometheus; empty when nobody listens there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return ""
    return f"http://127.0.0.1:{port}"


def end_on_signals() -> None:
    """Has SIGINT and SIGTERM raise `KeyboardInterrupt` here; a shell's background jobs ignore the first."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def environment() -> dict[str, str]:
    """What Locust runs with; settings of the shop's telemetry are not meant for it."""
    # All three at "none" keep Locust from setting OpenTelemetry up at all.
    silence = dict.fromkeys(("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER"), "none")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return {**inherited, **silence, "PYTHONPATH": str(PROJECT)}


def _meeting_place() -> list[str]:
    """Where workers find who leads them: else on every address, at one port for all runs at once."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    there = ["--master-bind-host", "127.0.0.1", "--master-bind-port", f"{port}", "--master-port", f"{port}"]
    # Workers that never come are told, instead of being waited for until the end of time.
    return [*there, "--expect-workers-max-wait", f"{WORKERS_COME_WITHIN_SECONDS}"]
