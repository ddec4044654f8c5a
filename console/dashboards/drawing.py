"""Draws a panel from the results of its queries."""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import quote

from nicegui import ui
from nicegui.events import EChartPointClickEventArguments

from console.charts import GRAY, NAMED, Band, Curve, Dot, Options, Points, bands, curves, heat
from console.dashboards.definitions import Panel, fill_legend
from console.dashboards.units import scale, text
from console.dashboards.window import Window
from stack.backends.prometheus import Exemplar, Series

Answers = Sequence[Sequence[Series]]
"""The series of each target, in the targets' order."""
Stretches = Sequence[tuple[float, float, str]]
"""Start and end in milliseconds, and a name."""
_GAPS = 2.5
"""The number of steps without a point after which a curve is interrupted."""
_TABLE_ROWS = 12
_NOTHING = 1e-9
"""The largest rounding error of a difference between two buckets."""


class PanelBox:
    """A panel's place on the page; created once, so that nothing jumps when its data changes.

    Args:
        panel: the panel's definition.
    """

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._chart: ui.echart | None = None
        box = ui.element("div").classes(f"panel {panel.kind}-panel")
        with box.props(f'data-panel="{panel.title}"'):
            self._nothing = ui.label("…").classes("soft note")
            if panel.kind not in {"stat", "table"}:
                self._chart = ui.echart({}, on_point_click=_open_trace).classes("chart")
                self._chart.props(f'role="img" aria-label="{panel.title}"')
            self._rest = ui.element("div")

    def show(
        self,
        answers: Answers,
        exemplars: Sequence[Exemplar],
        window: Window,
        stretches: Stretches,
        chosen: Mapping[str, str],
    ) -> None:
        """Draws the query results.

        Args:
            answers: the results of the queries.
            exemplars: the queries' exemplars; a click on one opens its trace.
            window: the displayed time range.
            stretches: the time spans of experiments.
            chosen: the variables' values, for links.
        """
        has_data = any(answers)
        self._nothing.set_text("" if has_data else "no data in this time")
        if self._chart is not None:
            self._chart.options.clear()
            self._chart.options.update(
                options_of(self._panel, answers, exemplars, window, stretches) if has_data else {}
            )
            self._chart.update()
            return
        self._rest.clear()
        if has_data:
            with self._rest:
                if self._panel.kind == "stat":
                    _draw_figures(self._panel, answers)
                else:
                    _draw_table(self._panel, answers, chosen)


def options_of(
    panel: Panel, answers: Answers, exemplars: Sequence[Exemplar], window: Window, stretches: Stretches
) -> Options:
    """Returns the options of a panel's chart."""
    if panel.kind == "state-timeline":
        return _bands(panel, answers, window)
    if panel.kind == "heatmap":
        return _heat(panel, answers)
    return _curves(panel, answers, exemplars, window, stretches)


def colour_of(value: float, steps: Mapping[float, str]) -> str:
    """Returns the colour of the highest step that the value reaches, or green below the first."""
    reached = [step for step in steps if value >= step]
    return NAMED.get(steps[max(reached)], steps[max(reached)]) if reached else NAMED["green"]


def _open_trace(clicked: EChartPointClickEventArguments) -> None:
    if clicked.series_type == "scatter":
        ui.navigate.to(f"/traces/{quote(clicked.name, safe='')}")


def _curves(
    panel: Panel, answers: Answers, exemplars: Sequence[Exemplar], window: Window, stretches: Stretches
) -> Options:
    found = [
        (fill_legend(target.legend, series.labels), series)
        for target, of_target in zip(panel.targets, answers, strict=True)
        for series in of_target
    ]
    numbers = [abs(value) for _, series in found for _, value in series.points if math.isfinite(value)]
    factor, unit = scale(panel.unit, max(numbers, default=0.0))
    options = curves(
        [
            Curve(name, _points(series, window.step, factor), is_limit=name in panel.limits)
            for name, series in found
        ],
        unit=unit,
        is_stacked=panel.is_stacked,
        lines={step * factor: colour for step, colour in panel.steps.items() if step > 0},
        spans=stretches,
        dots=[Dot(each.at * 1000, each.value * factor, each.trace_id) for each in exemplars],
    )
    options["xAxis"] |= {"min": window.start * 1000, "max": window.end * 1000}
    return options


def _points(series: Series, step: float, factor: float) -> Points:
    points: list[tuple[float, float | None]] = []
    before = series.points[0][0] if series.points else 0.0
    for at, value in series.points:
        if at - before > _GAPS * step:
            points.append((before * 1000 + 1, None))
        points.append((at * 1000, float(f"{value * factor:.4g}") if math.isfinite(value) else None))
        before = at
    return points


