"""Load runs: the whole command as a user runs it, and the generator alone."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.service_processes import Shop, clean_environment

from loadtest.load.generator import Generator, Load
from loadtest.load.report import LoadResult
from loadtest.load.requests_file import RequestRecord, read_requests, written_paths


@contextmanager
def load(*arguments: str, port: int, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Runs the command against a port, and ends it if the test did not."""
    with subprocess.Popen(
        [sys.executable, "-m", "loadtest", "run", "--storefront-port", str(port), *arguments],
        env=clean_environment(COLUMNS="200", **environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


@dataclass(frozen=True)
class FinishedLoad:
    """The results of a finished run."""

    exit_status: int
    output: str
    result: LoadResult


def run_load(shop: Shop, file: Path, *arguments: str, **environment: str) -> FinishedLoad:
    """Runs the command until its own end."""
    with load(*arguments, "--json", str(file), port=shop.storefront_port, **environment) as process:
        output, _ = process.communicate(timeout=40)
    assert file.exists(), output
    return FinishedLoad(process.returncode, output, LoadResult.model_validate_json(file.read_text()))


class WatchedLoad:
    """A run of the generator alone, and its files."""

    def __init__(self, load: Load, *, seconds: float, folder: Path) -> None:
        self._result_file = folder / "result.json"
        self._requests_file = folder / "requests.csv"
        self._log = folder / "locust.log"
        self.generator = Generator(
            load,
            seconds=seconds,
            result_file=self._result_file,
            requests_file=self._requests_file,
            log=self._log,
        )

    @property
    def files(self) -> list[Path]:
        """The files of its requests."""
        return written_paths(self._requests_file)

    @property
    def requests(self) -> list[RequestRecord]:
        """The requests that are written so far."""
        return read_requests(self.files)

    def finish(self) -> LoadResult:
        """Waits for the run's own end."""
        self.generator.process.wait(timeout=40)
        assert self._result_file.exists(), self._log.read_text()
        return LoadResult.model_validate_json(self._result_file.read_text())


@contextmanager
def watched_load(load: Load, *, seconds: float, folder: Path) -> Iterator[WatchedLoad]:
    """Starts a run, and ends it if the test did not."""
    watched = WatchedLoad(load, seconds=seconds, folder=folder)
    try:
        yield watched
    finally:
        watched.generator.stop()
