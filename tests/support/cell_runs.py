"""Made-up runs of a sweep, whose answer is known."""

import zlib
from typing import Any

import numpy as np

from loadtest.tune.analysis import Tuning, analyse
from loadtest.tune.plan import Cell, CellRun, Plan

NOW = Cell(batch=512, delay_ms=1000, compression="none")
QUICK = Cell(batch=512, delay_ms=200, compression="none")
SMALL = Cell(batch=32, delay_ms=200, compression="none")
EXPORT_US, SPAN_US = 600.0, 8.0
"""What an export and a span cost in `modelled` runs."""
RATE = 400.0
"""Spans a second."""


def plan(*cells: Cell, repeats: int = 3, seed: int = 1) -> Plan:
    """Returns a sweep of these cells; the first is the current configuration."""
    return Plan(
        cells=cells,
        default=cells[0],
        repeats=repeats,
        rate=80,
        users=20,
        warm_up_seconds=2,
        measured_seconds=8,
        other_cores=0.3,
        runtime="native",
        seed=seed,
    )


def batch_of(cell: Cell) -> float:
    """Returns how many spans a cell's exports hold."""
    return min(cell.batch, RATE * cell.delay_ms / 1000)


def run(cell: Cell, repeat: int, *, cpu: float, p95: float, **changes: Any) -> CellRun:
    """Returns a valid run with these figures."""
    figures: dict[str, Any] = {
        "cell": cell,
        "repeat": repeat,
        "invalid_because": (),
        "spans": 3_200,
        "spans_per_second": RATE,
        "peak_spans_per_second": 450,
        "cpu_us_per_span": cpu,
        "encode_us_per_span": cpu / 2,
        "send_us_per_span": cpu / 4,
        "grpc_us_per_span": cpu / 4,
        "service_us_per_span": 900,
        "batch_spans": batch_of(cell),
        "export_ms": 3,
        "export_p50_ms": 3,
        "export_p99_ms": 20,
        "freshness_p50_seconds": p95 / 2,
        "freshness_p95_seconds": p95,
        "queue_high_water": 500,
        "dropped": 0,
        "bytes_per_span": 280,
        "wire_bytes_per_span": 300 if cell.compression == "none" else 60,
        "rss_bytes": 100 * 2**20,
        "request_p99_ms": 20,
        "achieved_share": 1,
        "generator_cpu_share": 0.2,
        "other_cpu_cores": 0.05,
    }
    return CellRun(**{**figures, **changes})


def runs(cell: Cell, *, cpu: float, p95: float, **changes: Any) -> list[CellRun]:
    """Returns three runs with a little noise, in the cell's own order: else it would be the repeats'."""
    order = np.random.default_rng(zlib.crc32(f"{cell}".encode())).permutation((0.99, 1.0, 1.01))
    return [
        run(cell, repeat, cpu=cpu * noise, p95=p95 * noise, **changes)
        for repeat, noise in enumerate(map(float, order))
    ]


def modelled(cell: Cell, **changes: Any) -> list[CellRun]:
    """Returns three runs that cost what the model says, and are as fresh as the delay lets them be."""
    wait = batch_of(cell) / RATE
    return runs(cell, cpu=EXPORT_US / batch_of(cell) + SPAN_US, p95=wait, **changes)


def analysed(made: list[CellRun], *cells: Cell, freshness: float | None = 1.5) -> Tuning:
    """Returns the analysis of a sweep with these runs."""
    return analyse(plan(*cells), made, freshness_seconds=freshness, detection_seconds=4, least_queue=2_048)
