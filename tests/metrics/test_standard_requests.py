"""TELEMETRY_HTTP_METRICS=standard: the conventions' metrics, on a real server."""

import socket
import threading
from collections.abc import Iterable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.instrumentation._semconv import HTTP_DURATION_HISTOGRAM_BUCKETS_NEW
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.semconv._incubating.metrics import http_metrics as conventions
from opentelemetry.trace import INVALID_SPAN
from prometheus_client import CollectorRegistry
from support.measured_shop import PART, PARTS, MeasuredShop, measured_shop
from support.threaded_server import serving_in_thread
from support.traced_app import TracedApp, quiet_config
from support.waiting import wait_until

from telemetry.metrics import names
from telemetry.metrics.instruments import Metrics
from telemetry.metrics.standard_requests import DURATION_BUCKETS_SECONDS

HTTP_NAMES = {
    *(names.HTTP_DURATION_SECONDS, names.HTTP_ACTIVE_REQUESTS),
    *(names.HTTP_REQUEST_BODY_BYTES, names.HTTP_RESPONSE_BODY_BYTES),
}


def test_request_has_the_conventions_labels_and_exemplar() -> None:
    """Under the names that the conventions' dashboards query."""
    with measured_shop() as served:
        served.http.get("/items/7")
        served.finishes(1)
        for name in (
            names.HTTP_DURATION_SECONDS,
            names.HTTP_REQUEST_BODY_BYTES,
            names.HTTP_RESPONSE_BODY_BYTES,
        ):
            (sample,) = served.samples(f"{name}_count")
            assert sample.labels == {
                "http_request_method": "GET",
                "http_response_status_code": "200",
                "http_route": "/items/{item}",
                "network_protocol_version": "1.1",
                "url_scheme": "http",
            }
        exemplars = [
            sample.exemplar.labels
            for sample in served.samples(f"{names.HTTP_DURATION_SECONDS}_bucket")
            if sample.exemplar
        ]
        assert [sorted(each) for each in exemplars] == [["span_id", "trace_id"]]
        (active,) = served.samples(names.HTTP_ACTIVE_REQUESTS)
        assert (active.value, active.labels) == (0, {"http_request_method": "GET", "url_scheme": "http"})
        assert not [name for name in served.families() if name.startswith("app_request")]


@pytest.mark.parametrize("kind", ["app", "both"])
def test_setting_chooses_the_metrics(kind: str) -> None:
    """By default there are only the guide's."""
    with measured_shop(http_metrics=kind) as served:
        served.http.get("/items/7")
        wait_until("the request to be counted", lambda: served.value("app_request_count_total") == 1)
        found = {name for name in served.families() if name.startswith("http_server")}
        assert found == (HTTP_NAMES if kind == "both" else set())


def test_failures_have_an_error_type() -> None:
    """The exception's class, or the status; a 404 is the client's, and has no route."""
    with measured_shop() as served:
        for path in ("/broken", "/unavailable", "/nowhere", "/items/1"):
            served.http.get(path)
        with pytest.raises(httpx.TransportError):
            served.http.get("/halfway")
        served.finishes(5)
        found = {
            (sample.labels.get("http_route"), sample.labels.get("error_type")): sample.labels.get(
                "http_response_status_code"
            )
            for sample in served.samples(f"{names.HTTP_DURATION_SECONDS}_count")
        }
        assert found == {
            ("/broken", "LookupError"): "500",
            ("/unavailable", "503"): "503",
            (None, None): "404",
            ("/items/{item}", None): "200",
            ("/halfway", "LookupError"): "200",
        }
        assert served.value(names.HTTP_ACTIVE_REQUESTS) == 0


def in_parts(count: int) -> Iterable[bytes]:
    """Yields a body whose length httpx does not know."""
    yield from (b"x" * 10 for _ in range(count))


@pytest.mark.parametrize(
    ("method", "path", "body", "received", "sent"),
    [
        ("GET", "/items/7", None, 0, 3),
        ("HEAD", "/items/7", None, 0, 0),
        ("POST", "/orders", b"x" * 2_000, 2_000, 2_000),
        ("POST", "/orders", in_parts(50), 500, 500),
        ("POST", "/ignored", b"x" * 2_000, 2_000, 4),
        ("GET", "/stream", None, 0, len(PART) * PARTS),
        ("GET", "/file", None, 0, None),
    ],
    ids=["no body", "head", "length", "chunked", "unread", "stream", "file"],
)
def test_bodies_are_measured_as_they_cross_the_network(
    method: str, path: str, body: bytes | Iterable[bytes] | None, received: int, sent: int | None
) -> None:
    """By the announced length, else by what was received; and by what was sent."""
    with measured_shop() as served:
        answer = served.http.request(method, path, content=body)
        served.finishes(1)
        assert served.value(f"{names.HTTP_REQUEST_BODY_BYTES}_sum") == received
        expected = len(answer.content) if sent is None else sent
        assert served.value(f"{names.HTTP_RESPONSE_BODY_BYTES}_sum") == expected


