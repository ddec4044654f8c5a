"""Each kind of request that applications have gives the right spans and labels, through a real server."""

import json
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from prometheus_client.parser import text_string_to_metric_families
from support.free_ports import free_port
from support.service_processes import (
    ReceivedSpan,
    Receiver,
    Shop,
    run_service,
    trace_of,
    wait_for,
    wait_until_alive,
)
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from telemetry.metrics import names

REQUESTS = f"{names.REQUEST_COUNT}_total"


def counted(client: httpx.Client, **labels: str) -> float:
    """Returns how many requests with these labels were counted."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
        if sample.name == REQUESTS and labels.items() <= sample.labels.items()
    )


def server_of(trace: list[ReceivedSpan]) -> Span:
    """Returns the storefront's server span, of which there is one."""
    (server,) = [
        it.span for it in trace if it.service == "storefront" and it.span.kind == Span.SPAN_KIND_SERVER
    ]
    return server


def attribute(span: Span, key: str) -> str | int | None:
    """Returns the value of an attribute: a text or a whole number."""
    for each in span.attributes:
        if each.key == key:
            return each.value.string_value or each.value.int_value
    return None


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "route"),
    [
        pytest.param("GET", "/v1/products", None, 200, "/v1/products", id="versioned router"),
        pytest.param("GET", "/v1/products/999", None, 404, "/v1/products/{product_id}", id="parameter"),
        pytest.param("POST", "/v1/orders", {"product_id": 12}, 409, "/v1/orders", id="write"),
        pytest.param("GET", "/v1/orders/export?newest=5", None, 200, "/v1/orders/export", id="stream"),
        pytest.param("GET", "/admin/sales", None, 200, "/admin/sales", id="mounted application"),
    ],
)
def test_route_is_the_whole_template(
    method: str, path: str, body: dict[str, int] | None, status: int, route: str, shop: Shop
) -> None:
    """The server span and the metrics name the prefixes of routers and mounts, and no values."""
    labels = {"method": method, "route": route, "status_code": str(status)}
    before = counted(shop.storefront, **labels)

    answer = shop.storefront.request(method, path, json=body)

    assert answer.status_code == status
    server = server_of(trace_of(shop, answer, "storefront"))
    assert server.name == f"{method} {route}"
    assert (attribute(server, "http.route"), attribute(server, "http.response.status_code")) == (
        route,
        status,
    )
    assert counted(shop.storefront, **labels) == before + 1


def test_middlewares_refusal_is_measured_and_goes_no_further(shop: Shop) -> None:
    """A 401 is one server span, no error, and counted; no order was placed."""
    sales = shop.storefront.get("/admin/sales").json()
    before = counted(shop.storefront, method="POST", status_code="401")

    answer = httpx.post(
        f"{shop.storefront.base_url}/v1/orders", json={"product_id": 1}, timeout=10, trust_env=False
    )

    assert answer.status_code == 401
    (only,) = trace_of(shop, answer, "storefront")
    assert only.span.kind == Span.SPAN_KIND_SERVER
    assert attribute(only.span, "http.response.status_code") == 401
    assert only.span.status.code == Status.STATUS_CODE_UNSET
    assert counted(shop.storefront, method="POST", status_code="401") == before + 1
    assert shop.storefront.get("/admin/sales").json() == sales


def test_background_work_is_no_part_of_the_request(shop: Shop) -> None:
    """It has a span of its own below the request's, which begins at the answer's last byte."""
    answer = shop.storefront.post("/v1/orders", json={"product_id": 1})
    trace_id = answer.headers["traceresponse"].split("-")[1]

    def background() -> Span | None:
        found = [it.span for it in shop.receiver.trace(trace_id) if it.span.name.endswith(" background")]
        return found[0] if found else None

    work = wait_for("the background work's span", background)
    trace = trace_of(shop, answer, "storefront", "inventory")
    server = server_of(trace)
    assert work.name == "POST /v1/orders background"
    assert work.parent_span_id == server.span_id
    assert work.start_time_unix_nano == server.end_time_unix_nano
    (deleting,) = [it.span for it in trace if it.span.name == "DELETE storefront.sqlite3"]
    assert deleting.parent_span_id == work.span_id
    assert work.start_time_unix_nano <= deleting.start_time_unix_nano
    assert deleting.end_time_unix_nano <= work.end_time_unix_nano


def test_session_of_a_request_reads_below_its_server_span(shop: Shop) -> None:
    """The dependency with `yield` opens it for the request alone: one connection, one statement."""
    trace = trace_of(shop, shop.storefront.get("/v1/products/1"), "storefront")

    server = server_of(trace)
    assert sorted(it.span.name for it in trace) == sorted(
        [server.name, "connect", "SELECT storefront.sqlite3"]
    )
    assert {it.span.parent_span_id for it in trace} == {b"", server.span_id}


