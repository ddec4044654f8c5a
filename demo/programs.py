"""The demo's processes: the two services of the shop, and the Collector that dies and returns."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from service.settings import DEMO_API_KEY

ROOT = Path(__file__).resolve().parents[1]
HOST = "127.0.0.1"


class Collector:
    """The receiver as a process that can be killed and restarted. `spans` may be read from any thread."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._spans_before = 0
        self._spans = 0

    @property
    def spans(self) -> int:
        """Number of spans received so far, across restarts."""
        return self._spans_before + self._spans

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None

    def start(self) -> None:
        """Starts the process."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "demo.receiver", f"{HOST}:{self._port}"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    def kill(self) -> None:
        """Kills the process at once, like a crash."""
        process, self._process = self._process, None
        if process is not None and self._reader is not None:
            process.kill()
            self._reader.join()
            process.wait()
            self._spans_before, self._spans = self.spans, 0

    def _read(self, output: IO[str]) -> None:
        with output:
            for line in output:
                self._spans = int(line)


class Shop:
    """Storefront and inventory, each in its own uvicorn process, as a context manager.

    Args:
        folder: the folder for databases, spools and logs.
        collector_port: the port that they send their spans to.
    """

    def __init__(self, folder: Path, collector_port: int) -> None:
        self.ports = {"inventory": free_port(), "storefront": free_port()}
        self._folder = folder
        self._collector_port = collector_port
        self._processes: list[subprocess.Popen[bytes]] = []

    def url(self, service: str, path: str) -> str:
        """Returns the address of a service's path."""
        return f"http://{HOST}:{self.ports[service]}{path}"

    def log(self, service: str) -> str:
        """Returns the log of a service."""
        return (self._folder / f"{service}.log").read_text()

    def __enter__(self) -> Self:
        for service in self.ports:
            with (self._folder / f"{service}.log").open("wb") as log:
                self._processes.append(
                    subprocess.Popen(
                        [
                            *(sys.executable, "-m", "uvicorn", f"service.{service}.app:app"),
                            *("--no-access-log", "--host", HOST, "--port", str(self.ports[service])),
                        ],
                        cwd=ROOT,
                        env=self._environment(service),
                        stdout=log,
                        stderr=subprocess.STDOUT,
                    )
                )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait()

    def _environment(self, service: str) -> Mapping[str, str]:
        # The demo shows the library's defaults, regardless of the shell's settings.
        foreign = {
            key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "TELEMETRY_"))
        }
        return {
            **foreign,
            "ENVIRONMENT": "development",
            "SERVICE_NAME": service,
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{self._collector_port}",
            "TELEMETRY_SPOOL_DIR": str(self._folder / "spool" / service),
            "TELEMETRY_BREAKER_OPEN_MAX_SECONDS": "8",
            "SHOP_API_KEY": DEMO_API_KEY,
            "SHOP_DATABASE_DIR": str(self._folder / "shop"),
            "INVENTORY_URL": f"http://{HOST}:{self.ports['inventory']}",
        }


def free_port() -> int:
    """Returns a port on loopback that nothing listens on at the moment."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        port: int = listener.getsockname()[1]
        return port
