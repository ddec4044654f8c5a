"""A run of measurements: the receiver that all variants send to, and the processes that measure them."""

import json
import os
import random
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_SETTINGS = ("OTEL_", "TELEMETRY_", "LOGFIRE_", "FASTAPI_OTEL_", "PROMETHEUS_", "SERVICE_", "ENVIRONMENT")
HOST = "http://127.0.0.1"


class SpansLostError(Exception):
    """Not every span of a sample arrived, or more than every span: the sample is void."""


class Receiver:
    """The process that everything is sent to.

    Args:
        ports: the ones for gRPC and for HTTP; none for any.
    """

    def __init__(self, *ports: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.receiver", *map(str, ports)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        grpc_port, http_port = self._read().split()
        self.ports = int(grpc_port), int(http_port)
        self.grpc, self.http = f"{HOST}:{grpc_port}", f"{HOST}:{http_port}"

    @property
    def spans(self) -> int:
        """Number of spans received so far."""
        if self._process.stdin is None:
            raise RuntimeError("the receiver has no input")
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self._read())

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()

    def kill(self) -> None:
        """Ends the process at once, as a crash does."""
        self._process.kill()
        self._process.communicate()

    def _read(self) -> str:
        if self._process.stdout is None:
            raise RuntimeError("the receiver has no output")
        return self._process.stdout.readline()


class Run:
    """A run of measurements, each in its own process, and all of their samples."""

    def __init__(self, receiver: Receiver, *, is_quick: bool) -> None:
        self.receiver = receiver
        self.is_quick = is_quick
        self.samples: dict[str, list[dict[str, float]]] = defaultdict(list)
        self.void: list[str] = []
        """What became of samples that were not kept."""
        self._chance = random.Random(1)  # noqa: S311 - the order only

    def measure(self, label: str, module: str, **what: Any) -> dict[str, float]:
        """Takes one sample, with `python -m <module>`.

        Raises:
            subprocess.CalledProcessError: the process failed; it has printed the reason.
        """
        sample = ask(module, what)
        self.samples[label].append(sample)
        return sample

    def measure_delivery(self, label: str, module: str, **what: Any) -> dict[str, float]:
        """Takes one sample in which as many spans must arrive as it says.

        Raises:
            SpansLostError: more or fewer arrived. The sample is not kept.
        """
        before = self.receiver.spans
        sample = ask(module, what)
        self.check(label, sample["spans"], before)
        self.samples[label].append(sample)
        return sample

    def check(self, label: str, expected: float, before: int) -> None:
        """Checks that the expected number of spans arrived since the receiver had counted `before`.

        Raises:
            SpansLostError: they did not, or more did.
        """
        arrived = self.receiver.spans - before
        if arrived != expected:
            raise SpansLostError(f"{label}: {arrived} of {expected:.0f} spans arrived: the sample is void")

    def shuffled(self, *variants: str) -> list[str]:
        """Returns the variants in a different order each time, so that no drift favours one of them."""
        return self._chance.sample(variants, len(variants))

    def column(self, label: str, key: str) -> list[float]:
        """Returns one figure of every sample."""
        return [sample[key] for sample in self.samples[label]]


def clean_environment() -> dict[str, str]:
    """Returns the environment without the settings of telemetry that the shell may have."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)}


def ask(module: str, what: dict[str, Any]) -> dict[str, float]:
    """Runs `python -m <module>` with these parameters, and returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", module, json.dumps(what)],
        cwd=ROOT,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    answer: dict[str, float] = json.loads(done.stdout)
    return answer
