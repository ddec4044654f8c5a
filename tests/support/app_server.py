"""Applications on a real server in its own process."""

import os
import signal
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from support.paths import ROOT
from support.programs import uncovered_environment
from support.waiting import wait_until

BIN = Path(sys.executable).parent
AT_IMPORT = """
    from fastapi import FastAPI
    from telemetry.telemetry import setup_telemetry
    app = FastAPI()
    setup_telemetry(app)
    @app.get("/hello/{name}")
    def hello(name: str): return name
"""


class AppServer:
    """One process that serves an application.

    Args:
        process: the process.
        port: where it listens.
        answer_seconds: how long one answer may take; long if connections are taken before the worker is up.
    """

    def __init__(self, process: subprocess.Popen[str], port: int, answer_seconds: float = 5) -> None:
        self.process = process
        self.answer_seconds = answer_seconds
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> str | None:
        """Returns the body of a response, or None while there is no response."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=self.answer_seconds) as answer:  # noqa: S310 - loopback
                return str(answer.read().decode())
        except (urllib.error.URLError, ConnectionError):
            return None

    def terminate(self) -> str:
        """Sends SIGTERM, as an orchestrator does, and returns what the process printed."""
        self.process.send_signal(signal.SIGTERM)
        output, _ = self.process.communicate(timeout=20)
        return output


@contextmanager
def serving(endpoint: str, port: int, folder: Path) -> Iterator[Callable[..., AppServer]]:
    """Yields a function that starts uvicorn on an application's source; kills all servers at the end.

    Args:
        endpoint: the Collector's endpoint.
        port: the application's port.
        folder: where its source is written.
    """
    servers: list[AppServer] = []

    def start(
        source: str,
        *options: str,
        launcher: tuple[str, ...] = (),
        server: tuple[str, ...] = (),
        answer_seconds: float = 5,
        **variables: str,
    ) -> AppServer:
        (folder / "program.py").write_text(textwrap.dedent(source))
        environment = {
            **uncovered_environment(),
            "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}",
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "SERVICE_NAME": "program",
            # Far longer than the test: only a flush can export the spans.
            "OTEL_BSP_SCHEDULE_DELAY": "600000",
            **variables,
        }
        process = subprocess.Popen(
            [
                *launcher,
                *(server or (str(BIN / "uvicorn"), "program:app", "--port", str(port))),
                *options,
            ],
            env=environment,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        servers.append(AppServer(process, port, answer_seconds))
        wait_until("uvicorn to answer", lambda: servers[-1].get("/hello/first"), seconds=20)
        return servers[-1]

    yield start
    for server in servers:
        # Workers outlive a killed parent, and hold its output open.
        with suppress(ProcessLookupError):
            os.killpg(server.process.pid, signal.SIGKILL)
        server.process.communicate()