def _bands(panel: Panel, answers: Answers, window: Window) -> Options:
    legend, series_of_all = panel.targets[0].legend, answers[0]
    drawn: list[Band] = []
    for series in series_of_all:
        row = fill_legend(legend, series.labels)
        known = [(at, value) for at, value in series.points if math.isfinite(value)]
        for start, end, value in _runs(known, window):
            word, colour = panel.words.get(value, (f"{value:g}", "gray"))
            drawn.append(Band(row, start * 1000, end * 1000, word, NAMED.get(colour, GRAY)))
    options = bands(drawn, [fill_legend(legend, series.labels) for series in series_of_all])
    options["xAxis"] |= {"min": window.start * 1000, "max": window.end * 1000}
    return options


def _runs(points: Sequence[tuple[float, float]], window: Window) -> list[tuple[float, float, float]]:
    """Returns start, end and value of each run of equal values; a run ends at another value or a gap."""
    runs: list[tuple[float, float, float]] = []
    before = -math.inf
    for at, value in points:
        is_next = at - before <= _GAPS * window.step
        if is_next:
            start, _, same = runs[-1]
            runs[-1] = (start, at, same)
        if not is_next or runs[-1][2] != value:
            runs.append((at, at, value))
        before = at
        runs[-1] = (runs[-1][0], min(at + window.step, window.end), runs[-1][2])
    return runs


def _heat(panel: Panel, answers: Answers) -> Options:
    by_bound = sorted(
        ((float(series.labels["le"]), dict(series.points)) for series in answers[0]), key=lambda pair: pair[0]
    )
    times = sorted({at for _, points in by_bound for at in points})
    cells = []
    for row, (_, points) in enumerate(by_bound):
        below = by_bound[row - 1][1] if row else {}
        for column, at in enumerate(times):
            # Buckets are cumulative.
            value = points.get(at, 0.0) - below.get(at, 0.0)
            if _NOTHING < value < math.inf:
                cells.append((column, row, float(f"{value:.3g}")))
    names = ["more" if math.isinf(bound) else text(panel.unit, bound) for bound, _ in by_bound]
    return heat([f"{datetime.fromtimestamp(at, UTC).astimezone():%H:%M:%S}" for at in times], names, cells)


def _draw_figures(panel: Panel, answers: Answers) -> None:
    with ui.element("div").classes("stat"):
        for target, of_target in zip(panel.targets, answers, strict=True):
            for series in of_target:
                value = series.value if series.points else math.nan
                with ui.element("div"):
                    shown = ui.label(text(panel.unit, value)).classes("value")
                    if panel.steps and not math.isnan(value):
                        shown.style(f"color: {colour_of(value, panel.steps)}")
                    ui.label(fill_legend(target.legend, series.labels)).classes("hint")


def link_of(panel: Panel, values: Mapping[str, str]) -> str:
    """Returns the link of a table's row.

    Args:
        panel: a table.
        values: the values of the variables and of the row's labels.
    """
    return re.sub(
        r"\$\{(?:__data\.fields\.)?(\w+)(?::percentencode)?\}",
        lambda found: quote(values.get(found[1], ""), safe=""),
        panel.row_link,
    )


def _draw_table(panel: Panel, answers: Answers, chosen: Mapping[str, str]) -> None:
    columns = [target.legend for target in panel.targets]
    rows: dict[tuple[tuple[str, str], ...], dict[str, float]] = {}
    for column, of_target in zip(columns, answers, strict=True):
        for series in of_target:
            rows.setdefault(tuple(sorted(series.labels.items())), {})[column] = series.value
    largest = sorted(rows.items(), key=lambda row: -(_finite(row[1].get(columns[0]))))[:_TABLE_ROWS]
    with ui.element("table"):
        with ui.element("tr"):
            for name in [label for label, _ in largest[0][0]] + columns:
                with ui.element("th"):
                    ui.label(name)
        for labels, values in largest:
            with ui.element("tr"):
                for _, value in labels:
                    with ui.element("td"):
                        if panel.row_link:
                            ui.link(value, link_of(panel, {**chosen, **dict(labels)}))
                        else:
                            ui.label(value)
                for column in columns:
                    with ui.element("td"):
                        ui.label(text(panel.column_units.get(column, "none"), values.get(column, math.nan)))


def _finite(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) else -math.inf
