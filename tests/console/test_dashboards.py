"""Grafana's files as the console draws them."""

import json
import math
import re
from urllib.parse import parse_qs

import pytest

from console.charts import NAMED
from console.dashboards.definitions import Panel, dashboards, fill_legend
from console.dashboards.drawing import colour_of, link_of, options_of
from console.dashboards.units import scale, text
from console.dashboards.window import Window
from stack.backends.prometheus import Exemplar, Series

WINDOW = Window(1000.0, 1300.0)
PANELS = [
    pytest.param(panel, id=f"{dashboard.uid}: {panel.title}")
    for dashboard in dashboards().values()
    for panel in dashboard.panels
]
DRAWN = {"timeseries", "stat", "state-timeline", "heatmap", "table"}


@pytest.mark.parametrize("panel", PANELS)
def test_every_panel_is_of_a_kind_that_is_drawn(panel: Panel) -> None:
    """A panel of an unknown kind would be an empty card."""
    assert panel.kind in DRAWN
    assert panel.targets
    assert 1 <= panel.width <= 24
    assert all(colour in NAMED or colour.startswith("#") for colour in panel.steps.values())
    assert not scale(panel.unit, 1.0)[1].startswith("suffix")


@pytest.mark.parametrize("panel", [each for each in PANELS if each.values[0].kind not in {"stat", "table"}])
def test_every_chart_can_be_drawn_with_gaps_and_odd_numbers(panel: Panel) -> None:
    """Gaps, NaN and infinity in Prometheus's answers do not break a chart."""
    labels = dict.fromkeys(("le", "job", "route", "place", "outcome", "state", "stage"), "1")
    points = ((1000.0, 1.0), (1002.0, math.nan), (1004.0, math.inf), (1100.0, 3.0))
    answers = [[Series(labels, points)] for _ in panel.targets]
    exemplars = [Exemplar(1004.0, 7.0, "a" * 32)]
    options = options_of(panel, answers, exemplars, WINDOW, [(1_001_000, 1_050_000, "fault: kill")])
    assert options["series"]
    json.dumps(options, allow_nan=False)


def test_bands_end_at_the_next_state_or_at_a_gap() -> None:
    """No band covers a time in which nothing was scraped."""
    (panel,) = [each for each in dashboards()["telemetry-pipeline"].panels if each.kind == "state-timeline"]
    points = ((1000.0, 0.0), (1002.0, 0.0), (1004.0, 3.0), (1006.0, math.nan), (1100.0, 0.0), (1102.0, 0.0))
    options = options_of(panel, [[Series({"job": "shop"}, points)]], [], WINDOW, [])
    found = [(each["name"], *each["value"][1:]) for each in options["series"][0]["data"]]
    assert found == [
        ("shop: closed", 1_000_000, 1_004_000),
        ("shop: open", 1_004_000, 1_006_000),
        ("shop: closed", 1_100_000, 1_104_000),
    ]


def test_the_variables_of_a_query_are_filled_as_grafana_fills_them() -> None:
    """A rate covers at least four scrapes, and more where the step is longer."""
    filled = WINDOW.fill('rate(x{job=~"$job"}[$__rate_interval]) $__range', {"job": "a|b"})
    assert filled == 'rate(x{job=~"a|b"}[10s]) 300s'
    hours = Window(0.0, 21_600.0)
    assert hours.step == 120
    assert hours.fill("[$__rate_interval]", {}) == "[124s]"


def test_a_chosen_value_is_one_value_whatever_is_in_it() -> None:
    """A route template is escaped, since its query takes a regular expression."""
    job, route = dashboards()["service"].variables
    assert (job.label, job.first, job.of_all) == ("job", "storefront", None)
    assert (route.label, route.first, route.of_all) == ("route", ".+", ".+")
    assert route.metric == 'app_request_count_total{job="$job"}'
    assert route.fill(".+") == ".+"
    assert route.fill("/v1/orders/{id}") == r"/v1/orders/\\{id\\}"
    assert job.fill('a"b.c') == r"a\"b.c"
    assert route.options(["/a", "/b"]) == {".+": "all", "/a": "/a", "/b": "/b"}
    assert job.options(["inventory"]) == {"storefront": "storefront", "inventory": "inventory"}


def test_every_variable_of_a_query_can_be_chosen() -> None:
    """A variable that the page does not fill would be sent to Prometheus verbatim."""
    for dashboard in dashboards().values():
        known = {f"${variable.name}" for variable in dashboard.variables} | {"$__rate_interval", "$__range"}
        for panel in dashboard.panels:
            for target in panel.targets:
                assert set(re.findall(r"\$\w+", target.expression)) <= known


def test_exemplars_are_dots_that_name_their_traces() -> None:
    """They are drawn in the panel's unit, beside its curves."""
    (panel,) = [each for each in dashboards()["service"].panels if each.title == "Latency"]
    assert [target.has_exemplars for target in panel.targets] == [False, False, True]
    answers = [[Series({}, ((1000.0, 5.0),))] for _ in panel.targets]
    *_, dots = options_of(panel, answers, [Exemplar(1001.5, 9.0, "ab")], WINDOW, [])["series"]
    assert (dots["type"], dots["data"]) == ("scatter", [{"name": "ab", "value": [1_001_500.0, 9.0]}])


def test_a_row_of_a_table_leads_to_its_traces() -> None:
    """The link has the parameters of Jaeger's own search."""
    (panel,) = [each for each in dashboards()["service"].panels if each.kind == "table"]
    values = {"job": "storefront", "method": "GET", "route": "/v1/orders/{id}?a&b"}
    path, _, query = link_of(panel, values).partition("?")
    assert path == "/traces"
    asked = parse_qs(query)
    assert (asked["service"], asked["operation"]) == (["storefront"], ["GET /v1/orders/{id}?a&b"])


def test_a_legend_has_the_labels_of_its_series() -> None:
    """A missing label is left empty."""
    assert fill_legend("{{job}}: {{place}}!", {"job": "shop"}) == "shop: !"


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
    """Values are scaled and shown with their units."""
    assert text(unit, value) == shown


def test_colour_is_that_of_the_highest_step_that_is_reached() -> None:
    """Below the first step the colour is green."""
    steps = {10.0: "orange", 100.0: "red"}
    assert [colour_of(value, steps) for value in (9, 10, 500)] == [
        NAMED["green"],
        NAMED["orange"],
        NAMED["red"],
    ]
