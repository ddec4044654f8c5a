"""Fixtures for workers that share a folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from support.worker_metrics import Join, counting

from telemetry.metrics.multiprocess import WorkerMetrics


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The workers' shared folder, with a path that is short enough for sockets."""
    return tmp_path / "w"


@pytest.fixture
def joined(folder: Path) -> Iterator[Join]:
    """Starts workers in the shared folder, and stops them at the end."""
    made: list[WorkerMetrics] = []

    def join(registry: CollectorRegistry | None = None, group: str = "g") -> WorkerMetrics:
        worker = WorkerMetrics(folder, group, (registry or counting(1)).collect)
        worker.start()
        made.append(worker)
        return worker

    yield join
    for worker in made:
        worker.stop()
