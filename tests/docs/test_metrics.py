"""docs/metrics.md says which setting gives which metrics: exactly those that there are."""

import re
from typing import Literal

import pytest
from opentelemetry.trace import INVALID_SPAN
from prometheus_client import CollectorRegistry
from support.paths import ROOT

from telemetry.metrics.instruments import Metrics

PAGE = (ROOT / "docs" / "metrics.md").read_text()
ROWS = [
    [re.findall(r"`([^`]+)`", cell) for cell in row.split("|")[1:5]]
    for row in PAGE.splitlines()
    if row.startswith(("| `app`", "| `standard`"))
]


@pytest.mark.parametrize("kind", ["app", "standard", "both"])
def test_table_has_what_each_value_gives(kind: Literal["app", "standard", "both"]) -> None:
    """Names, pushed names and labels."""
    registry = CollectorRegistry()
    metrics = Metrics(registry, http_metrics=kind)
    if metrics.requests.standard is not None:
        scope = {"type": "http", "method": "GET", "scheme": "http", "http_version": "1.1"}
        metrics.requests.standard.begin(scope, "GET").end("/", 500, "500", 0.1, INVALID_SPAN)
    metrics.requests.record("GET", "/", 500, 100.0, INVALID_SPAN)
    metrics.requests.record_error("GET", "/", 500, "500", INVALID_SPAN)

    rows = [row for row in ROWS if kind in row[0]]
    found = {
        family.name + "_total" * (family.type == "counter"): set(family.samples[0].labels) - {"le"}
        for family in registry.collect()
        if family.name.startswith(("app_request", "app_error", "http_"))
    }
    duration = set(next(row[3] for row in ROWS if row[1] == ["http_server_request_duration_seconds"]))
    assert found == {row[1][0]: set(row[3]) or duration for row in rows}
    assert {metric.name for metric in metrics.push()} == {row[2][0] for row in rows}
