"""A request creates one server span and one count, with bounded labels."""

import logging
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from starlette.requests import Request
from support.shop_app import build_app, sample

from telemetry.config import TelemetryConfig
from telemetry.telemetry import setup_telemetry


def test_request_makes_exactly_one_server_span_and_joins_the_callers_trace(
    config: TelemetryConfig, receiver: Any
) -> None:
    """Each request has one server span, a child of the caller's span."""
    app = build_app()
    client = setup_telemetry(app, config)
    with TestClient(app) as http:
        http.get("/items/7", headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"})
        assert client.force_flush(5)
        assert [(span.name, span.kind) for span in receiver.spans] == [
            ("GET /items/{item_id}", Span.SPAN_KIND_SERVER)
        ]
    assert receiver.spans[0].trace_id.hex() == "a" * 32
    assert receiver.spans[0].parent_span_id.hex() == "b" * 16
    assert receiver.resources[0]["service.name"] == "shop"


def test_request_of_a_mounted_app_makes_one_server_span_and_is_counted_once(
    config: TelemetryConfig, receiver: Any
) -> None:
    """The mounted FastAPI app adds no spans or counts of its own."""
    app, inner = FastAPI(), FastAPI()

    @inner.get("/x/{number}")
    def read(number: int) -> int:
        return number

    app.mount("/inner", inner)
    client = setup_telemetry(app, config)
    with TestClient(app) as http:
        assert http.get("/inner/x/1").json() == 1
        assert client.force_flush(5)
        assert sample(http, "app_request_count_total", method="GET", status_code="200") == 1
    assert [span.kind for span in receiver.spans] == [Span.SPAN_KIND_SERVER]


def test_unhandled_exception_marks_the_span_and_is_recorded_once(
    config: TelemetryConfig, receiver: Any
) -> None:
    """The server span of a crash has error status and one exception event."""
    app = build_app()
    setup_telemetry(app, config)
    with TestClient(app, raise_server_exceptions=False) as http:
        assert http.get("/broken").status_code == 500
        assert sample(http, "app_error_count_total", route="/broken", error_type="RuntimeError") == 1
    (span,) = receiver.spans
    assert span.status.code == Status.STATUS_CODE_ERROR
    assert [event.name for event in span.events] == ["exception"]


@pytest.mark.parametrize(
    ("path", "route", "status"),
    [
        ("/items/7", "/items/{item_id}", "200"),
        ("/items/x", "/items/{item_id}", "422"),
        ("/api/nested/n", "/api/nested/{name}", "200"),
        ("/no/such/path", "unmatched", "404"),
        ("/unavailable", "/unavailable", "503"),
    ],
)
def test_route_label_is_the_template(path: str, route: str, status: str, config: TelemetryConfig) -> None:
    """The label is a bounded route template, never a raw path."""
    app = build_app()
    setup_telemetry(app, config)
    with TestClient(app) as http:
        before = sample(http, "app_request_count_total", method="GET", route=route, status_code=status) or 0
        http.get(path)
        after = sample(http, "app_request_count_total", method="GET", route=route, status_code=status)
        assert after == before + 1


def test_unknown_method_has_a_bounded_label(config: TelemetryConfig) -> None:
    """Callers cannot create new series by inventing methods."""
    app = build_app()
    setup_telemetry(app, config)
    with TestClient(app) as http:
        http.request("BREW", "/items/7")
        assert sample(http, "app_request_count_total", method="_OTHER") is not None
        assert sample(http, "app_request_count_total", method="BREW") is None


def test_excluded_paths_are_neither_traced_nor_counted(config: TelemetryConfig, receiver: Any) -> None:
    """This covers health, metrics and the configured paths."""
    app = build_app()
    client = setup_telemetry(app, config)
    with TestClient(app) as http:
        for path in ("/health/telemetry", "/metrics", "/live", "/internal/state"):
            assert http.get(path).status_code == 200
            assert sample(http, "app_request_count_total", route=path) is None
        http.get("/items/1")
        assert client.force_flush(5)
        assert receiver.names == ["GET /items/{item_id}"]


def test_excluded_paths_suppress_the_instrumentations_inside(config: TelemetryConfig) -> None:
    """A health check that queries a database creates no trace."""
    app = FastAPI()
    enabled: dict[str, bool] = {}

    @app.get("/live")
    @app.get("/counted")
    def ask(request: Request) -> None:
        enabled[request.url.path] = is_instrumentation_enabled()

    setup_telemetry(app, config)
    with TestClient(app) as http:
        http.get("/live")
        http.get("/counted")
    assert enabled == {"/live": False, "/counted": True}


def test_log_records_carry_trace_and_span_ids(
    config: TelemetryConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """A log line from a request can be found from its trace."""
    app = FastAPI()

    @app.get("/logged")
    def logged() -> None:
        logging.getLogger("shop").warning("in a request")

    setup_telemetry(app, config)
    with TestClient(app) as http:
        trace_id = http.get("/logged").headers["traceresponse"].split("-")[1]
    (record,) = [record for record in caplog.records if record.name == "shop"]
    assert record.otelTraceID == trace_id  # type: ignore[attr-defined]
    assert record.otelSpanID != "0"  # type: ignore[attr-defined]
