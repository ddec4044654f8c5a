"""During an outage alerts fire and resolve, and every panel has something to show.

All tests share one run: load with some failing requests, the Collector killed until the alerts fire, started
again, then run with tail sampling for a while. It is native only: programs, rules and scraped labels are the
same in containers, and tests/stack/test_stack.py checks them in both runtimes.
"""

import json
import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from support.running_stack import NATIVELY, Stack

from loadtest.activity import Activity
from loadtest.load.generator import Generator, Load, prometheus_at
from stack.settings import ROOT

pytestmark = [pytest.mark.timeout(3600), NATIVELY]

ALERTS = {
    ("TelemetryBreakerOpen", "storefront"),
    ("TelemetryBreakerOpen", "inventory"),
    ("TelemetrySilent", "storefront"),
    ("TelemetrySilent", "inventory"),
    ("CollectorDown", "collector"),
}
_NORMAL_SECONDS, _TAIL_SECONDS = 12, 20
_FIRING_SECONDS = _RESOLVING_SECONDS = 150

# Series that need not be there after this run, and why.
MAY_BE_EMPTY = {
    ("collector", "Metric points accepted", "A"): "no service pushes its metrics by default",
    ("collector", "Memory limiter", "B"): "it refused nothing, and counts from its first refusal on",
    ("collector", "Spans sent", "B"): "with retries for ever nothing is given up",
}


@dataclass(frozen=True)
class Observed:
    """The alerts and times of the run."""

    started: float
    ended: float
    fired: set[tuple[str, str]]
    left: set[tuple[str, str]]
    """Alerts of `ALERTS` that were still firing when the time was over."""


def firing(stack: Stack) -> set[tuple[str, str]]:
    """Returns the firing alerts, each with its job."""
    answer = httpx.get(
        f"{prometheus_at(stack.settings.prometheus_port)}/api/v1/alerts", trust_env=False
    ).json()
    return {
        (alert["labels"]["alertname"], alert["labels"].get("job", ""))
        for alert in answer["data"]["alerts"]
        if alert["state"] == "firing"
    }


@pytest.fixture(scope="module")
def observed(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Observed:
    """Makes the run; the stack is as before afterwards."""
    prometheus = prometheus_at(stack.settings.prometheus_port)
    load = Load(users=10, rate=20, storefront_port=stack.settings.storefront_port, prometheus_url=prometheus)
    folder = tmp_path_factory.mktemp("load")
    activity = Activity(prometheus)
    started = time.time()
    stack.put_faults(error_rate=0.1)
    generator = Generator(load, seconds=900, result_file=folder / "load.json", log=folder / "locust.log")
    try:
        time.sleep(_NORMAL_SECONDS)
        with activity.during("fault", "kill"):
            stack.runtime.kill("collector")
            fired = wait_for_alerts(stack, _FIRING_SECONDS, until=lambda now: now >= ALERTS)
        stack.runtime.start("collector")
        left = wait_for_alerts(stack, _RESOLVING_SECONDS, until=lambda now: not now & ALERTS)
        stack.runtime.restart("collector", {"TAIL_SAMPLING_PERCENTAGE": "50"})
        time.sleep(_TAIL_SECONDS)
        ended = time.time()
    finally:
        generator.stop()
        activity.close()
        stack.put_faults()
        stack.runtime.restart("collector", {})
    return Observed(started, ended, fired, left & ALERTS)


def wait_for_alerts(stack: Stack, seconds: float, *, until: Any) -> set[tuple[str, str]]:
    """Waits until the condition holds or the time is over; returns the alerts that fire then."""
    deadline = time.monotonic() + seconds
    now = firing(stack)
    while not until(now) and time.monotonic() < deadline:
        time.sleep(0.5)
        now = firing(stack)
    return now


def test_alerts_of_an_outage_fire(observed: Observed) -> None:
    """The breaker is open and telemetry silent in each service, and the Collector is down."""
    assert observed.fired >= ALERTS


def test_alerts_of_an_outage_resolve(observed: Observed) -> None:
    """Once the Collector is back, none of them fires any more."""
    assert not observed.left


def test_nothing_was_lost_or_unaccounted_for_on_the_way(observed: Observed) -> None:
    """The two alerts that mean a loss or a defect stayed silent."""
    assert not {name for name, _ in observed.fired} & {"TelemetrySpansDropped", "TelemetryLedgerWrong"}


def dashboards() -> Iterator[Any]:
    """Yields each target of each panel of each dashboard."""
    for file in sorted((ROOT / "grafana/dashboards").glob("*.json")):
        dashboard = json.loads(file.read_text())
        for panel in dashboard["panels"]:
            for target in panel.get("targets", ()):
                name = f"{dashboard['uid']}: {panel['title']} {target['refId']}"
                yield pytest.param(dashboard["uid"], panel, target, id=name)


@pytest.mark.parametrize(("uid", "panel", "target"), [*dashboards()])
def test_panel_has_something_to_show(
    uid: str, panel: dict[str, Any], target: dict[str, Any], stack: Stack, observed: Observed
) -> None:
    """Its query returns series with the labels of its legend, and none per worker or instance."""
    series = ask(stack, target, observed, job="storefront" if uid == "service" else "storefront|inventory")
    numbers = [each for each in series if not all(math.isnan(value) for value in values_of(each))]
    if (uid, panel["title"], target["refId"]) in MAY_BE_EMPTY:
        return
    assert numbers
    for each in numbers:
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= each["metric"].keys()
        assert not {"worker", "instance"} & each["metric"].keys()


def test_annotations_show_the_fault(stack: Stack, observed: Observed) -> None:
    """The fault's band is as long as the fault."""
    dashboard = json.loads((ROOT / "grafana/dashboards/load.json").read_text())
    (annotation,) = dashboard["annotations"]["list"]
    (series,) = ask(stack, annotation, observed, job="")
    assert series["metric"] == {"kind": "fault", "name": "kill"}
    assert 15 < len(values_of(series)) * 2 < observed.ended - observed.started - _TAIL_SECONDS


def ask(stack: Stack, target: dict[str, Any], observed: Observed, *, job: str) -> list[dict[str, Any]]:
    """Returns the series that Grafana would get."""
    expression = target["expr"]
    seconds = math.ceil(observed.ended - observed.started)
    for name, value in {
        "$job": job,
        "$route": ".+",
        "$__rate_interval": "10s",
        "$__range": f"{seconds}s",
    }.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    api = f"{prometheus_at(stack.settings.prometheus_port)}/api/v1"
    if target.get("instant"):
        answer = httpx.get(
            f"{api}/query", params={"query": expression, "time": observed.ended}, trust_env=False
        )
    else:
        window = {"start": observed.started, "end": observed.ended, "step": 2}
        answer = httpx.get(f"{api}/query_range", params={"query": expression, **window}, trust_env=False)
    assert answer.status_code == httpx.codes.OK, answer.text
    result: list[dict[str, Any]] = answer.json()["data"]["result"]
    return result


def values_of(series: dict[str, Any]) -> list[float]:
    """Returns the numbers of a series, from an instant or a range query."""
    points = series["values"] if "values" in series else [series["value"]]
    return [float(value) for _, value in points]
