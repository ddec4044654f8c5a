"""The request metrics as settings make them: pushed, of several workers, and bounded."""

import logging
from collections import Counter
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.trace import INVALID_SPAN
from prometheus_client import CollectorRegistry
from support.metrics_receiver import receive_metrics
from support.shop_app import OPEN_METRICS
from support.threaded_server import serving_in_thread
from support.traced_app import TracedApp, quiet_config
from support.waiting import wait_until
from support.worker_metrics import Join, collect

from telemetry.metrics import names
from telemetry.metrics.instruments import Metrics

STANDARD = {
    *(names.OTEL_HTTP_DURATION, names.OTEL_HTTP_ACTIVE_REQUESTS),
    *(names.OTEL_HTTP_REQUEST_BODY, names.OTEL_HTTP_RESPONSE_BODY),
}
COUNTS = {f"{names.HTTP_DURATION_SECONDS}_count", f"{names.REQUEST_LATENCY_MS}_count"}
GUIDES = {names.OTEL_REQUEST_COUNT, names.OTEL_REQUEST_LATENCY_MS}


def shop() -> FastAPI:
    """Returns an application with one route."""
    app = FastAPI()
    app.get("/items/{item}")(lambda item: 1)
    return app


def wait_for_count(traced: TracedApp, count: int) -> None:
    """Waits until so many requests are counted: an answer arrives before that."""

    def is_counted() -> bool:
        samples = [s for family in traced.client.registry.collect() for s in family.samples]
        return count in {s.value for s in samples if s.name in COUNTS}

    wait_until(f"{count} requests to be counted", is_counted)


@pytest.mark.parametrize(
    ("kind", "pushed"), [("app", GUIDES), ("standard", STANDARD), ("both", GUIDES | STANDARD)]
)
def test_requests_are_pushed_under_the_names_that_were_chosen(kind: str, pushed: set[str]) -> None:
    """Without any instrument of the application, and on /metrics no family exists twice."""
    with receive_metrics() as (endpoint, received):
        traced = TracedApp(
            shop(),
            quiet_config(
                http_metrics=kind, metrics_exporter="otlp", protocol="http/protobuf", endpoint=endpoint
            ),
        )
        with serving_in_thread(traced.app) as url:
            httpx.get(f"{url}/items/7")
            wait_for_count(traced, 1)
            assert traced.client.force_flush(5)
            families = Counter(family.name for family in traced.client.registry.collect())
        assert {name for _, name in received.values if not name.startswith("http.client")} == pushed
        assert max(families.values()) == 1
        for name in pushed - {names.OTEL_HTTP_ACTIVE_REQUESTS}:
            assert received.total(name) == 1
        if kind != "app":
            assert received.total(names.OTEL_HTTP_DURATION, **{"http.route": "/items/{item}"}) == 1
            assert received.total(names.OTEL_HTTP_ACTIVE_REQUESTS) == 0


def test_pushed_requests_join_the_applications_own_metrics(receiver: Any) -> None:
    """In one push, of one resource; a later push has the sum so far."""
    traced = TracedApp(shop(), quiet_config(metrics_exporter="otlp", endpoint=receiver.endpoint))
    traced.client.meter.create_counter("orders").add(1)
    with serving_in_thread(traced.app) as url:
        for number in (1, 2):
            httpx.get(f"{url}/items/7")
            wait_for_count(traced, number)
            assert traced.client.force_flush(5)
    counts = []
    for push in receiver.metric_pushes[:2]:
        (resource,) = push.resource_metrics
        found = {metric.name: metric for scope in resource.scope_metrics for metric in scope.metrics}
        assert {"orders", names.OTEL_REQUEST_COUNT, names.OTEL_REQUEST_LATENCY_MS} <= set(found)
        (point,) = found[names.OTEL_REQUEST_COUNT].sum.data_points
        assert {each.key: each.value.string_value for each in point.attributes} == {
            "method": "GET",
            "route": "/items/{item}",
            "status_code": "200",
        }
        counts.append(point.as_int)
        (histogram,) = found[names.OTEL_REQUEST_LATENCY_MS].histogram.data_points
        assert histogram.exemplars
        assert not histogram.HasField("max")
    assert counts == [1, 2]


def test_active_requests_of_workers_add_up_while_they_live(joined: Join) -> None:
    """One sample for each live worker: their sum is what is active."""
    workers = []
    for active in (1, 2, 4):
        registry = CollectorRegistry()
        standard = Metrics(registry, http_metrics="standard").requests.standard
        assert standard is not None
        for _ in range(active):
            standard.begin({"type": "http", "method": "GET", "scheme": "http"}, "GET")
        standard.begin({"type": "http", "method": "GET", "scheme": "http"}, "GET").end(
            "/", 200, None, 0.1, INVALID_SPAN
        )
        workers.append(joined(registry))

    def active_by_worker() -> dict[str, float]:
        return {
            sample.labels["worker"]: sample.value
            for family in collect(workers[0])
            for sample in family.samples
            if sample.name == names.HTTP_ACTIVE_REQUESTS
        }

    assert active_by_worker() == {"0": 1, "1": 2, "2": 4}
    workers[1].stop()
    assert active_by_worker() == {"0": 1, "2": 4}


def test_application_with_too_many_routes_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """Its page has no more series than the setting allows, and every request."""
    app = FastAPI()
    for number in range(40):
        app.get(f"/{number}")(lambda: 1)
    traced = TracedApp(app, quiet_config(max_label_sets=20, http_metrics="both"))
    with serving_in_thread(traced.app) as url, httpx.Client(base_url=url) as http:
        for number in range(40):
            http.get(f"/{number}")
        page = http.get("/metrics", headers=OPEN_METRICS).text
    series = [line for line in page.splitlines() if line.startswith("app_request_count_total{")]
    assert len(series) == 19
    (other,) = [line for line in series if 'route="other"' in line]
    assert other.startswith('app_request_count_total{method="GET",route="other",status_code="200"} 22.0')
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [each.partition(" ")[0] for each in warnings if "label sets" in each] == [
        *("http_server_request_duration_seconds", "app_request_count")
    ]


def test_accept_in_several_lines_is_one_header() -> None:
    """RFC 9110, section 5.3: the order of the lines is that of the list."""
    traced = TracedApp(shop())
    with serving_in_thread(traced.app) as url:
        lines = [("accept", "text/plain;q=0.1"), ("accept", "application/openmetrics-text;q=0.9")]
        for headers, expected in (
            (lines, "application/openmetrics-text"),
            (lines[:1], "text/plain"),
            ([("accept", "application/openmetrics-text;q=0.1, text/plain;q=0.9")], "text/plain"),
        ):
            answer = httpx.get(f"{url}/metrics", headers=headers)
            assert answer.headers["content-type"].startswith(expected)
