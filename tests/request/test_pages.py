"""/metrics and /health/telemetry on an application: formats, exemplars and the application's own metrics."""

import os
import subprocess
import sys
import textwrap
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as parse_plain_text
from support.shop_app import OPEN_METRICS, build_app, sample
from support.traced_app import TracedApp

from telemetry.config import TelemetryConfig
from telemetry.telemetry import setup_telemetry


def test_openmetrics_carries_the_exemplar_of_the_answers_trace(config: TelemetryConfig) -> None:
    """The latency's exemplar has the trace id from the traceresponse header."""
    app = build_app()
    setup_telemetry(app, config)
    with TestClient(app) as http:
        trace_id = http.get("/items/7").headers["traceresponse"].split("-")[1]
        page = http.get("/metrics", headers=OPEN_METRICS)
        assert page.headers["content-type"].startswith("application/openmetrics-text")
        exemplars = {
            each.exemplar.labels["trace_id"]
            for family in text_string_to_metric_families(page.text)
            for each in family.samples
            if each.name == "app_request_latency_ms_bucket" and each.exemplar
        }
        assert trace_id in exemplars


def test_unsampled_request_leaves_no_exemplar(receiver: Any) -> None:
    """An exemplar would point to a trace that was not kept."""
    app = build_app()
    setup_telemetry(app, TelemetryConfig(endpoint=receiver.endpoint, sampler="always_off"))
    with TestClient(app) as http:
        http.get("/items/7")
        page = http.get("/metrics", headers=OPEN_METRICS).text
    assert 'route="/items/{item_id}"' in page
    assert "trace_id" not in page


def test_plain_text_metrics_parse_and_have_no_created_collisions(config: TelemetryConfig) -> None:
    """A scraper that does not request OpenMetrics gets the plain format, with each family once."""
    app = build_app()
    setup_telemetry(app, config)
    with TestClient(app) as http:
        families = [family.name for family in parse_plain_text(http.get("/metrics").text)]
    assert len(families) == len(set(families))
    assert "telemetry_breaker_state" in families


def test_users_own_instruments_appear_on_the_same_page(config: TelemetryConfig) -> None:
    """An instrument of client.meter needs no further setup."""
    app = build_app()
    client = setup_telemetry(app, config)
    client.meter.create_counter("shop.orders.test", description="Orders.").add(3, {"kind": "web"})
    with TestClient(app) as http:
        assert sample(http, "shop_orders_test_total", kind="web") == 3


def test_metrics_of_the_default_registry_appear_on_the_same_page(config: TelemetryConfig) -> None:
    """Metrics in prometheus_client's own registry are included."""
    app = build_app()
    setup_telemetry(app, config)
    with TestClient(app) as http:
        assert sample(http, "python_info") == 1


def test_catch_all_route_does_not_hide_health_and_metrics(config: TelemetryConfig) -> None:
    """The library's routes come first."""
    app = FastAPI()

    @app.get("/{path:path}")
    def everything(path: str) -> str:
        return path

    setup_telemetry(app, config)
    with TestClient(app) as http:
        assert http.get("/health/telemetry").json()["service"]["name"] == "shop"
        assert "telemetry_breaker_state" in http.get("/metrics").text


MEASURED = """
    from fastapi import FastAPI
    from fastapi.testclient import TestClient
    from telemetry.telemetry import setup_telemetry
    app = FastAPI()
    app.get("/items")(lambda: 1)
    client = setup_telemetry(app)
    with TestClient(app) as http:
        http.get("/items")
        print(http.get("/metrics").text)
    print("ended spans:", client.pipeline.ledger.read().ended)
"""


def test_requests_are_measured_once() -> None:
    """Not by FastAPI as well, which traces and measures once a process has global providers: here, ours."""
    environment = {
        **os.environ,
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "TELEMETRY_SHUTDOWN_SECONDS": "1",
    }
    command = [sys.executable, "-c", textwrap.dedent(MEASURED)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert "app_request_count_total" in done.stdout
    assert "http_server" not in done.stdout
    assert "ended spans: 1\n" in done.stdout


def test_pushed_metrics_are_scraped_once(receiver: Any) -> None:
    """The request metrics that are pushed as OpenTelemetry's are on the page as ours already."""
    app = build_app()
    config = TelemetryConfig(service_name="pushing", endpoint=receiver.endpoint, metrics_exporter="otlp")
    client = setup_telemetry(app, config)
    client.meter.create_counter("shop.orders.pushed", description="Orders.").add(3)
    with TestClient(app) as http:
        http.get("/items/1")
        http.get("/broken-link")
        page = http.get("/metrics").text
        families = [family.name for family in parse_plain_text(page)]
        assert sample(http, "app_request_count_total", route="/items/{item_id}") == 1
        assert sample(http, "shop_orders_pushed_total") == 3
    assert len(families) == len(set(families))
    assert not [name for name in families if name.endswith("_milliseconds")]


def test_prometheus_can_be_switched_off(receiver: Any) -> None:
    """With ENABLE_PROMETHEUS=false the application may use /metrics itself."""
    app = FastAPI()
    setup_telemetry(app, TelemetryConfig(endpoint=receiver.endpoint, enable_prometheus=False))
    with TestClient(app) as http:
        assert http.get("/metrics").status_code == 404


def test_applications_own_names_of_routes_are_found(config: TelemetryConfig) -> None:
    """The library's pages do not take the names of the application's routes."""
    app = FastAPI()
    client = setup_telemetry(app, config)

    @app.get("/live")
    def health() -> str:
        return "ok"

    @app.get("/figures")
    def metrics() -> str:
        return "1"

    assert (app.url_path_for("health"), app.url_path_for("metrics")) == ("/live", "/figures")
    client.shutdown(1)


def test_pages_are_routes_of_the_application(config: TelemetryConfig) -> None:
    """They have addresses, refuse other methods, and are found with a slash at their end."""
    app = FastAPI()
    client = setup_telemetry(app, config)
    with TestClient(app) as http:
        assert http.post("/metrics").status_code == 405
        assert http.get("/metrics/", follow_redirects=False).status_code == 307
        assert app.url_path_for("telemetry_metrics") == "/metrics"
        assert [getattr(route, "path", "") for route in app.routes][-2:] == ["/health/telemetry", "/metrics"]
    client.shutdown(1)


def test_route_that_a_page_hides_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """With what to do about it."""
    traced = TracedApp()
    traced.app.get("/metrics")(lambda: "mine")
    traced.app.get("/health/telemetry/more")(lambda: "mine")
    with traced.browser() as http:
        for _ in range(2):
            assert "mine" not in http.get("/metrics").text
        assert http.get("/health/telemetry/more").text == '"mine"'
    (line,) = [record.getMessage() for record in caplog.records if "hidden" in record.getMessage()]
    assert "/metrics is hidden by the library's page" in line
    assert "ENABLE_PROMETHEUS=false" in line
