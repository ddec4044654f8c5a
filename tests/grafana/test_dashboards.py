"""The dashboards are as generated, readable, and about metrics that exist.

tests/stack/test_dashboards_and_alerts.py checks that the running stack answers each query.
"""

import itertools
import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

from stack.settings import ROOT, load_settings
from telemetry.metrics import names

with warnings.catch_warnings():
    # The SDK's modules warn of one another while they are imported.
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana import generate
    from grafana.dashboard import JAEGER_PAGE
    from grafana.panels import BREAKER_CODES

DASHBOARDS: dict[str, dict[str, Any]] = {
    file.stem: json.loads(file.read_text()) for file in sorted(generate.FOLDER.glob("*.json"))
}
PANELS = [
    pytest.param(dashboard, panel, id=f"{name}: {panel['title']}")
    for name, dashboard in DASHBOARDS.items()
    for panel in dashboard["panels"]
    if panel["type"] != "row"
]
TARGETS = [
    pytest.param(target["expr"], id=f"{name}: {panel['title']} {target['refId']}")
    for name, dashboard in DASHBOARDS.items()
    for panel in dashboard["panels"]
    if panel["type"] != "row"
    for target in panel["targets"]
]
COLUMNS = 24

OF_THE_LIBRARY = {value for name, value in vars(names).items() if name.isupper()}
RECORDED = {
    rule["record"]
    for group in yaml.safe_load((ROOT / "prometheus/rules/recording.yaml").read_text())["groups"]
    for rule in group["rules"]
}
# Metrics of prometheus_client about its process, and those that loadtest pushes. Those of the Collector and
# Jaeger are checked on the running stack.
OF_OTHERS = {
    "up",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "locust_users",
    "locust_intended_rate",
    "locust_requests_total",
    "locust_request_latency_seconds_bucket",
    "locust_start_delay_seconds_bucket",
}
# Panels without a threshold, by the reason.
WITHOUT_A_BAD_VALUE = {
    "how much there is to do": [
        "service: Requests a second",
        "service: Request rate",
        "service: Calls of measured functions",
        "telemetry-pipeline: Spans ended",
        "telemetry-pipeline: Spans delivered",
        "telemetry-pipeline: Bytes sent",
        "collector: Accepted",
        "collector: Sent",
        "collector: Spans accepted",
        "collector: Metric points accepted",
        "collector: Metric points sent",
        "load-test: Users",
        "load-test: Requests a second",
        "load-test: Requests answered",
    ],
    "a flow, whose parts are judged by panels of their own": [
        "telemetry-pipeline: Flow of spans",
        "telemetry-pipeline: Where all spans are",
        "telemetry-pipeline: Spans in the time that is shown",
        "telemetry-pipeline: Spans a second at each stage",
        "telemetry-pipeline: Export failures",
        "telemetry-pipeline: Breaker transitions",
        "collector: Memory limiter",
        "collector: Spans sent",
        "collector: Spans received and stored",
        "load-test: Spans a second at each stage",
        "load-test: Spans waiting",
    ],
    "its limit is a curve beside it": [
        "telemetry-pipeline: Spans waiting",
        "telemetry-pipeline: Outbox",
        "telemetry-pipeline: Spool",
        "telemetry-pipeline: Spans an export",
        "collector: Queue",
        "load-test: Requests: wanted and made",
    ],
    "what is much depends on the machine and on the settings": [
        "service: CPU",
        "service: Memory",
        "telemetry-pipeline: Sampling ratio in effect",
        "telemetry-pipeline: CPU of telemetry",
        "telemetry-pipeline: CPU of telemetry, a span",
        "collector: Running for",
        "collector: Memory",
        "collector: Traces decided",
        "collector: Decisions by policy",
        "collector: Traces in memory",
        "collector: CPU of a span",
        "load-test: CPU",
        "load-test: CPU of telemetry",
        "load-test: CPU of telemetry, a span",
    ],
    "colours are the amounts": ["service: Latency, all requests", "telemetry-pipeline: Batch sizes"],
}
EXCUSED = {title for titles in WITHOUT_A_BAD_VALUE.values() for title in titles}


