"""The whole stack on the real programs, as a table of parts and signals.

It runs natively (`make test-stack`) and in containers (`make test-compose`): see the fixture `stack`. For an
outage under load see test_load_lab.py.
"""

import json
import time
from secrets import token_hex

import httpx
import pytest
import yaml
from support.running_stack import Stack
from websockets.sync.client import connect

from stack.canary import order_one
from stack.settings import ROOT

# With a cold cache, the fixture builds the programs.
pytestmark = pytest.mark.timeout(3600)

METRICS = [
    ("storefront", "requests", 'app_request_count_total{job="storefront",method="POST",route="/v1/orders"}'),
    ("storefront", "latency", 'app_request_latency_ms_count{job="storefront",route="/v1/orders"}'),
    ("storefront", "functions", 'app_function_duration_ms_count{job="storefront",outcome="ok"}'),
    ("storefront", "own instrument", 'shop_orders_total{job="storefront",outcome="placed"}'),
    ("storefront", "spans delivered", 'telemetry_spans_total{job="storefront",outcome="delivered"}'),
    ("storefront", "breaker", 'telemetry_breaker_state{job="storefront",state="closed"}'),
    ("inventory", "requests", 'app_request_count_total{job="inventory",route="/v1/reservations"}'),
    ("inventory", "spans delivered", 'telemetry_spans_total{job="inventory",outcome="delivered"}'),
    ("collector", "spans accepted", 'otelcol_receiver_accepted_spans_total{job="collector"}'),
    (
        "collector",
        "spans sent",
        'otelcol_exporter_sent_spans_total{job="collector",exporter="otlp_http/jaeger"}',
    ),
    ("collector", "span calls", 'traces_span_metrics_calls_total{service_name="storefront"}'),
    (
        "collector",
        "span durations",
        'traces_span_metrics_duration_seconds_bucket{service_name="inventory",span_kind="SPAN_KIND_SERVER"}',
    ),
    ("jaeger", "spans stored", 'otelcol_receiver_accepted_spans_total{job="jaeger"}'),
    ("prometheus", "targets up", "up == 1"),
]


@pytest.fixture(scope="module")
def traffic(stack: Stack) -> None:
    """Places an order, so that every counter has counted."""
    order_one(stack.settings)


@pytest.mark.usefixtures("traffic")
@pytest.mark.parametrize(("part", "signal", "query"), METRICS, ids=[f"{p}: {s}" for p, s, _ in METRICS])
def test_metric_is_in_prometheus(part: str, signal: str, query: str, stack: Stack) -> None:
    """Each part's signal has a value above zero."""
    stack.wait(f"{part}: {signal}: {query}", lambda: stack.prometheus.total(query) > 0, seconds=20)


def test_prometheus_answers_no_web_site(stack: Stack) -> None:
    """A page of another site can neither read nor write metrics through a browser."""
    address = f"http://127.0.0.1:{stack.settings.prometheus_port}/api/v1"
    foreign = {"origin": "http://evil.example"}
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    read = httpx.get(f"{address}/query", params={"query": "up"}, headers=foreign, trust_env=False)
    asked = httpx.options(f"{address}/otlp/v1/metrics", headers=foreign | asks, trust_env=False)
    assert read.is_success
    assert not {"access-control-allow-origin"} & (read.headers.keys() | asked.headers.keys())


def test_every_target_is_scraped(stack: Stack) -> None:
    """No target is down; a wrong content type would take one down."""
    stack.wait("five targets up", lambda: stack.prometheus.total("up") == 5, seconds=20)


def test_one_order_is_one_trace_of_both_services(stack: Stack) -> None:
    """The storefront's and the inventory's spans are joined, with one server span each."""
    spans = stack.wait_for_trace(order_one(stack.settings))
    everything = [span for of_service in spans.values() for span in of_service]
    ids = {span["spanId"] for span in everything}
    roots = [span for span in everything if not span.get("parentSpanId")]
    assert [span["name"] for span in roots] == ["POST /v1/orders"]
    assert all(span["parentSpanId"] in ids for span in everything if span.get("parentSpanId"))
    for service, name in (("storefront", "POST /v1/orders"), ("inventory", "POST /v1/reservations")):
        servers = [span["name"] for span in spans[service] if span["kind"] in (2, "SPAN_KIND_SERVER")]
        assert servers == [name]


def test_connection_is_one_trace_as_long_as_it_is_open(stack: Stack) -> None:
    """Whoever watches stock by WebSocket is told of an order, and the trace is there once they have left."""
    trace_id = token_hex(16)
    with connect(
        f"ws://127.0.0.1:{stack.settings.inventory_port}/v1/stock/1/watch",
        additional_headers={"traceparent": f"00-{trace_id}-{token_hex(8)}-01"},
        proxy=None,
    ) as socket:
        before = json.loads(socket.recv(timeout=10))["available"]
        order_one(stack.settings)
        assert json.loads(socket.recv(timeout=10))["available"] < before

    def servers() -> list[str]:
        spans = stack.jaeger.spans(trace_id)["inventory"]
        return [span["name"] for span in spans if span["kind"] in (2, "SPAN_KIND_SERVER")]

    stack.wait("the connection's span", servers, seconds=20)  # the statements' were sent before it
    assert servers() == ["GET /v1/stock/{product_id}/watch"]


def test_exemplars_of_services_and_spans_name_traces_that_exist(stack: Stack) -> None:
    """A point of a latency curve leads to a trace."""
    started = time.time()
    trace_id = order_one(stack.settings)
    for query in (
        'app_request_latency_ms_bucket{job="storefront",route="/v1/orders"}',
        'traces_span_metrics_duration_seconds_bucket{service_name="storefront",span_name="POST /v1/orders"}',
    ):
        stack.wait(
            f"the exemplar {trace_id} of {query}",
            lambda query=query: (
                trace_id
                in stack.prometheus.exemplar_trace_ids(query, start=started - 60, end=time.time() + 5)
            ),
            seconds=20,
        )
    assert stack.wait_for_trace(trace_id)


def test_monitor_api_of_jaeger_answers_from_span_metrics(stack: Stack) -> None:
    """The Monitor tab's own query has a value: names and units agree on both sides."""
    url = f"http://127.0.0.1:{stack.settings.jaeger_port}/api/metrics/calls"

    def has_points() -> bool:
        order_one(stack.settings)
        answer = httpx.get(
            url,
            params={
                "service": "storefront",
                "endTs": int(time.time() * 1000),
                "lookback": 60_000,
                "step": 5_000,
                "ratePer": 30_000,
                "spanKind": "server",
            },
            trust_env=False,
        ).json()
        points = [point for metric in answer["metrics"] for point in metric["metricPoints"]]
        values = [point["gaugeValue"]["doubleValue"] for point in points]
        return any(isinstance(value, float | int) and value > 0 for value in values)

    stack.wait("a rate above zero in Jaeger's monitor", has_points, seconds=30)


def test_every_rule_is_evaluated(stack: Stack) -> None:
    """The running Prometheus evaluates all rules of the repository without errors."""
    url = f"http://127.0.0.1:{stack.settings.prometheus_port}/api/v1/rules"

    def health() -> dict[str, str]:
        groups = httpx.get(url, trust_env=False).json()["data"]["groups"]
        return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}

    stack.wait("an evaluation of every rule", lambda: "unknown" not in health().values(), seconds=90)
    files = (ROOT / "prometheus/rules").iterdir()
    written = [
        rule.get("alert") or rule["record"]
        for file in files
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
    ]
    assert health() == dict.fromkeys(written, "ok")
