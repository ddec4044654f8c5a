"""The picture of a sweep: cost against freshness, the cost model, and what it leaves."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import LogLocator, NullFormatter

from loadtest.pictures import BLUE, GREEN, GREY, ORANGE, look
from loadtest.tune.analysis import Tuning
from loadtest.tune.cells import CellSummary
from loadtest.tune.cost import CostModel
from loadtest.tune.figures import Figure
from loadtest.tune.labels import Label, place_labels
from loadtest.tune.plan import Cell, CellRun, Plan

_COLOURS = {"none": BLUE, "gzip": ORANGE}
_SPREAD = 2
"""Standard deviations on each side, within which 19 of 20 residuals are."""


def draw_tuning(plan: Plan, runs: Sequence[CellRun], tuning: Tuning) -> Drawing:
    """Draws three plots: the front of cost and freshness, the cost model, and its residuals."""
    with look():
        figure = Drawing(figsize=(15, 5), layout="constrained")
        front, model, residuals = figure.subplots(1, 3, width_ratios=(1.5, 1, 1))
        labels = _draw_front(front, plan, tuning)
        _draw_model(model, runs, tuning)
        _draw_residuals(residuals, runs, tuning)
        place_labels(figure, front, labels)
        return figure


def _draw_front(axes: Axes, plan: Plan, tuning: Tuning) -> list[Label]:
    """Draws the cells; returns their labels, the most important first."""
    recommended = tuning.recommendation.cell if tuning.recommendation else None
    drawn = [each for each in tuning.cells if each.point]
    for each in drawn:
        _point(axes, each, is_recommended=each.cell == recommended)
    line = sorted(each.point for each in drawn if each.is_on_front and each.point)
    axes.plot(
        *zip(*line, strict=True) if line else ([], []), color=BLUE, linewidth=1, zorder=0, label="front"
    )
    if tuning.freshness_seconds is not None:
        axes.axvline(tuning.freshness_seconds, color=GREY, linestyle=":", label="asked for")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.1, y=0.15)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("freshness: 95 % accepted within, s")
    axes.set_ylabel("CPU of telemetry a span, µs")
    axes.set_title("Cost against freshness (batch/delay in ms)", fontsize=10)
    _legend(axes)
    ranked = sorted(
        drawn, key=lambda it: (it.cell != recommended, not it.is_on_front, it.cell != plan.default)
    )
    return [Label(_short(it.cell, plan), it.point) for it in ranked if it.point]


def _point(axes: Axes, cell: CellSummary, *, is_recommended: bool) -> None:
    if cell.point is None or cell.cpu_us_per_span is None or cell.freshness_p95_seconds is None:
        return
    colour = GREEN if is_recommended else BLUE if cell.is_on_front else GREY
    axes.errorbar(
        *cell.point,
        xerr=_reach(cell.freshness_p95_seconds),
        yerr=_reach(cell.cpu_us_per_span),
        marker="*" if is_recommended else "o",
        markersize=15 if is_recommended else 5,
        color=colour,
        elinewidth=0.8,
        label="recommended" if is_recommended else None,
        zorder=4 if is_recommended else 3 if cell.is_on_front else 2,
    )


def _reach(figure: Figure) -> list[list[float]]:
    return [[figure.value - figure.low], [figure.high - figure.value]]


def _short(cell: Cell, plan: Plan) -> str:
    marks = (" gz" if cell.compression == "gzip" else "") + (" (now)" if cell == plan.default else "")
    return f"{cell.batch}/{cell.delay_ms:g}{marks}"


def _draw_model(axes: Axes, runs: Sequence[CellRun], tuning: Tuning) -> None:
    for compression, used in _by_compression(runs).items():
        colour = _COLOURS.get(compression, GREY)
        sizes = [run.batch_spans for run in used]
        axes.plot(sizes, [run.cpu_us_per_span for run in used], "o", color=colour, alpha=0.6, markersize=4)
        model = tuning.model(compression)
        if model is not None:
            drawn = np.geomspace(min(sizes), max(sizes), 60)
            axes.plot(
                drawn,
                [model.at(size) for size in drawn],
                color=colour,
                label=f"{compression}: {model.export_us.value:.0f} µs/B + {model.span_us.value:.1f} µs",
            )
            _draw_knee(axes, model, colour, max(sizes))
    _logarithmic(axes)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("CPU of telemetry a span, µs")
    axes.set_title("The model: a/B + b", fontsize=10)
    _legend(axes)


def _draw_knee(axes: Axes, model: CostModel, colour: str, most: float) -> None:
    if model.knee_spans is not None and model.knee_spans <= most:
        axes.axvline(
            model.knee_spans,
            color=colour,
            linestyle="--",
            linewidth=1,
            label=f"knee, {model.compression}: {model.knee_spans:.0f} spans",
        )


def _draw_residuals(axes: Axes, runs: Sequence[CellRun], tuning: Tuning) -> None:
    for compression, used in _by_compression(runs).items():
        model = tuning.model(compression)
        if model is None:
            continue
        colour = _COLOURS.get(compression, GREY)
        axes.plot(
            [run.batch_spans for run in used],
            [model.residual(run) for run in used],
            "o",
            color=colour,
            alpha=0.6,
            markersize=4,
            label=f"{compression}: {model.residual_us:.2f} µs standard deviation, R² {model.r_squared:.2f}",
        )
        reach = _SPREAD * model.residual_us
        axes.axhspan(-reach, reach, color=colour, alpha=0.08)
    axes.axhline(0, color=GREY, linewidth=1)
    axes.margins(y=0.3)
    _logarithmic(axes)
    axes.set_ylabel("measured less the model, µs a span")
    axes.set_title(f"What the model leaves, and ±{_SPREAD} standard deviations", fontsize=10)
    _legend(axes)


def _by_compression(runs: Sequence[CellRun]) -> dict[str, list[CellRun]]:
    found: dict[str, list[CellRun]] = {}
    for run in runs:
        if run.is_valid and run.batch_spans and math.isfinite(run.cpu_us_per_span):
            found.setdefault(run.cell.compression, []).append(run)
    return found


def _logarithmic(axes: Axes) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("B, spans in an export, mean of a run")


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:  # not when no run was valid
        axes.legend(fontsize=8, loc="upper right")