def test_committed_files_are_what_is_generated() -> None:
    """Nobody edits them by hand; `make dashboards` writes them."""
    generate.main(["--check"])


def test_check_fails_on_any_difference_and_writes_nothing(tmp_path: Path) -> None:
    """A changed, a missing and a surplus file are all found."""
    with pytest.raises(SystemExit, match=r"collector\.json, load\.json, pipeline\.json, service\.json"):
        generate.main(["--check"], tmp_path)
    assert not [*tmp_path.iterdir()]
    generate.main([], tmp_path)
    generate.main(["--check"], tmp_path)
    service = tmp_path / "service.json"
    service.write_text(service.read_text().replace("Request rate", "Requests"))
    with pytest.raises(
        SystemExit, match=r"service\.json in .*: not what grafana/ makes; run `make dashboards`"
    ):
        generate.main(["--check"], tmp_path)
    (tmp_path / "old.json").write_text("{}")
    with pytest.raises(SystemExit, match=r"old\.json, service\.json"):
        generate.main(["--check"], tmp_path)
    generate.main([], tmp_path)
    generate.main(["--check"], tmp_path)


@pytest.mark.parametrize(("dashboard", "panel"), PANELS)
def test_panel_says_what_it_shows(dashboard: dict[str, Any], panel: dict[str, Any]) -> None:
    """Each panel has a title, a description, a unit, thresholds unless excused, and a query per target."""
    assert panel["title"]
    assert re.search(r"[.:]$", panel["description"])
    defaults = panel["fieldConfig"]["defaults"]
    assert defaults["unit"]
    steps = [
        defaults.get("thresholds"),
        *(
            each["value"]
            for override in panel["fieldConfig"]["overrides"]
            for each in override["properties"]
            if each["id"] == "thresholds"
        ),
    ]
    has_bad_value = any(len(each["steps"]) > 1 for each in steps if each)
    assert has_bad_value is (f"{dashboard['uid']}: {panel['title']}" not in EXCUSED)
    assert panel["targets"]
    assert all(target["expr"] and target["legendFormat"] for target in panel["targets"])
    references = [target["refId"] for target in panel["targets"]]
    assert len(set(references)) == len(references)


def test_every_excuse_is_of_a_panel() -> None:
    """No excuse is left for a panel that is gone."""
    titles = {f"{dashboard['uid']}: {panel['title']}" for dashboard, panel in (p.values for p in PANELS)}
    assert titles >= EXCUSED


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_panels_are_distinct(dashboard: dict[str, Any]) -> None:
    """Ids and titles are unique."""
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers)
    titles = [panel["title"] for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_panels_fit_the_grid_and_do_not_overlap(dashboard: dict[str, Any]) -> None:
    """They fit 24 columns, in the order in which a narrow screen stacks them."""
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    for place in places:
        assert place["x"] >= 0
        assert place["w"] > 0
        assert place["h"] > 0
        assert place["x"] + place["w"] <= COLUMNS
    assert places == sorted(places, key=lambda place: (place["y"], place["x"]))
    for one, other in itertools.combinations(places, 2):
        assert (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        ), (one, other)


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_every_data_source_is_provisioned(dashboard: dict[str, Any]) -> None:
    """Panels, targets, annotations and variables name one by its uid."""
    provisioned = yaml.safe_load((ROOT / "grafana/provisioning/datasources/datasources.yaml").read_text())
    known = [{"type": each["type"], "uid": each["uid"]} for each in provisioned["datasources"]]
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    targets = [target for panel in panels for target in panel["targets"]]
    queries = [each for each in dashboard["templating"].get("list", []) if each["type"] == "query"]
    for each in (*panels, *targets, *queries, *dashboard["annotations"]["list"]):
        assert each["datasource"] in known


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_variables_are_those_that_are_used(dashboard: dict[str, Any]) -> None:
    """Every used variable is offered, and every offered one is used."""
    offered = {variable["name"] for variable in dashboard["templating"].get("list", [])}
    used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps([dashboard["panels"], dashboard["templating"]])))
    assert used == offered


