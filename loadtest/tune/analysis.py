"""The analysis of a sweep: figures with intervals, the fit, the Pareto front, and a recommendation."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from pydantic import BaseModel

from loadtest.statistics import (
    Line,
    bootstrap_median,
    fit_line,
    knee,
    pareto_front,
    queue_needed,
    ratios_to_control,
    short,
)
from loadtest.tune.plan import Cell, CellRun, Plan

WASTE = 0.2
"""Beyond the knee an export's fixed cost is at most this share of it."""
DEARER_AT_MOST = 1.1
"""A fresher cell is recommended only if its cost is provably below this ratio."""
FRESHER_BY = 0.9
UNSURE = 0.05
"""How often some cell may beat the default by chance when none is better."""
_FEWEST_VALID = 2
_QUEUE_STEP = 256
_SEED = 20_260_102


class Figure(BaseModel):
    """A median over a cell's valid runs, with its 95 % bootstrap interval, unless stated otherwise."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Returns the value with its interval in parentheses."""
        return f"{short(self.value)} ({short(self.low)} to {short(self.high)})"


class CellSummary(BaseModel):
    """The summary of one cell's runs."""

    cell: Cell
    valid_runs: int
    runs: int
    invalid_because: tuple[str, ...]
    """Why the cell cannot be judged; empty for a valid one."""
    cpu_us_per_span: Figure | None = None
    freshness_p95_seconds: Figure | None = None
    freshness_p50_seconds: Figure | None = None
    export_p50_ms: Figure | None = None
    export_p99_ms: Figure | None = None
    batch_spans: Figure | None = None
    bytes_per_span: Figure | None = None
    rss_mib: Figure | None = None
    queue_high_water: int = 0
    dropped: int = 0
    cpu_against_default: Figure | None = None
    """Below 1 is cheaper; each end of the interval has 95 % confidence."""
    freshness_against_default: Figure | None = None
    cpu_among_all: Figure | None = None
    """The same with joint confidence over all cells: of many that are no better, one often looks so."""
    freshness_among_all: Figure | None = None
    is_on_front: bool = False

    @property
    def is_valid(self) -> bool:
        """Whether the cell may be recommended."""
        return not self.invalid_because


class Recommendation(BaseModel):
    """The recommended settings, with the reason."""

    cell: Cell
    is_better: bool
    """Whether it beats the default beyond noise; else it is the default."""
    reason: str
    """Two sentences."""
    queue_spans: int
    variables: dict[str, str]


class Tuning(BaseModel):
    """A sweep's result."""

    cells: list[CellSummary]
    fixed_ms: float | None
    """`S(B) = fixed + each * B`, the duration of an export of B spans; None when no line can be drawn."""
    each_us: float | None
    r_squared: float | None
    knee_spans: float | None
    spans_per_second: float
    peak_spans_per_second: float
    recommendation: Recommendation | None
    """None when the default itself was not measured properly."""


def analyse(plan: Plan, runs: Sequence[CellRun], *, detection_seconds: float, least_queue: int) -> Tuning:
    """Analyses a sweep.

    Args:
        plan: the sweep's plan.
        runs: every cell-run.
        detection_seconds: how long a dead Collector goes unnoticed.
        least_queue: the services' current queue size, below which none is recommended.
    """
    random = np.random.default_rng(_SEED)
    valid = [run for run in runs if run.is_valid]
    cells = [_summarise(cell, runs, random) for cell in plan.cells]
    _compare(plan, valid, cells)
    judged = [each for each in cells if each.is_valid and each.cpu_us_per_span and each.freshness_p95_seconds]
    points = [(_value(each.freshness_p95_seconds), _value(each.cpu_us_per_span)) for each in judged]
    for index in pareto_front(points):
        judged[index].is_on_front = True
    line = fit_exports(valid, plan.default.compression)
    peak = max((run.peak_spans_per_second for run in valid), default=0.0)
    return Tuning(
        cells=cells,
        fixed_ms=line.fixed if line else None,
        each_us=line.each * 1000 if line else None,
        r_squared=line.r_squared if line else None,
        knee_spans=_finite(knee(line, waste=WASTE)) if line else None,
        spans_per_second=float(np.median([run.spans_per_second for run in valid])) if valid else 0.0,
        peak_spans_per_second=peak,
        recommendation=recommend(
            plan.default, cells, peak, detection_seconds=detection_seconds, least_queue=least_queue
        ),
    )


def fit_exports(runs: Sequence[CellRun], compression: str) -> Line | None:
    """Fits an export's milliseconds to its spans, for one compression; None if there are too few sizes."""
    # If the delay is longer than the measurement, there may be no export during it.
    used = [run for run in runs if run.cell.compression == compression and run.batch_spans]
    try:
        return fit_line([run.batch_spans for run in used], [run.export_ms for run in used])
    except ValueError:
        return None


