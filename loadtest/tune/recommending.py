"""The recommendation: the cheapest settings that are fresh enough."""

import math
from collections.abc import Sequence

from pydantic import BaseModel

from loadtest.statistics import queue_needed, short
from loadtest.tune.cells import CellSummary, Comparing
from loadtest.tune.figures import Figure
from loadtest.tune.plan import Cell

FRESHER_BY = 0.9
"""A cell is only worth a change if it is cheaper, or takes at most this share of the time."""
_QUEUE_STEP = 256


class Recommendation(BaseModel):
    """Settings to use, with the reason."""

    cell: Cell
    is_better: bool
    """Whether it beats the default beyond noise; else it is the default."""
    reason: str
    """Two sentences."""
    queue_spans: int
    variables: dict[str, str]


class QueueNeeds(BaseModel):
    """What the size of a queue follows from."""

    peak_spans_per_second: float
    detection_seconds: float
    """How long a dead Collector goes unnoticed."""
    least_queue: int
    """The services' current queue size, below which none is recommended."""


def recommend(
    default: Cell,
    cells: Sequence[CellSummary],
    front: Sequence[CellSummary],
    comparing: Comparing,
    *,
    freshness_seconds: float,
    needs: QueueNeeds,
) -> Recommendation | None:
    """Recommends the cheapest cell of the front that is surely as fresh as asked; None without one.

    The default stays if it is as fresh as asked and no other cell beats it beyond noise.
    """
    usual = next(each for each in cells if each.cell == default)
    enough = [each for each in front if _is_within(each, freshness_seconds)]
    if not usual.is_valid or not enough:
        return None
    best = enough[-1]
    is_better = (
        not _is_within(usual, freshness_seconds)
        or comparing.cpu.is_below(best.cell, default)
        or comparing.freshness.is_below(best.cell, default, FRESHER_BY)
    )
    if not is_better:
        return settings_of(
            usual,
            needs,
            is_better=False,
            reason=(
                f"No other cell was better than the defaults ({default}) beyond noise. They stay as they "
                f"are: {_figures(usual)}."
            ),
        )
    return settings_of(
        best,
        needs,
        reason=(
            f"{best.cell} is the cheapest of those that are surely accepted within "
            f"{short(freshness_seconds)} s: {_figures(best)}. Against the defaults ({default}), CPU a span "
            f"is {_times(best.cpu_against_default)}, the time of those 95 % "
            f"{_times(best.freshness_against_default)}."
        ),
    )


def settings_of(
    cell: CellSummary, needs: QueueNeeds, *, reason: str = "", is_better: bool = True
) -> Recommendation:
    """Returns a cell's settings, with the queue that its rate needs."""
    queue = queue_needed(
        spans_per_second=needs.peak_spans_per_second,
        export_p99_seconds=_value(cell.export_p99_ms) / 1000,
        detection_seconds=needs.detection_seconds,
        batch=cell.cell.batch,
    )
    rounded = max(needs.least_queue, math.ceil(queue / _QUEUE_STEP) * _QUEUE_STEP)
    return Recommendation(
        cell=cell.cell,
        is_better=is_better,
        reason=reason or f"{cell.cell}, of the front: {_figures(cell)}. Nothing fresher is as cheap.",
        queue_spans=queue,
        variables={**cell.cell.variables, "OTEL_BSP_MAX_QUEUE_SIZE": f"{rounded}"},
    )


def _is_within(cell: CellSummary, freshness_seconds: float) -> bool:
    return cell.freshness_p95_seconds is not None and cell.freshness_p95_seconds.high <= freshness_seconds


def _figures(cell: CellSummary) -> str:
    return (
        f"telemetry takes {cell.cpu_us_per_span} µs of CPU a span, and the Collector has 95 % of the spans "
        f"within {cell.freshness_p95_seconds} s of their end"
    )


def _times(ratio: Figure | None) -> str:
    return "unknown" if ratio is None else f"x {ratio}"


def _value(figure: Figure | None) -> float:
    return math.inf if figure is None else figure.value
