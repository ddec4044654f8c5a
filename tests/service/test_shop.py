"""Both services together, as real processes."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from support.free_ports import free_port
from support.service_processes import (
    ReceivedSpan,
    Shop,
    clean_environment,
    run_service,
    trace_of,
    wait_until_alive,
)

BOTH = ("storefront", "inventory")


@pytest.fixture(scope="module")
def lonely_storefront(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A storefront in production, with two workers and no inventory behind it."""
    folder = tmp_path_factory.mktemp("lonely")
    with run_service(
        "storefront",
        folder / "shop",
        port=free_port(),
        arguments=("--workers", "2"),
        ENVIRONMENT="production",
        INVENTORY_URL=f"http://127.0.0.1:{free_port()}",
        OTEL_TRACES_EXPORTER="none",
    ) as client:
        wait_until_alive(client)
        yield client


@pytest.fixture
def faults(shop: Shop) -> Iterator[httpx.Client]:
    """The storefront, whose faults are off again afterwards."""
    yield shop.storefront
    shop.storefront.put("/faults", json={}).raise_for_status()


def order_outcomes(shop: Shop) -> Counter[str]:
    """Reads the shop's own counter from the metrics page."""
    outcomes: Counter[str] = Counter()
    for line in shop.storefront.get("/metrics").text.splitlines():
        if line.startswith("shop_orders_total{"):
            outcome = line.split('outcome="')[1].split('"')[0]
            outcomes[outcome] += int(float(line.split("}")[1].split()[0]))
    return outcomes


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/products", None, 200),
        ("GET", "/v1/products/1", None, 200),
        ("GET", "/v1/products/999", None, 404),
        ("GET", "/v1/products/0", None, 422),
        ("GET", f"/v1/products/{2**63}", None, 422),
        ("POST", "/v1/orders", {"product_id": 1, "quantity": 2}, 201),
        ("POST", "/v1/orders", {"product_id": 999}, 404),
        ("POST", "/v1/orders", {"product_id": 12}, 409),
        ("POST", "/v1/orders", {"product_id": 1, "quantity": 11}, 422),
        ("POST", "/v1/orders", {"quantity": 1}, 422),
        ("GET", "/v1/orders/999999", None, 404),
    ],
)
def test_storefront_answers(
    shop: Shop, method: str, path: str, body: dict[str, Any] | None, status: int
) -> None:
    """Each route answers as the domain says."""
    assert shop.storefront.request(method, path, json=body).status_code == status


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/stock/1", None, 200),
        ("GET", "/v1/stock/999", None, 404),
        ("POST", "/v1/reservations", {"product_id": 1, "quantity": 1}, 201),
        ("POST", "/v1/reservations", {"product_id": 12, "quantity": 1}, 409),
        ("POST", "/v1/reservations", {"product_id": 999, "quantity": 1}, 404),
        ("POST", "/v1/reservations", {"product_id": 1, "quantity": 0}, 422),
    ],
)
def test_inventory_answers(
    shop: Shop, method: str, path: str, body: dict[str, Any] | None, status: int
) -> None:
    """Each route answers as the domain says."""
    assert shop.inventory.request(method, path, json=body).status_code == status


def test_order_takes_stock_and_can_be_looked_at(shop: Shop) -> None:
    """An order is in both services' books."""
    before = shop.inventory.get("/v1/stock/4").json()["available"]

    order = shop.storefront.post("/v1/orders", json={"product_id": 4, "quantity": 3}).json()

    assert shop.inventory.get("/v1/stock/4").json()["available"] == before - 3
    assert shop.storefront.get(f"/v1/orders/{order['id']}").json() == order


def test_orders_are_counted_by_outcome(shop: Shop) -> None:
    """The shop's own metric is on the library's page."""
    before = order_outcomes(shop)

    for product_id in (1, 12, 12, 999):
        shop.storefront.post("/v1/orders", json={"product_id": product_id})

    assert order_outcomes(shop) - before == {"placed": 1, "out_of_stock": 2, "unknown_product": 1}


def test_health_checks_the_database(shop: Shop) -> None:
    """The storefront's own check is part of its health."""
    health = shop.storefront.get("/health/telemetry").json()

    assert health["checks"]["database"]["status"] == "ok"
    assert health["checks"]["database"]["critical"] is True


