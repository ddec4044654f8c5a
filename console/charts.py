"""Charts as ECharts options: curves and bands over time, heat maps. Readable on dark and light backgrounds.

The value of a key that begins with `:` is JavaScript (a NiceGUI convention), where ECharts needs a function.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Options = dict[str, Any]
Points = Sequence[tuple[float, float | None]]
"""Pairs of milliseconds since the epoch and a value; None is a gap."""

INK, GRID = "#8a8f98", "rgba(138, 143, 152, 0.25)"
COLOURS = ("#3b82f6", "#f59e0b", "#10b981", "#d946ef", "#ef4444", "#14b8a6", "#a3a316", "#6366f1")
GREEN, YELLOW, ORANGE, RED, PURPLE, GRAY = "#10b981", "#eab308", "#f97316", "#ef4444", "#a855f7", "#9ca3af"
NAMED = {
    "green": GREEN,
    "yellow": YELLOW,
    "orange": ORANGE,
    "dark-orange": "#c2410c",
    "red": RED,
    "purple": PURPLE,
    "gray": GRAY,
    "text": INK,
}
"""Grafana's colour names."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One curve."""

    name: str
    points: Points
    colour: str | None = None
    is_limit: bool = False
    """Whether it is an upper limit: drawn dashed and never stacked."""
    is_on_the_right: bool = False


@dataclass(frozen=True, slots=True)
class Band:
    """A time span in a row."""

    row: str
    start_ms: float
    end_ms: float
    text: str
    colour: str


@dataclass(frozen=True, slots=True)
class Dot:
    """One observation."""

    at_ms: float
    value: float
    name: str
    """Passed to the click handler."""


def curves(
    drawn: Sequence[Curve],
    *,
    unit: str = "",
    right_unit: str | None = None,
    is_stacked: bool = False,
    lines: Mapping[float, str] | None = None,
    spans: Sequence[tuple[float, float, str]] = (),
    dots: Sequence[Dot] = (),
) -> Options:
    """Returns the options of a chart of curves over time.

    Args:
        drawn: the curves.
        unit: the unit on the left axis.
        right_unit: the unit on the right axis; None for no such axis.
        is_stacked: whether the curves are stacked.
        lines: the colours of threshold lines, by value.
        spans: shaded time spans: start and end in milliseconds, and a name.
        dots: single observations among the curves.
    """
    axes = [_value_axis(unit)]
    if right_unit is not None:
        axes.append({**_value_axis(right_unit), "splitLine": {"show": False}})
    series: list[Options] = []
    for number, curve in enumerate(drawn):
        colour = curve.colour or COLOURS[number % len(COLOURS)]
        one: Options = {
            "type": "line",
            "name": curve.name,
            "data": [list(point) for point in curve.points],
            "showSymbol": False,
            "color": colour,
            "lineStyle": {"width": 1.5, "type": "dashed" if curve.is_limit else "solid"},
            "yAxisIndex": int(curve.is_on_the_right and right_unit is not None),
            "emphasis": {"disabled": True},
        }
        if is_stacked and not curve.is_limit:
            one |= {"stack": "all", "areaStyle": {"opacity": 0.45}, "lineStyle": {"width": 0.5}}
        series.append(one)
    if series:
        series[0] |= {"markLine": _lines(lines or {}), "markArea": _areas(spans)}
    if dots:
        series.append(_dots(dots))
    return {
        **_frame(),
        "grid": {"left": 8, "right": 8, "top": 32, "bottom": 30, "containLabel": True},
        "legend": {"bottom": 0, "type": "scroll", "textStyle": {"color": INK}, "itemHeight": 8},
        "tooltip": {"trigger": "axis", "confine": True, "axisPointer": {"type": "line"}},
        "xAxis": _time_axis(),
        "yAxis": axes,
        "series": series,
    }


