"""The model of what telemetry costs: a fixed amount for each export, and one for each span."""

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel

from loadtest.statistics import Array, Line, fit_line, knee
from loadtest.tune.figures import Figure
from loadtest.tune.plan import CellRun

WASTE = 0.2
"""Beyond the knee the exports' fixed cost is at most this share of the whole."""
_RESAMPLES = 1_000
_FEWEST = 3
"""Runs that tell anything of the residuals of a line."""


class CostModel(BaseModel):
    """`cost = export_us * exports + span_us * spans`, in CPU microseconds, for one compression."""

    compression: str
    export_us: Figure
    """With its 95 % bootstrap interval, as the next."""
    span_us: Figure
    residual_us: float
    """The standard deviation of what the model leaves of a run's cost a span."""
    r_squared: float
    """The share of the variation between the runs that the model explains."""
    runs: int

    @property
    def knee_spans(self) -> float | None:
        """The batch from which the exports' share is at most `WASTE`; None if spans cost nothing."""
        line = Line(self.export_us.value, self.span_us.value, (), self.r_squared)
        found = knee(line, waste=WASTE)
        return found if np.isfinite(found) else None

    def at(self, batch_spans: float) -> float:
        """Returns the cost of a span in exports of this size, in microseconds."""
        return self.export_us.value / batch_spans + self.span_us.value

    def residual(self, run: CellRun) -> float:
        """Returns what the model leaves of a run's cost of a span, in microseconds."""
        return run.cpu_us_per_span - self.at(run.batch_spans)

    def __str__(self) -> str:
        """Returns the model as a sentence's part, with intervals."""
        return f"{self.export_us} µs an export + {self.span_us} µs a span"


def fit_cost(runs: Sequence[CellRun], compression: str, random: np.random.Generator) -> CostModel | None:
    """Fits the model to the runs of one compression; None if there are too few, or of one size only."""
    # If the delay is longer than the measurement, there may be no export during it.
    used = [
        run
        for run in runs
        if run.cell.compression == compression and run.batch_spans and np.isfinite(run.cpu_us_per_span)
    ]
    # Divided by the spans: `cost of a span = export_us * (exports a span) + span_us`.
    x = np.array([1 / run.batch_spans for run in used])
    y = np.array([run.cpu_us_per_span for run in used])
    if len(used) < _FEWEST:
        return None
    try:
        line = fit_line(x, y)
    except ValueError:
        return None
    picks = random.integers(0, len(x), (_RESAMPLES, len(x)))
    (low_export, high_export), (low_span, high_span) = (
        np.nanpercentile(drawn, [2.5, 97.5]) for drawn in _fit_each(x[picks], y[picks])
    )
    return CostModel(
        compression=compression,
        export_us=Figure(value=line.each, low=low_export, high=high_export),
        span_us=Figure(value=line.fixed, low=low_span, high=high_span),
        residual_us=float(np.sqrt(np.square(line.residuals).sum() / (len(used) - 2))),
        r_squared=line.r_squared,
        runs=len(used),
    )


def _fit_each(x: Array, y: Array) -> tuple[Array, Array]:
    """Fits each row as `fit_line` does; returns the slopes and intercepts, NaN for a row of one size."""
    centred = x - x.mean(axis=1, keepdims=True)
    # Of a row of one size, rounding would leave a spread.
    spread = np.where(np.ptp(x, axis=1) > 0, np.square(centred).sum(axis=1), np.nan)
    slopes = (centred * y).sum(axis=1) / spread
    intercepts = y.mean(axis=1) - slopes * x.mean(axis=1)
    is_below = intercepts < 0
    slopes = np.where(is_below, (x * y).sum(axis=1) / np.square(x).sum(axis=1), slopes)
    is_cheaper = slopes < 0
    return np.maximum(slopes, 0.0), np.where(is_below, 0.0, np.where(is_cheaper, y.mean(axis=1), intercepts))
