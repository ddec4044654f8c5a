"""The summary of each cell of a sweep, and the front of those that nothing beats beyond noise."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel

from loadtest.tune.figures import Comparisons, Figure, median_of
from loadtest.tune.plan import Cell, CellRun, Plan

UNSURE = 0.05
"""How often some cell may beat the default by chance when none is better."""
_FEWEST_VALID = 2


class CellSummary(BaseModel):
    """The summary of one cell's runs."""

    cell: Cell
    valid_runs: int
    runs: int
    invalid_because: tuple[str, ...]
    """Why the cell cannot be judged; empty for a valid one."""
    cpu_us_per_span: Figure | None = None
    """Of telemetry's own threads."""
    encode_us_per_span: Figure | None = None
    send_us_per_span: Figure | None = None
    grpc_us_per_span: Figure | None = None
    share_of_service: Figure | None = None
    """Telemetry's threads over the whole process."""
    freshness_p95_seconds: Figure | None = None
    freshness_p50_seconds: Figure | None = None
    export_p50_ms: Figure | None = None
    export_p99_ms: Figure | None = None
    batch_spans: Figure | None = None
    bytes_per_span: Figure | None = None
    wire_bytes_per_span: Figure | None = None
    rss_mib: Figure | None = None
    queue_high_water: int = 0
    dropped: int = 0
    cpu_against_default: Figure | None = None
    """Below 1 is cheaper; each end of the interval has 95 % confidence."""
    freshness_against_default: Figure | None = None
    is_on_front: bool = False

    @property
    def is_valid(self) -> bool:
        """Whether the cell may be recommended."""
        return not self.invalid_because

    @property
    def point(self) -> tuple[float, float] | None:
        """Freshness in seconds and cost in microseconds; None if either is missing."""
        if not self.is_valid or self.freshness_p95_seconds is None or self.cpu_us_per_span is None:
            return None
        return self.freshness_p95_seconds.value, self.cpu_us_per_span.value


@dataclass(frozen=True, slots=True)
class Comparing:
    """Both comparisons of the cells."""

    cpu: Comparisons
    freshness: Comparisons

    @classmethod
    def of(cls, plan: Plan, valid: Sequence[CellRun], unsure: float | None = None) -> "Comparing":
        """Compares the valid runs.

        Args:
            plan: the sweep's plan.
            valid: its valid runs.
            unsure: how often an end of an interval may be wrong; by default so seldom that `UNSURE` holds for
                all cells together, since of many that are equal one often looks better.
        """
        each = UNSURE / max(1, len(plan.cells) - 1) if unsure is None else unsure
        return cls(
            cpu=Comparisons(valid, lambda run: run.cpu_us_per_span, each),
            freshness=Comparisons(valid, lambda run: run.freshness_p95_seconds, each),
        )


def summarise(plan: Plan, runs: Sequence[CellRun], random: np.random.Generator) -> list[CellSummary]:
    """Returns the summaries in the plan's order, compared with the default."""
    cells = [_summarise(cell, runs, random) for cell in plan.cells]
    alone = Comparing.of(plan, [run for run in runs if run.is_valid], UNSURE)
    for each in cells:
        each.cpu_against_default = alone.cpu.to(plan.default).get(each.cell)
        each.freshness_against_default = alone.freshness.to(plan.default).get(each.cell)
    return cells


def find_front(cells: Sequence[CellSummary], comparing: Comparing) -> list[CellSummary]:
    """Returns the cells that no other beats beyond noise, the freshest and dearest first.

    Each is cheaper than the one before it, beyond noise; a staler cell that is not has no merit. Nor has a
    cell that a cheaper one matches in freshness.
    """
    front: list[CellSummary] = []
    for each in sorted((it for it in cells if it.point), key=lambda it: (it.point, it.cell.batch)):
        if front and not comparing.cpu.is_below(each.cell, front[-1].cell):
            continue
        while front and not comparing.freshness.is_below(front[-1].cell, each.cell):
            front.pop()
        front.append(each)
    return front


def _summarise(cell: Cell, runs: Sequence[CellRun], random: np.random.Generator) -> CellSummary:
    own = [run for run in runs if run.cell == cell]
    valid = [run for run in own if run.is_valid]
    reasons = list(dict.fromkeys(reason for run in own for reason in run.invalid_because))
    if len(valid) >= min(_FEWEST_VALID, len(own)) and valid:
        reasons = []
    elif not own:
        reasons = ["it was not measured"]

    def figure(read: Callable[[CellRun], float]) -> Figure | None:
        return median_of([read(run) for run in valid], random)

    return CellSummary(
        cell=cell,
        valid_runs=len(valid),
        runs=len(own),
        invalid_because=tuple(reasons),
        cpu_us_per_span=figure(lambda run: run.cpu_us_per_span),
        encode_us_per_span=figure(lambda run: run.encode_us_per_span),
        send_us_per_span=figure(lambda run: run.send_us_per_span),
        grpc_us_per_span=figure(lambda run: run.grpc_us_per_span),
        share_of_service=figure(lambda run: run.share_of_service),
        freshness_p95_seconds=figure(lambda run: run.freshness_p95_seconds),
        freshness_p50_seconds=figure(lambda run: run.freshness_p50_seconds),
        export_p50_ms=figure(lambda run: run.export_p50_ms),
        export_p99_ms=figure(lambda run: run.export_p99_ms),
        batch_spans=figure(lambda run: run.batch_spans),
        bytes_per_span=figure(lambda run: run.bytes_per_span),
        wire_bytes_per_span=figure(lambda run: run.wire_bytes_per_span),
        rss_mib=figure(lambda run: run.rss_bytes / 2**20),
        queue_high_water=max((run.queue_high_water for run in valid), default=0),
        dropped=sum(run.dropped for run in valid),
    )