def test_one_order_is_one_trace_over_both_services(shop: Shop) -> None:
    """The inventory's server span hangs below the storefront's checkout, and each has one server span."""
    trace = trace_of(shop, shop.storefront.post("/v1/orders", json={"product_id": 1}), *BOTH)
    by_id = {it.span.span_id: it for it in trace}
    servers = {it.service: it for it in trace if it.span.kind == Span.SPAN_KIND_SERVER}

    def ancestors(received: ReceivedSpan) -> list[str]:
        names = []
        while received.span.parent_span_id:
            received = by_id[received.span.parent_span_id]
            names.append(received.span.name)
        return names

    assert Counter(it.service for it in trace if it.span.kind == Span.SPAN_KIND_SERVER) == Counter(BOTH)
    assert ancestors(servers["inventory"])[1:] == ["checkout", servers["storefront"].span.name]


def test_both_databases_are_in_the_trace(shop: Shop) -> None:
    """Statements carry the database's name, never its place on disk."""
    trace = trace_of(shop, shop.storefront.post("/v1/orders", json={"product_id": 1}), *BOTH)

    names = {(it.service, it.span.name) for it in trace}
    assert ("inventory", "UPDATE inventory.sqlite3") in names
    assert ("storefront", "INSERT storefront.sqlite3") in names
    assert not any(
        str(shop.folder) in attribute.value.string_value for it in trace for attribute in it.span.attributes
    )


def test_out_of_stock_is_no_error_of_the_checkout(shop: Shop) -> None:
    """An expected outcome marks neither the manual span nor a server span as an error."""
    trace = trace_of(shop, shop.storefront.post("/v1/orders", json={"product_id": 12}), *BOTH)

    failed = {it.span.name for it in trace if it.span.status.code == Status.STATUS_CODE_ERROR}
    # The HTTP client's span of a 4xx is an error by the semantic conventions (HTTP, "Status").
    assert failed <= {"POST"}
    assert not any(it.span.events for it in trace if it.span.name == "checkout")


def test_only_requests_and_first_start_begin_traces(shop: Shop) -> None:
    """Polling health and metrics makes no trace, nor is a single statement a trace of its own."""
    for path in ("/healthz", "/health/telemetry", "/metrics"):
        shop.storefront.get(path).raise_for_status()
    trace_of(shop, shop.storefront.get("/v1/products"), "storefront")

    roots = [it.span for it in list(shop.receiver.spans) if not it.span.parent_span_id]
    assert {span.name for span in roots if span.kind != Span.SPAN_KIND_SERVER} == {"create database"}
    assert not any("health" in span.name or "metrics" in span.name for span in roots)


def test_faults_strike_the_shop_only(faults: httpx.Client) -> None:
    """Health and metrics answer as ever while every shopper gets a 500."""
    faults.put("/faults", json={"error_rate": 1}).raise_for_status()

    statuses = {
        path: faults.get(path).status_code for path in ("/v1/products", "/healthz", "/metrics", "/faults")
    }
    assert statuses == {"/v1/products": 500, "/healthz": 200, "/metrics": 200, "/faults": 200}
    assert faults.get("/health/telemetry").status_code == 200


def test_injected_fault_is_recorded_on_its_trace(shop: Shop, faults: httpx.Client) -> None:
    """The server span of an affected request records the exception."""
    faults.put("/faults", json={"error_rate": 1}).raise_for_status()

    trace = trace_of(shop, faults.get("/v1/products"), "storefront")

    (server,) = trace
    assert server.span.status.code == Status.STATUS_CODE_ERROR
    assert [event.name for event in server.span.events] == ["exception"]


def test_inventory_faults_reach_the_shopper_as_503(shop: Shop) -> None:
    """An inventory that fails is as good as none."""
    shop.inventory.put("/faults", json={"error_rate": 1}).raise_for_status()
    try:
        assert shop.storefront.post("/v1/orders", json={"product_id": 1}).status_code == 503
    finally:
        shop.inventory.put("/faults", json={}).raise_for_status()


def test_no_inventory_means_503(lonely_storefront: httpx.Client) -> None:
    """Orders can be retried later; browsing still works."""
    answer = lonely_storefront.post("/v1/orders", json={"product_id": 1})

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert lonely_storefront.get("/v1/products").status_code == 200


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_production_has_no_faults(lonely_storefront: httpx.Client, method: str) -> None:
    """Nobody can break a shop that earns money."""
    assert lonely_storefront.request(method, "/faults", json={"error_rate": 1}).status_code == 404


def test_malformed_setting_stops_the_start(tmp_path: Path) -> None:
    """The error output of a service that cannot start names the variable."""
    failed = subprocess.run(
        [sys.executable, "-m", "uvicorn", "service.storefront.app:app", "--port", str(free_port())],
        env=clean_environment(INVENTORY_URL="inventory:8001", SHOP_DATABASE_DIR=str(tmp_path)),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )

    assert failed.returncode != 0
    assert "INVENTORY_URL" in failed.stderr
