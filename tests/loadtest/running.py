"""Runs `python -m loadtest run` as a process of its own, as a user does."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtest.report import LoadResult
from tests.service.processes import Shop, clean_environment


@contextmanager
def load(*arguments: str, port: int, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Runs it against a port, and ends it if the test did not."""
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
    """What a run left behind."""

    exit_status: int
    output: str
    result: LoadResult


def finish(process: subprocess.Popen[str], file: Path) -> FinishedLoad:
    """Waits for a run's end and reads its result."""
    output, _ = process.communicate(timeout=40)
    assert file.exists(), output
    return FinishedLoad(process.returncode, output, LoadResult.model_validate_json(file.read_text()))


def run_load(shop: Shop, file: Path, *arguments: str, **environment: str) -> FinishedLoad:
    """Shops until the run's own end."""
    with load(*arguments, "--json", str(file), port=shop.storefront_port, **environment) as process:
        return finish(process, file)
