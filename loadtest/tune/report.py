"""The report of a sweep: a page, pictures, and the recommended settings."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from loadtest.page import PageTable, Picture, describe_machine, write_page
from loadtest.pictures import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, look, save_png
from loadtest.tune.analysis import WASTE, CellSummary, Figure, Tuning
from loadtest.tune.plan import CellRun, Plan
from loadtest.verdict import Judgement, Verdict

_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, RED, GREY)


def verdicts_of(tuning: Tuning) -> list[Verdict]:
    """Returns a verdict for each cell, with the reasons if it is invalid."""
    return [
        Verdict(
            judgement=Judgement.PASS if cell.is_valid else Judgement.INVALID,
            promise=f"{cell.cell}",
            figure=_figures(cell) if cell.is_valid else "; ".join(cell.invalid_because),
        )
        for cell in tuning.cells
    ]


def write_report(plan: Plan, runs: Sequence[CellRun], tuning: Tuning, folder: Path) -> Path:
    """Writes `report.html`, `tuning.png` and, with a recommendation, `recommended.env`; returns the page."""
    figure = draw_tuning(plan, runs, tuning)
    save_png(figure, folder / "tuning.png")
    if tuning.recommendation is not None:
        (folder / "recommended.env").write_text(recommended_env(tuning))
    page = folder / "report.html"
    write_page(
        page,
        title="Tuning: batch size, delay and compression",
        summary=tuning.recommendation.reason if tuning.recommendation else _WITHOUT_DEFAULT,
        verdicts=verdicts_of(tuning),
        pictures=[Picture("Cost, freshness, and what an export costs", figure, _explain(tuning))],
        tables=[_cells(tuning), _settings(tuning), _plan(plan)],
    )
    return page


def recommended_env(tuning: Tuning) -> str:
    """Returns the settings as the text of a file for `make up TELEMETRY_ENV=…`.

    Raises:
        ValueError: nothing is recommended.
    """
    recommendation = tuning.recommendation
    if recommendation is None:
        raise ValueError(_WITHOUT_DEFAULT)
    reason = recommendation.reason.replace(". ", ".\n# ")
    lines = [f"# {reason}", f"# Measured {describe_machine()}."]
    return (
        "\n".join([*lines, *(f"{name}={value}" for name, value in recommendation.variables.items())]) + "\n"
    )


def draw_tuning(plan: Plan, runs: Sequence[CellRun], tuning: Tuning) -> Drawing:
    """Draws three plots: CPU a span by batch, freshness against cost with its front, the fit of an export."""
    with look():
        figure = Drawing(figsize=(13, 4.4), layout="constrained")
        cost, front, fit = figure.subplots(1, 3)
        _draw_cost(cost, tuning)
        _draw_front(front, plan, tuning)
        _draw_fit(fit, plan, runs, tuning)
        return figure


def _draw_cost(axes: Axes, tuning: Tuning) -> None:
    kinds = sorted({(each.cell.delay_ms, each.cell.compression) for each in tuning.cells})
    for (delay_ms, compression), colour in zip(kinds, _cycle(len(kinds)), strict=True):
        cells = [
            (each.cell.batch, each.cpu_us_per_span)
            for each in tuning.cells
            if (each.cell.delay_ms, each.cell.compression) == (delay_ms, compression) and each.is_valid
        ]
        points = sorted((batch, figure) for batch, figure in cells if figure is not None)
        _errorbar(axes, points, colour, f"{delay_ms:g} ms, {compression}")
    if tuning.knee_spans is not None:
        axes.axvline(tuning.knee_spans, color=GREY, linestyle="--", linewidth=1)
        axes.annotate(
            f"knee {tuning.knee_spans:.0f}",
            (tuning.knee_spans, 1),
            xycoords=("data", "axes fraction"),
            va="top",
        )
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("batch size, spans")
    axes.set_ylabel("CPU a span, µs (whole service)")
    _legend(axes)


def _errorbar(axes: Axes, points: Sequence[tuple[float, Figure]], colour: str, label: str) -> None:
    if points:
        x = [batch for batch, _ in points]
        y = [figure.value for _, figure in points]
        low = [figure.value - figure.low for _, figure in points]
        high = [figure.high - figure.value for _, figure in points]
        axes.errorbar(x, y, yerr=[low, high], color=colour, marker="o", capsize=3, label=label)


def _draw_front(axes: Axes, plan: Plan, tuning: Tuning) -> None:
    recommended = tuning.recommendation.cell if tuning.recommendation else None
    front = []
    for each in tuning.cells:
        if not each.is_valid or each.freshness_p95_seconds is None or each.cpu_us_per_span is None:
            continue
        point = (each.freshness_p95_seconds.value, each.cpu_us_per_span.value)
        is_best = each.cell == recommended
        colour = GREEN if is_best else BLUE if each.is_on_front else GREY
        axes.plot(*point, marker="*" if is_best else "o", markersize=14 if is_best else 6, color=colour)
        marks = (" gz" if each.cell.compression == "gzip" else "") + (
            " (now)" if each.cell == plan.default else ""
        )
        axes.annotate(
            f"{each.cell.batch}/{each.cell.delay_ms:g}{marks}",
            point,
            xytext=(5, 4),
            textcoords="offset points",
            fontsize=7,
        )
        if each.is_on_front:
            front.append(point)
    axes.plot(*zip(*sorted(front), strict=True), color=BLUE, linewidth=1, zorder=0)
    axes.set_xlabel("freshness: 95 % accepted within, s")
    axes.set_ylabel("CPU a span, µs")
    axes.set_title("Pareto front (batch/delay in ms)", fontsize=10)


def _draw_fit(axes: Axes, plan: Plan, runs: Sequence[CellRun], tuning: Tuning) -> None:
    for compression, colour in (("none", BLUE), ("gzip", ORANGE)):
        used = [run for run in runs if run.is_valid and run.cell.compression == compression]
        if used:
            sizes, durations = [run.batch_spans for run in used], [run.export_ms for run in used]
            axes.plot(sizes, durations, "o", color=colour, alpha=0.6, label=compression)
    if tuning.fixed_ms is not None and tuning.each_us is not None:
        most = max((run.batch_spans for run in runs if run.is_valid), default=1.0)
        sizes_drawn = np.linspace(0, most, 50)
        label = f"S(B) = {tuning.fixed_ms:.2f} ms + {tuning.each_us:.1f} µs B, R² {tuning.r_squared:.2f}"
        axes.plot(sizes_drawn, tuning.fixed_ms + tuning.each_us / 1000 * sizes_drawn, color=GREY, label=label)
    axes.set_xlabel("spans in an export, mean of a run")
    axes.set_ylabel("duration of an export, ms")
    axes.set_ylim(bottom=0)
    axes.set_title(f"An export's duration ({plan.default.compression} fitted)", fontsize=10)
    _legend(axes)


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:  # not when no run was valid
        axes.legend(fontsize=8)


def _cycle(count: int) -> list[str]:
    return [_COLOURS[index % len(_COLOURS)] for index in range(count)]


def _explain(tuning: Tuning) -> str:
    if tuning.fixed_ms is None or tuning.each_us is None or tuning.r_squared is None:
        return "Too few valid runs of different batch sizes for a fit."
    knee = (
        "there is no knee" if tuning.knee_spans is None else f"the knee is at {tuning.knee_spans:.0f} spans"
    )
    filling = ", ".join(
        f"{cell.cell.batch}/{cell.cell.delay_ms:g} ms at {cell.cell.batch / cell.cell.delay_ms * 1000:.0f}/s"
        for cell in tuning.cells
        if cell.cell.compression == "none"
    )
    return (
        f"An export of B spans takes {tuning.fixed_ms:.2f} ms + {tuning.each_us:.1f} µs x B; {knee}, beyond "
        f"which the fixed part is at most {WASTE:.0%}. Batches fill before their delay is over only above: "
        f"{filling}; measured were {tuning.spans_per_second:.0f} spans a second, "
        f"{tuning.peak_spans_per_second:.0f} at most."
    )


def _figures(cell: CellSummary) -> str:
    return (
        f"{cell.cpu_us_per_span} µs CPU a span, 95 % accepted within {cell.freshness_p95_seconds} s, "
        f"{cell.batch_spans} spans an export"
    )


def _cells(tuning: Tuning) -> PageTable:
    headings = (
        *(
            "cell",
            "valid",
            "CPU a span, µs",
            "against now",
            "freshness p50, s",
            "p95, s",
            "export p50, ms",
            "p99, ms",
        ),
        *("spans an export", "bytes a span", "memory, MiB", "queue at most", "dropped", "front"),
    )
    rows = []
    for each in tuning.cells:
        figures = (
            *(each.cpu_us_per_span, each.cpu_against_default, each.freshness_p50_seconds),
            *(each.freshness_p95_seconds, each.export_p50_ms, each.export_p99_ms, each.batch_spans),
            *(each.bytes_per_span, each.rss_mib),
        )
        shown = ["" if figure is None else f"{figure}" for figure in figures]
        last = [f"{each.queue_high_water}", f"{each.dropped}", "yes" if each.is_on_front else ""]
        rows.append([f"{each.cell}", f"{each.valid_runs} of {each.runs}", *shown, *last])
    return PageTable("Cells: medians, with 95 % bootstrap intervals; against now, with 90 %", headings, rows)


def _settings(tuning: Tuning) -> PageTable:
    recommendation = tuning.recommendation
    rows = (
        [] if recommendation is None else [[name, value] for name, value in recommendation.variables.items()]
    )
    if recommendation is not None:
        rows.append(["spans the queue must hold", f"{recommendation.queue_spans}"])
    return PageTable("Recommended", ["variable", "value"], rows, is_code=True)


def _plan(plan: Plan) -> PageTable:
    rows = [
        ["load", f"{plan.rate:g} requests/s by {plan.users} shoppers"],
        ["each run", f"{plan.warm_up_seconds:g} s of warm-up, {plan.measured_seconds:g} s measured"],
        ["repeats", f"{plan.repeats}, each in random order (seed {plan.seed})"],
        ["runtime", plan.runtime],
    ]
    return PageTable("How it was measured", ["", ""], rows)


_WITHOUT_DEFAULT = "What is used now could not be measured properly, so nothing can be said to be better."
