"""OTLP metrics behind the spans' breaker."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import (
    MetricsServiceServicer,
    add_MetricsServiceServicer_to_server,
)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData

from telemetry.config import TelemetryConfig
from telemetry.export.breaker import BreakerSettings, BreakerState, CircuitBreaker
from telemetry.export.otlp.result import ExportResult
from telemetry.export.otlp.transport import build_metric_transport
from telemetry.export.push.exporter import OtlpMetricExporter


@pytest.fixture
def metrics_data() -> MetricsData:
    """Returns one counter as a reader collects it."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    provider.get_meter("test").create_counter("requests").add(3)
    data = reader.get_metrics_data()
    assert data is not None
    provider.shutdown()
    return data


class ExporterRig:
    """An exporter with a breaker of its own."""

    def __init__(self, **settings: Any) -> None:
        config = TelemetryConfig(metrics_exporter="otlp", **settings)
        self.breaker = CircuitBreaker(BreakerSettings(failure_threshold=2, open_seconds=60))
        self.results: list[ExportResult] = []
        self.exporter = OtlpMetricExporter(
            lambda: build_metric_transport(config),
            self.breaker,
            attempt_seconds=1.0,
            on_result=self.results.append,
        )


@pytest.fixture
def make() -> Iterator[Callable[..., ExporterRig]]:
    """Makes rigs and closes them."""
    rigs: list[ExporterRig] = []

    def build(**settings: Any) -> ExporterRig:
        rigs.append(ExporterRig(**settings))
        return rigs[-1]

    yield build
    for rig in rigs:
        rig.exporter.shutdown()


def push(rig: ExporterRig, data: MetricsData) -> bool:
    """Pushes once and returns whether the reader gets SUCCESS."""
    is_success = rig.exporter.export(data).name == "SUCCESS"
    assert is_success == rig.exporter.is_sent == rig.exporter.force_flush()
    return is_success


def test_metrics_arrive_over_grpc(
    make: Callable[..., ExporterRig], receiver: Any, metrics_data: MetricsData
) -> None:
    """Metrics are sent to the metrics service and not to the trace service."""
    rig = make(endpoint=receiver.endpoint)
    assert push(rig, metrics_data)
    assert "requests" in str(receiver.metric_pushes)
    assert receiver.calls == 0


def test_metrics_arrive_over_http(make: Callable[..., ExporterRig], metrics_data: MetricsData) -> None:
    """Metrics are sent to `/v1/metrics` with the configured headers."""
    seen: list[tuple[str, str | None, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Answers one push."""
            body = self.rfile.read(int(self.headers["content-length"]))
            seen.append(
                (self.path, self.headers["tenant"], str(ExportMetricsServiceRequest.FromString(body)))
            )
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        rig = make(
            endpoint=f"http://127.0.0.1:{server.server_port}",
            protocol="http/protobuf",
            headers={"tenant": "one"},
        )
        assert push(rig, metrics_data)
        rig.exporter.shutdown()
        server.shutdown()
    ((path, tenant, text),) = seen
    assert (path, tenant) == ("/v1/metrics", "one")
    assert "requests" in text


def test_dead_collector_opens_the_shared_breaker_and_nothing_more_is_tried(
    make: Callable[..., ExporterRig], receiver: Any, metrics_data: MetricsData
) -> None:
    """An outage that one signal detects opens the breaker for both."""
    receiver.stop()
    rig = make(endpoint=receiver.endpoint)
    assert not push(rig, metrics_data)
    assert not push(rig, metrics_data)
    assert rig.breaker.state is BreakerState.OPEN
    assert not push(rig, metrics_data)
    assert len(rig.results) == 2
    receiver.start()
    rig.breaker.reset()
    assert push(rig, metrics_data)


def test_refusal_is_no_failure_of_the_collector(
    make: Callable[..., ExporterRig], receiver: Any, metrics_data: MetricsData
) -> None:
    """INVALID_ARGUMENT is reported but never opens the breaker."""
    receiver.answer = lambda context: context.abort(grpc.StatusCode.INVALID_ARGUMENT, "on purpose")
    rig = make(endpoint=receiver.endpoint)
    for _ in range(5):
        assert not push(rig, metrics_data)
    assert rig.breaker.state is BreakerState.CLOSED
    assert "on purpose" in rig.results[0].detail


def test_certificate_that_cannot_be_read_is_reported(
    make: Callable[..., ExporterRig],
    tmp_path: Path,
    certificates: dict[str, tuple[Path, Path]],
    metrics_data: MetricsData,
) -> None:
    """If the file vanishes at runtime, the error names it and nothing is raised."""
    file = tmp_path / "gone.pem"
    shutil.copy(certificates["valid"][0], file)
    rig = make(endpoint="https://localhost:1", certificate=str(file))
    file.unlink()
    assert not push(rig, metrics_data)
    assert "gone.pem" in rig.results[0].detail


def test_forked_child_has_a_connection_of_its_own(
    make: Callable[..., ExporterRig], receiver: Any, metrics_data: MetricsData
) -> None:
    """A connection that was open before the fork belongs to the parent only."""
    rig = make(endpoint=receiver.endpoint)
    assert push(rig, metrics_data)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if rig.exporter._transport is None else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert push(rig, metrics_data)
    assert len(receiver.metric_pushes) == 2


def test_security_is_decided_from_the_metrics_own_endpoint(
    make: Callable[..., ExporterRig], certificates: dict[str, tuple[Path, Path]], metrics_data: MetricsData
) -> None:
    """Metrics use TLS even if traces do not."""
    pushes: list[Any] = []

    class Service(MetricsServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the service's method name
            """Takes one push."""
            pushes.append(dict(context.invocation_metadata()))
            return ExportMetricsServiceResponse()

    file, key = certificates["valid"]
    server = grpc.server(ThreadPoolExecutor(1))
    add_MetricsServiceServicer_to_server(Service(), server)
    port = server.add_secure_port(
        "localhost:0", grpc.ssl_server_credentials([(key.read_bytes(), file.read_bytes())])
    )
    server.start()
    rig = make(
        endpoint="http://localhost:1",
        metrics_endpoint=f"https://localhost:{port}",
        certificate=str(file),
        headers={"key": "general"},
        metrics_headers={"Key": "metrics"},
    )
    assert push(rig, metrics_data), rig.results
    server.stop(None).wait()
    (metadata,) = pushes
    assert metadata["key"] == "metrics"


def test_text_of_what_a_transport_raised_is_not_reported(
    metrics_data: MetricsData, caplog: pytest.LogCaptureFixture
) -> None:
    """The text may repeat a header, so only the exception's type is reported."""
    value = "hunter2"

    class Raising:
        def send(self, payload: bytes, timeout_seconds: float) -> ExportResult:
            """Raises as http.client does for an invalid header."""
            raise ValueError(f"Invalid header value {value!r}")

        def close(self) -> None:
            """Holds nothing."""

    results: list[ExportResult] = []
    exporter = OtlpMetricExporter(Raising, CircuitBreaker(), attempt_seconds=1, on_result=results.append)
    with caplog.at_level(logging.DEBUG):
        assert exporter.export(metrics_data).name == "FAILURE"
    assert (results[0].kind, results[0].detail) == ("transport_raised", "ValueError raised in the transport")
    assert "ValueError" in caplog.text
    assert value not in caplog.text