def bands(drawn: Sequence[Band], rows: Sequence[str]) -> Options:
    """Returns the options of a chart of bands over time, with a row for each name."""
    return {
        **_frame(),
        "grid": {"left": 8, "right": 8, "top": 8, "bottom": 24, "containLabel": True},
        # The formatter's result is HTML, and the names come from scraped targets, so they are escaped.
        "tooltip": {"confine": True, ":formatter": "(hovered) => new Option(hovered.name).innerHTML"},
        "xAxis": _time_axis(),
        "yAxis": {"type": "category", "data": list(rows), "inverse": True, "axisLabel": {"color": INK}},
        "series": [
            {
                "type": "custom",
                "encode": {"x": [1, 2], "y": 0},
                "data": band_data(drawn, rows),
                "clip": True,
                ":renderItem": (
                    "(params, api) => {"
                    " const from = api.coord([api.value(1), api.value(0)]),"
                    " to = api.coord([api.value(2), api.value(0)]),"
                    " height = api.size([0, 1])[1] * 0.6;"
                    " return {type: 'rect', style: {fill: api.visual('color')},"
                    " shape: {x: from[0], y: from[1] - height / 2,"
                    " width: Math.max(to[0] - from[0], 1), height}}; }"
                ),
            }
        ],
    }


def band_data(drawn: Sequence[Band], rows: Sequence[str]) -> list[Options]:
    """Returns the data of a chart of bands."""
    places = {row: number for number, row in enumerate(rows)}
    return [
        {
            "name": f"{band.row}: {band.text}",
            "value": [places[band.row], band.start_ms, band.end_ms],
            "itemStyle": {"color": band.colour},
        }
        for band in drawn
    ]


def heat(times: Sequence[str], rows: Sequence[str], cells: Sequence[tuple[int, int, float]]) -> Options:
    """Returns the options of a heat map over time.

    Args:
        times: the labels of the columns.
        rows: the labels of the rows, lowest first.
        cells: column, row and value of each cell.
    """
    return {
        **_frame(),
        "grid": {"left": 8, "right": 8, "top": 12, "bottom": 8, "containLabel": True},
        "tooltip": {"confine": True},
        "xAxis": {"type": "category", "data": list(times), "axisLabel": {"color": INK}},
        "yAxis": {"type": "category", "data": list(rows), "axisLabel": {"color": INK}},
        "visualMap": {
            "show": False,
            "min": 0,
            "max": max((value for *_, value in cells), default=1.0),
            "inRange": {"color": ["rgba(249, 115, 22, 0.08)", "#fb923c", "#c2410c"]},
        },
        "series": [
            {"type": "heatmap", "data": [list(cell) for cell in cells], "emphasis": {"disabled": True}}
        ],
    }


def _frame() -> Options:
    # No animation: a chart that is redrawn each second must not move by itself.
    return {"animation": False, "backgroundColor": "transparent", "textStyle": {"fontFamily": "inherit"}}


def _time_axis() -> Options:
    return {
        "type": "time",
        "axisLabel": {"color": INK, "hideOverlap": True},
        "axisLine": {"lineStyle": {"color": GRID}},
        "splitLine": {"show": False},
    }


def _value_axis(unit: str) -> Options:
    return {
        "type": "value",
        "name": unit,
        "nameTextStyle": {"color": INK, "align": "left"},
        "min": 0,
        "axisLabel": {"color": INK},
        "splitLine": {"lineStyle": {"color": GRID}},
    }


def _lines(lines: Mapping[float, str]) -> Options:
    return {
        "silent": True,
        "symbol": "none",
        "label": {"show": False},
        "data": [
            {"yAxis": value, "lineStyle": {"color": NAMED.get(colour, colour), "type": "dashed"}}
            for value, colour in lines.items()
        ],
    }


def _dots(dots: Sequence[Dot]) -> Options:
    return {
        "type": "scatter",
        "name": "traces",
        "data": [{"name": dot.name, "value": [dot.at_ms, dot.value]} for dot in dots],
        # Above the curves: a click on a dot that a curve crosses goes to the dot.
        "z": 10,
        "symbol": "diamond",
        "symbolSize": 9,
        "color": COLOURS[0],
        "itemStyle": {"opacity": 0.8},
        "cursor": "pointer",
    }


def _areas(spans: Sequence[tuple[float, float, str]]) -> Options:
    return {
        "silent": True,
        "itemStyle": {"color": "rgba(168, 85, 247, 0.15)"},
        "label": {"color": INK, "fontSize": 10},
        "data": [[{"xAxis": start, "name": name}, {"xAxis": end}] for start, end, name in spans],
    }
