"""Grafana's files as the console draws them."""

import json
import math

import pytest

from console.charts import NAMED
from console.dashboards.definitions import Panel, dashboards
from console.dashboards.drawing import colour_of, options_of
from console.dashboards.prometheus import Series, Window
from console.dashboards.units import scale, text

WINDOW = Window(1000.0, 1300.0)
PANELS = [
    pytest.param(panel, id=f"{dashboard.uid}: {panel.title}")
    for dashboard in dashboards().values()
    for panel in dashboard.panels
]
DRAWN = {"timeseries", "stat", "state-timeline", "heatmap", "table"}


@pytest.mark.parametrize("panel", PANELS)
def test_every_panel_is_of_a_kind_that_is_drawn(panel: Panel) -> None:
    """A new kind in Grafana would be an empty card here."""
    assert panel.kind in DRAWN
    assert panel.targets
    assert 1 <= panel.width <= 24
    assert all(colour in NAMED or colour.startswith("#") for colour in panel.steps.values())
    assert not scale(panel.unit, 1.0)[1].startswith("suffix")


@pytest.mark.parametrize("panel", [each for each in PANELS if each.values[0].kind not in {"stat", "table"}])
def test_every_chart_can_be_drawn_with_gaps_and_odd_numbers(panel: Panel) -> None:
    """Whatever Prometheus answers: a hole, no number, infinity."""
    labels = dict.fromkeys(("le", "job", "route", "place", "outcome", "state", "stage"), "1")
    points = ((1000.0, 1.0), (1002.0, math.nan), (1004.0, math.inf), (1100.0, 3.0))
    answers = [[Series(labels, points)] for _ in panel.targets]
    options = options_of(panel, answers, WINDOW, [(1_001_000, 1_050_000, "fault: kill")])
    assert options["series"]
    json.dumps(options, allow_nan=False)


def test_bands_end_at_the_next_state_or_at_a_gap() -> None:
    """And none stands where nothing was scraped."""
    (panel,) = [each for each in dashboards()["telemetry-pipeline"].panels if each.kind == "state-timeline"]
    points = ((1000.0, 0.0), (1002.0, 0.0), (1004.0, 3.0), (1006.0, math.nan), (1100.0, 0.0), (1102.0, 0.0))
    options = options_of(panel, [[Series({"job": "shop"}, points)]], WINDOW, [])
    found = [(each["name"], *each["value"][1:]) for each in options["series"][0]["data"]]
    assert found == [
        ("shop: closed", 1_000_000, 1_004_000),
        ("shop: open", 1_004_000, 1_006_000),
        ("shop: closed", 1_100_000, 1_104_000),
    ]


def test_the_variables_of_a_query_are_filled_as_grafana_fills_them() -> None:
    """Four scrapes at least for a rate; longer where a step is."""
    filled = WINDOW.fill('rate(x{job=~"$job"}[$__rate_interval]) $__range', {"job": "a|b"})
    assert filled == 'rate(x{job=~"a|b"}[10s]) 300s'
    hours = Window(0.0, 21_600.0)
    assert hours.step == 120
    assert hours.fill("[$__rate_interval]", {}) == "[124s]"


def test_a_legend_has_the_labels_of_its_series() -> None:
    """A label that is not there is empty."""
    assert Series({"job": "shop"}, ()).named("{{job}}: {{place}}!") == "shop: !"


@pytest.mark.parametrize(
    ("unit", "value", "shown"),
    [
        ("s", 0.0042, "4.2 ms"),
        ("s", 0.75, "750 ms"),
        ("s", 2.5, "2.5 s"),
        ("s", 7200, "120 min"),
        ("bytes", 3 * 2**20, "3 MiB"),
        ("binBps", 2048, "2 KiB/s"),
        ("percentunit", 0.125, "12.5 %"),
        ("suffix: spans/s", 1234.5, "1,234 spans/s"),
        ("short", 7.0, "7"),
        ("ms", math.nan, "no data"),
    ],
)
def test_numbers_have_units_for_people(unit: str, value: float, shown: str) -> None:
    """As a panel's value is written."""
    assert text(unit, value) == shown


def test_colour_is_that_of_the_highest_step_that_is_reached() -> None:
    """Below the first one all is well."""
    steps = {10.0: "orange", 100.0: "red"}
    assert [colour_of(value, steps) for value in (9, 10, 500)] == [
        NAMED["green"],
        NAMED["orange"],
        NAMED["red"],
    ]