@pytest.mark.parametrize("expression", TARGETS)
def test_query_is_over_a_metric_that_exists(expression: str) -> None:
    """Each metric is the library's, a recorded one, or another program's."""
    without_labels = re.sub(r"by \([^)]*\)|\{[^}]*\}|\[[^]]*\]", "", expression)
    metrics = set(re.findall(r"[a-z][a-z0-9]*[_:][a-z0-9_:]+|\bup\b", without_labels)) - {
        "histogram_quantile"
    }
    assert metrics
    for metric in metrics - OF_OTHERS - RECORDED:
        if not metric.startswith("otelcol_"):
            assert re.sub(r"_(total|bucket|count|sum)$", "", metric) in OF_THE_LIBRARY, metric


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_dashboard_opens_on_what_happens_now_and_leads_to_the_others(dashboard: dict[str, Any]) -> None:
    """It shows the last 15 minutes, refreshed every 5 s, annotated with experiments."""
    assert dashboard["refresh"] == "5s"
    assert dashboard["time"] == {"from": "now-15m", "to": "now"}
    (link,) = dashboard["links"]
    assert (link["type"], link["tags"], link["keepTime"]) == ("dashboards", dashboard["tags"], True)
    assert not link["includeVars"], "where one service is chosen, another dashboard's `All` finds nothing"
    assert "placement" not in link, "in sight, and not in a menu"
    (annotation,) = dashboard["annotations"]["list"]
    assert annotation["enable"]
    assert "loadtest_activity" in annotation["expr"]


def test_uids_are_those_of_four_dashboards() -> None:
    """People bookmark these addresses."""
    assert {each["uid"] for each in DASHBOARDS.values()} == {
        "service",
        "telemetry-pipeline",
        "collector",
        "load-test",
    }


def test_dots_on_latency_lead_to_their_traces() -> None:
    """Exactly one query of the panel has exemplars, so that none is shown twice."""
    panels = {panel["title"]: panel for panel in DASHBOARDS["service"]["panels"]}
    assert [target["exemplar"] for target in panels["Latency"]["targets"]] == [False, False, True]


@pytest.mark.parametrize("title", ["Latency, all requests", "Batch sizes"])
def test_a_heatmap_has_colours(title: str) -> None:
    """Grafana makes as many colours as there are steps, and draws no cell without any."""
    (panel,) = [panel for _, panel in (each.values for each in PANELS) if panel["title"] == title]
    colours = panel["options"]["color"]
    assert 2 <= colours["steps"] <= 128
    assert colours["exponent"] > 0


def test_jaegers_page_is_on_the_port_that_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """The links' variable has Jaeger's default port, even where this machine has moved it."""
    monkeypatch.delenv("JAEGER_PORT", raising=False)
    assert JAEGER_PAGE.endswith(f":{load_settings().jaeger_port}")
    (field,) = [each for each in DASHBOARDS["service"]["templating"]["list"] if each["name"] == "jaeger"]
    assert field["query"] == JAEGER_PAGE


def test_breaker_codes_are_those_of_the_rule() -> None:
    """The dashboard names the numbers that Prometheus records."""
    rules = (ROOT / "prometheus/rules/recording.yaml").read_text()
    recorded = re.findall(r'(\d) \* telemetry_breaker_state\{state="(\w+)"\}', rules)
    assert {int(code): state for code, state in recorded} == {
        code: state.value for code, (state, _) in BREAKER_CODES.items()
    }
