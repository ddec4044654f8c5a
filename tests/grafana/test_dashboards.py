"""The dashboards: as generated, readable, and every query answered by the real Prometheus."""

import itertools
import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from running_stack import Stack

from stack.settings import ROOT
from telemetry import names

with warnings.catch_warnings():
    # The SDK's modules warn of one another while they are imported.
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana import generate

DASHBOARD: dict[str, Any] = json.loads(generate.SERVICE_FILE.read_text())
EVERYTHING: list[dict[str, Any]] = DASHBOARD["panels"]
PANELS = [panel for panel in EVERYTHING if panel["type"] != "row"]
TITLES = [panel["title"] for panel in PANELS]
TARGETS = [
    pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
    for panel in PANELS
    for target in panel["targets"]
]
COLUMNS = 24

OF_THE_LIBRARY = {value for name, value in vars(names).items() if name.isupper()}
# What prometheus_client says of its own process.
OF_THE_PROCESS = {"process_cpu_seconds_total", "process_resident_memory_bytes"}
VALUES = {"$job": "storefront", "$route": ".+", "$__rate_interval": "10s", "$__range": "1m"}


def with_values(expression: str) -> str:
    """The expression as Grafana sends it."""
    for variable, value in VALUES.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression, expression
    return expression


def test_committed_file_is_what_is_generated() -> None:
    """Nobody edits it by hand; `python -m grafana.generate` writes it."""
    generate.main(["--check"])


def test_check_fails_on_a_difference_and_writes_nothing(tmp_path: Path) -> None:
    """Whether the file differs or is not there."""
    file = tmp_path / "service.json"
    with pytest.raises(SystemExit, match=r"service\.json is not what service_dashboard\.py makes"):
        generate.main(["--check"], file)
    assert not file.exists()
    file.write_text(generate.service_json().replace("Request rate", "Requests"))
    with pytest.raises(SystemExit, match=r"run `python -m grafana\.generate`"):
        generate.main(["--check"], file)
    generate.main([], file)
    generate.main(["--check"], file)


@pytest.mark.parametrize("panel", PANELS, ids=TITLES)
def test_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    """Title, description, unit, and a query of each target."""
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    assert all(target["expr"] and target["legendFormat"] for target in panel["targets"])
    references = [target["refId"] for target in panel["targets"]]
    assert len(set(references)) == len(references)


def test_panels_are_told_apart() -> None:
    """By number and by title."""
    numbers = [panel["id"] for panel in EVERYTHING]
    assert len(set(numbers)) == len(numbers)
    assert len(set(TITLES)) == len(TITLES)


def test_panels_fit_the_grid_and_do_not_overlap() -> None:
    """24 columns; in the order in which a narrow screen stacks them."""
    places = [panel["gridPos"] for panel in EVERYTHING]
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


def test_every_data_source_is_provisioned() -> None:
    """Panels, targets and variables name one by its uid."""
    provisioned = yaml.safe_load((ROOT / "grafana/provisioning/datasources/datasources.yaml").read_text())
    known = [{"type": each["type"], "uid": each["uid"]} for each in provisioned["datasources"]]
    targets = [target for panel in PANELS for target in panel["targets"]]
    for each in (*PANELS, *targets, *DASHBOARD["templating"]["list"]):
        assert each["datasource"] in known


def test_variables_are_those_that_the_queries_use() -> None:
    """Each is offered, and each offered one does something."""
    offered = {f"${variable['name']}" for variable in DASHBOARD["templating"]["list"]}
    queries = [target["expr"] for panel in PANELS for target in panel["targets"]]
    assert {name for query in queries for name in re.findall(r"\$\w+", query)} == (
        offered | {"$__rate_interval"}
    )


@pytest.mark.parametrize("expression", TARGETS)
def test_query_is_over_a_metric_that_exists(expression: str) -> None:
    """The library's, or the process's own."""
    metrics = set(re.findall(r"(\w+)\{", expression))
    assert metrics
    for metric in metrics - OF_THE_PROCESS:
        assert re.sub(r"_(total|bucket|count|sum)$", "", metric) in OF_THE_LIBRARY, metric


def test_a_dot_on_the_latency_leads_to_its_trace() -> None:
    """Exemplars are shown, once each."""
    (latency,) = [panel for panel in PANELS if panel["title"] == "Latency"]
    assert [target["exemplar"] for target in latency["targets"]] == [False, False, True]


def test_dashboard_opens_on_what_happens_now() -> None:
    """A quarter of an hour, refreshed every 5 s, of the storefront."""
    assert (DASHBOARD["uid"], DASHBOARD["refresh"]) == ("service", "5s")
    assert DASHBOARD["time"] == {"from": "now-15m", "to": "now"}
    job, route = DASHBOARD["templating"]["list"]
    assert job["current"]["value"] == "storefront"
    assert (route["multi"], route["includeAll"], route["allValue"]) == (True, True, ".+")


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("expression", TARGETS)
def test_query_is_answered_after_traffic(expression: str, stack: Stack) -> None:
    """Something comes back, and one series for all workers: neither `worker` nor `instance` is left."""
    query = with_values(expression)
    stack.wait(f"an answer to {query}", lambda: stack.backends.query(query), seconds=20)
    for series in stack.backends.query(query):
        assert not {"worker", "instance"} & series["metric"].keys()
