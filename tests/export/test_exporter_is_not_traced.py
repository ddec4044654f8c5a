"""The exporter's own requests create no spans, even when gRPC and httpx are instrumented."""

import asyncio
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import pytest
from opentelemetry.instrumentation.grpc import GrpcInstrumentorClient
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support.waiting import Until

from telemetry.client import TelemetryClient
from telemetry.health_check import (
    check_telemetry_health,
    check_telemetry_health_async,
    register_health_check,
    unregister_health_check,
)
from telemetry.metrics import names


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Instruments gRPC and httpx; yields the exporter that holds the resulting spans."""
    spans = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    # gRPC's instrumentation uses only the process-wide tracer provider.
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", provider)
    instrumentors = GrpcInstrumentorClient(), HTTPXClientInstrumentor()
    for instrumentor in instrumentors:
        instrumentor.instrument()
    yield spans
    for instrumentor in instrumentors:
        instrumentor.uninstrument()


@pytest.mark.parametrize("is_reached", [True, False])
def test_exports_of_spans_and_metrics_are_not_traced(
    is_reached: bool, traced: InMemorySpanExporter, receiver: Any, free_port: int, until: Until
) -> None:
    """Neither successful exports nor repeatedly failing ones create spans to be exported in turn."""
    client = TelemetryClient(
        service_name="shop",
        endpoint=receiver.endpoint if is_reached else f"http://127.0.0.1:{free_port}",
        sampler="always_on",
        schedule_delay_ms=20,
        metrics_exporter="otlp",
        metric_export_interval_ms=50,
        breaker_failure_threshold=1_000,
        breaker_minimum_calls=1_000,
    )
    client.meter.create_counter("orders").add(1)
    with client.start_span("one"):
        pass
    if is_reached:
        until("the span and a push have arrived", lambda: receiver.names and receiver.metric_pushes)
    else:
        until("three attempts have failed", lambda: failed_attempts(client) >= 3)
    client.shutdown(0.2)
    assert [span.name for span in traced.get_finished_spans()] == []


def failed_attempts(client: TelemetryClient) -> float:
    """Returns the number of failed span exports so far."""
    return sum(
        sample.value
        for family in client.registry.collect()
        if family.name == names.EXPORT_FAILURES
        for sample in family.samples
        if sample.name.endswith("_total")
    )


@pytest.fixture
def page() -> Iterator[str]:
    """The address of a server that answers 204."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_exports_by_http_are_not_traced_either(
    monkeypatch: pytest.MonkeyPatch, page: str, until: Until
) -> None:
    """Instrumentation is suppressed where a request is sent, however far down somebody traces."""
    enabled: list[tuple[str, bool]] = []
    send_all = socket.socket.sendall

    def noted(used: socket.socket, data: bytes, *flags: int) -> None:
        if data.startswith(b"POST "):
            enabled.append((data.split()[1].decode(), is_instrumentation_enabled()))
        send_all(used, data, *flags)

    monkeypatch.setattr(socket.socket, "sendall", noted)
    client = TelemetryClient(
        service_name="shop",
        endpoint=page,
        protocol="http/protobuf",
        sampler="always_on",
        schedule_delay_ms=20,
        metrics_exporter="otlp",
        metric_export_interval_ms=50,
    )
    client.meter.create_counter("orders").add(1)
    with client.start_span("one"):
        pass
    until("a request of each kind", lambda: {url for url, _ in enabled} == {"/v1/traces", "/v1/metrics"})
    client.shutdown(0.2)
    assert not any(is_enabled for _, is_enabled in enabled)


def test_checks_are_not_traced(traced: InMemorySpanExporter, page: str) -> None:
    """Health checks are not traced even when the application runs them; its other calls are."""

    def check() -> None:
        httpx.get(page, trust_env=False)

    async def check_async() -> None:
        async with httpx.AsyncClient(trust_env=False) as http:
            await http.get(page)

    register_health_check("page", check)
    register_health_check("page, awaited", check_async)
    try:
        found = check_telemetry_health().checks
        assert found["page"].status == "ok"
        found = asyncio.run(check_telemetry_health_async()).checks
    finally:
        unregister_health_check("page")
        unregister_health_check("page, awaited")
    assert [each.status for each in found.values()] == ["ok", "ok"]
    assert traced.get_finished_spans() == ()
    asyncio.run(check_async())
    assert [span.name for span in traced.get_finished_spans()] == ["GET"]