def test_active_requests_are_those_under_way() -> None:
    """Until their answers are sent."""
    with measured_shop() as served:
        threads = [
            threading.Thread(target=httpx.get, args=(f"{served.http.base_url}/waiting",)) for _ in "12"
        ]
        for each in threads:
            each.start()
        wait_until("two active requests", lambda: served.value(names.HTTP_ACTIVE_REQUESTS) == 2)
        assert served.value(f"{names.HTTP_DURATION_SECONDS}_count") == 0
        served.http.post("/release")
        for each in threads:
            each.join(20)
        wait_until("no active request", lambda: served.value(names.HTTP_ACTIVE_REQUESTS) == 0)


def test_client_that_leaves_is_no_longer_active_and_has_no_status() -> None:
    """None was sent."""
    with measured_shop() as served:
        address = served.http.base_url
        with socket.create_connection((address.host, address.port)) as connection:
            connection.sendall(b"POST /orders HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nab")
            wait_until("an active request", lambda: served.value(names.HTTP_ACTIVE_REQUESTS) == 1)
        served.finishes(1)
        (sample,) = served.samples(f"{names.HTTP_DURATION_SECONDS}_count")
        assert "http_response_status_code" not in sample.labels
        assert "error_type" not in sample.labels
        assert served.value(names.HTTP_ACTIVE_REQUESTS) == 0


def bounds_of(served: MeasuredShop, name: str) -> list[float]:
    """Returns a histogram's bounds."""
    return [float(sample.labels["le"]) for sample in served.samples(f"{name}_bucket")][:-1]


def test_buckets_are_the_conventions_unless_set() -> None:
    """Those that are set are for both, in the unit of each."""
    assert DURATION_BUCKETS_SECONDS == HTTP_DURATION_HISTOGRAM_BUCKETS_NEW
    with measured_shop() as served:
        served.http.get("/items/7")
        served.finishes(1)
        assert bounds_of(served, names.HTTP_DURATION_SECONDS) == list(DURATION_BUCKETS_SECONDS)
    with measured_shop(http_metrics="both", latency_buckets_ms=(0.5, 20, 3_000)) as served:
        served.http.get("/items/7")
        served.finishes(1)
        assert bounds_of(served, names.HTTP_DURATION_SECONDS) == [0.0005, 0.02, 3]
        assert bounds_of(served, names.REQUEST_LATENCY_MS) == [0.5, 20, 3_000]


def test_duration_is_in_seconds() -> None:
    """The same request in both metrics."""
    with measured_shop(http_metrics="both") as served:
        served.http.get("/items/7")
        served.finishes(1)
        milliseconds = served.value(f"{names.REQUEST_LATENCY_MS}_sum")
        assert milliseconds is not None
        assert served.value(f"{names.HTTP_DURATION_SECONDS}_sum") == pytest.approx(milliseconds / 1000)


def test_names_are_those_of_opentelemetrys_own_prometheus_exporter() -> None:
    """Names, types, units and labels, except for those of the scope."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    standard = Metrics(ours, http_metrics="standard").requests.standard
    assert standard is not None
    scope = {"type": "http", "method": "GET", "scheme": "http", "http_version": "1.1"}
    standard.begin(scope, "GET").end("/items/{item}", 500, "ValueError", 0.1, INVALID_SPAN)
    provider = MeterProvider([PrometheusMetricReader(registry=theirs)], shutdown_on_exit=False)
    meter = provider.get_meter("x")
    active = {"http.request.method": "GET", "url.scheme": "http"}
    attributes = {
        **active,
        "http.route": "/items/{item}",
        "http.response.status_code": 500,
        "error.type": "ValueError",
        "network.protocol.version": "1.1",
    }
    conventions.create_http_server_active_requests(meter).add(0, active)
    for create in (
        conventions.create_http_server_request_duration,
        conventions.create_http_server_request_body_size,
        conventions.create_http_server_response_body_size,
    ):
        create(meter).record(0, attributes)

    def described(registry: CollectorRegistry) -> dict[str, Any]:
        return {
            family.name: (
                *(family.type, family.unit, family.documentation),
                {
                    (name, value)
                    for sample in family.samples
                    for name, value in sample.labels.items()
                    if not name.startswith("otel_scope_") and name != "le"
                },
            )
            for family in registry.collect()
            if family.name.startswith("http_server")
        }

    assert described(ours) == described(theirs)
    assert set(described(ours)) == HTTP_NAMES


def test_another_middlewares_are_left_out() -> None:
    """One that measures the same requests with OpenTelemetry's instruments does not double them."""
    app = FastAPI()
    app.get("/items/{item}")(lambda item: 1)
    traced = TracedApp(app, quiet_config(http_metrics="standard"))
    other = OpenTelemetryMiddleware(traced.app, meter_provider=traced.client._providers.meter_provider)
    traced.client.meter.create_counter("orders").add(1)
    for name in traced.client.metrics.requests.standard_names:
        traced.client.meter.create_histogram(name).record(1)
    with serving_in_thread(other) as url:
        assert httpx.get(f"{url}/items/7").status_code == 200
        families = list(traced.client.registry.collect())
    found = [each.name for each in families if each.name.startswith("http_server")]
    assert set(found) >= HTTP_NAMES
    assert len(found) == len(set(found))
    assert "orders" in [each.name for each in families]
