"""Metrics of workers that share a folder: one worker's counts, and the answers of all of them."""

from collections.abc import Callable

import anyio
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import Metric

from telemetry.metrics import names
from telemetry.metrics.multiprocess import WorkerMetrics

Join = Callable[..., WorkerMetrics]


def counting(value: float) -> CollectorRegistry:
    """Returns a registry with one counter, one histogram and an exemplar."""
    registry = CollectorRegistry()
    Counter("jobs", "Jobs done.", ["queue"], registry=registry).labels("mail").inc(
        value, exemplar={"trace_id": "ab" * 16}
    )
    Histogram("seconds", "Time.", registry=registry, buckets=(1, 2)).observe(value)
    return registry


def collect(worker: WorkerMetrics) -> list[Metric]:
    """Returns the metrics of all workers, as collected by one."""
    return anyio.run(worker.collect_all)


def jobs_by_worker(families: list[Metric]) -> dict[str, float]:
    """Returns the counter's value by worker."""
    return {
        sample.labels["worker"]: sample.value
        for family in families
        for sample in family.samples
        if sample.name == "jobs_total"
    }


def workers_seen(families: list[Metric]) -> dict[str, float]:
    """Returns how many workers answered and how many were silent, by state."""
    return {
        sample.labels["state"]: sample.value
        for family in families
        for sample in family.samples
        if family.name == names.WORKERS
    }