def test_export_streams_what_was_ordered(shop: Shop) -> None:
    """Lines of JSON, the latest first, read while they are sent: one statement."""
    placed = [shop.storefront.post("/v1/orders", json={"product_id": 6}).json() for _ in range(3)]

    with shop.storefront.stream("GET", "/v1/orders/export", params={"newest": 3}) as answer:
        lines = [json.loads(line) for line in answer.iter_lines()]

    assert lines == placed[::-1]
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["transfer-encoding"] == "chunked"
    trace = trace_of(shop, answer, "storefront")
    assert [it.span.name for it in trace].count("SELECT storefront.sqlite3") == 1
    assert shop.storefront.get("/v1/orders/export", params={"newest": 0}).status_code == 422


def watch(client: httpx.Client, product_id: int, trace_id: str) -> ClientConnection:
    """Connects to what is left of a product, in a trace of that id."""
    port = client.base_url.port
    return connect(
        f"ws://127.0.0.1:{port}/v1/stock/{product_id}/watch",
        additional_headers={"traceparent": f"00-{trace_id}-{'b' * 16}-01"},
        proxy=None,
    )


def span_of_watching(receiver: Receiver, trace_id: str) -> Span:
    """Waits for the connection's server span."""

    def find() -> Span | None:
        found = [it.span for it in receiver.trace(trace_id) if it.span.kind == Span.SPAN_KIND_SERVER]
        return found[0] if found else None

    return wait_for("the connection's span", find)


def test_watcher_is_told_of_each_change_in_one_span(shop: Shop) -> None:
    """The span lasts as long as the connection, and is no request in the metrics."""
    trace_id = "1" * 32
    with watch(shop.inventory, 5, trace_id) as socket:
        first = json.loads(socket.recv(timeout=10))
        shop.storefront.post("/v1/orders", json={"product_id": 5, "quantity": 2}).raise_for_status()
        second = json.loads(socket.recv(timeout=10))
        assert not shop.receiver.trace(trace_id) or all(
            it.span.kind != Span.SPAN_KIND_SERVER for it in shop.receiver.trace(trace_id)
        )

    assert (first["product_id"], second["available"]) == (5, first["available"] - 2)
    span = span_of_watching(shop.receiver, trace_id)
    assert span.name == "GET /v1/stock/{product_id}/watch"
    assert attribute(span, "http.response.status_code") == 101
    assert span.status.code == Status.STATUS_CODE_UNSET
    assert counted(shop.inventory, route="/v1/stock/{product_id}/watch") == 0


@pytest.mark.parametrize(("product_id", "status", "trace_id"), [(999, 404, "2" * 32), (0, 403, "3" * 32)])
def test_watching_what_is_unknown_is_refused(product_id: int, status: int, trace_id: str, shop: Shop) -> None:
    """An answer instead of a connection, and the span has its status."""
    with pytest.raises(InvalidStatus) as raised:
        watch(shop.inventory, product_id, trace_id)

    assert raised.value.response.status_code == status
    span = span_of_watching(shop.receiver, trace_id)
    assert attribute(span, "http.response.status_code") == status
    assert span.status.code == Status.STATUS_CODE_UNSET


def test_watchers_are_struck_by_faults_too(shop: Shop) -> None:
    """The handshake is answered as a request would be."""
    shop.inventory.put("/faults", json={"error_rate": 1}).raise_for_status()
    try:
        with pytest.raises(InvalidStatus) as raised:
            watch(shop.inventory, 1, "4" * 32)
    finally:
        shop.inventory.put("/faults", json={}).raise_for_status()
    assert raised.value.response.status_code == 500


def test_connection_ends_cleanly_with_its_server(tmp_path: Path) -> None:
    """A watcher is told that the service restarts, nothing is logged, and its span is not lost."""
    receiver, port, trace_id = Receiver(), free_port(), "5" * 32
    with ExitStack() as ending:
        ending.callback(receiver.close)
        service = run_service(
            "inventory",
            tmp_path / "shop",
            port=port,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
            # Longer than the test: only the flush at the end sends the span.
            OTEL_BSP_SCHEDULE_DELAY="600000",
        )
        with service as client:
            wait_until_alive(client)
            socket = ending.enter_context(watch(client, 1, trace_id))
            socket.recv(timeout=10)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=10)
        span = span_of_watching(receiver, trace_id)

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
    assert span.status.code == Status.STATUS_CODE_UNSET
    assert "Traceback" not in (tmp_path / f"inventory-{port}.log").read_text()