def recommend(
    default: Cell,
    cells: Sequence[CellSummary],
    peak_spans_per_second: float,
    *,
    detection_seconds: float,
    least_queue: int,
) -> Recommendation | None:
    """Recommends a cell; None if the default was not measured properly.

    It is the freshest cell that is provably fresher than the default and hardly dearer; without one, the
    cheapest cell that is provably cheaper and hardly staler; without one, the default.
    """
    usual = next(each for each in cells if each.cell == default)
    if not usual.is_valid:
        return None
    valid = [each for each in cells if each.is_valid and each.cell != default]

    fresher = [
        each
        for each in valid
        if _high(each.freshness_among_all) < FRESHER_BY and _high(each.cpu_against_default) < DEARER_AT_MOST
    ]
    cheaper = [
        each
        for each in valid
        if _high(each.cpu_among_all) < 1 and _high(each.freshness_against_default) < DEARER_AT_MOST
    ]
    if fresher:
        best = min(fresher, key=lambda each: (_value(each.freshness_p95_seconds), each.cell.batch))
        reason = (
            f"With {best.cell} the Collector has 95 % of the spans within {best.freshness_p95_seconds} s of "
            f"their end, x {best.freshness_against_default} of the time of the defaults ({default}). "
            f"CPU a span is x {best.cpu_against_default} of theirs."
        )
    elif cheaper:
        best = min(cheaper, key=lambda each: _value(each.cpu_us_per_span))
        reason = (
            f"With {best.cell} a span costs x {best.cpu_against_default} of the CPU of the defaults "
            f"({default}). The Collector has 95 % of the spans after x {best.freshness_against_default} of "
            "their time."
        )
    else:
        best = usual
        reason = (
            f"No other cell was better than the defaults ({default}) beyond noise. They stay as they are."
        )
    queue = queue_needed(
        spans_per_second=peak_spans_per_second,
        export_p99_seconds=_value(best.export_p99_ms) / 1000,
        detection_seconds=detection_seconds,
        batch=best.cell.batch,
    )
    rounded = max(least_queue, math.ceil(queue / _QUEUE_STEP) * _QUEUE_STEP)
    return Recommendation(
        cell=best.cell,
        is_better=best is not usual,
        reason=reason,
        queue_spans=queue,
        variables={**best.cell.variables, "OTEL_BSP_MAX_QUEUE_SIZE": f"{rounded}"},
    )


def _summarise(cell: Cell, runs: Sequence[CellRun], random: np.random.Generator) -> CellSummary:
    own = [run for run in runs if run.cell == cell]
    valid = [run for run in own if run.is_valid]
    reasons = list(dict.fromkeys(reason for run in own for reason in run.invalid_because))
    if len(valid) >= min(_FEWEST_VALID, len(own)) and valid:
        reasons = []
    elif not own:
        reasons = ["it was not measured"]

    def figure(read: Callable[[CellRun], float]) -> Figure | None:
        return _figure([read(run) for run in valid], random)

    return CellSummary(
        cell=cell,
        valid_runs=len(valid),
        runs=len(own),
        invalid_because=tuple(reasons),
        cpu_us_per_span=figure(lambda run: run.cpu_us_per_span),
        freshness_p95_seconds=figure(lambda run: run.freshness_p95_seconds),
        freshness_p50_seconds=figure(lambda run: run.freshness_p50_seconds),
        export_p50_ms=figure(lambda run: run.export_p50_ms),
        export_p99_ms=figure(lambda run: run.export_p99_ms),
        batch_spans=figure(lambda run: run.batch_spans),
        bytes_per_span=figure(lambda run: run.bytes_per_span),
        rss_mib=figure(lambda run: run.rss_bytes / 2**20),
        queue_high_water=max((run.queue_high_water for run in valid), default=0),
        dropped=sum(run.dropped for run in valid),
    )


def _compare(plan: Plan, valid: Sequence[CellRun], cells: Sequence[CellSummary]) -> None:
    """Records in each summary how its cell compares with the default."""

    def ratios(read: Callable[[CellRun], float], unsure: float) -> dict[Cell, Figure]:
        measured = [(run.cell, run.repeat, read(run)) for run in valid if 0 < read(run) < math.inf]
        # The probability of error applies to each end.
        found = ratios_to_control(measured, plan.default, confidence=1 - 2 * unsure)
        return {cell: Figure(value=it.value, low=it.low, high=it.high) for cell, it in found.items()}

    together = UNSURE / max(1, len(cells) - 1)
    cpu, cpu_together = (ratios(lambda run: run.cpu_us_per_span, it) for it in (UNSURE, together))
    age, age_together = (ratios(lambda run: run.freshness_p95_seconds, it) for it in (UNSURE, together))
    for each in cells:
        each.cpu_against_default = cpu.get(each.cell)
        each.freshness_against_default = age.get(each.cell)
        each.cpu_among_all = cpu_together.get(each.cell)
        each.freshness_among_all = age_together.get(each.cell)


def _figure(values: Sequence[float], random: np.random.Generator) -> Figure | None:
    if not values or not all(map(math.isfinite, values)):
        return None
    estimate = bootstrap_median(values, random=random)
    return Figure(value=estimate.value, low=estimate.low, high=estimate.high)


def _value(figure: Figure | None) -> float:
    return math.inf if figure is None else figure.value


def _high(figure: Figure | None) -> float:
    return math.inf if figure is None else figure.high


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
