"""setup_telemetry: one server span a request, metrics, header, exclusion, every way to call it."""

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, HTTPException
from fastapi.testclient import TestClient
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as parse_plain_text
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from telemetry.client import TelemetryClient
from telemetry.config import TelemetryConfig
from telemetry.current import find_client
from telemetry.telemetry import setup_telemetry

OPEN_METRICS = {"accept": "application/openmetrics-text; version=1.0.0"}


@pytest.fixture
def config(receiver: Any) -> TelemetryConfig:
    """Settings of a service that sends to the receiver and answers with traceresponse."""
    return TelemetryConfig(
        service_name="shop",
        endpoint=receiver.endpoint,
        trace_response=True,
        excluded_urls=("/live", "/internal/*"),
    )


@pytest.fixture
def shut_down() -> Iterator[Callable[[TelemetryClient], TelemetryClient]]:
    """Shuts down at the end the clients that it is given."""
    clients: list[TelemetryClient] = []

    def remember(client: TelemetryClient) -> TelemetryClient:
        clients.append(client)
        return client

    yield remember
    for client in clients:
        client.shutdown(1)


def build_app() -> FastAPI:
    """An application with a route of each kind that matters."""
    app = FastAPI()
    router = APIRouter(prefix="/api")

    @app.get("/items/{item_id}")
    def read_item(item_id: int) -> dict[str, int]:
        return {"item": item_id}

    @router.get("/nested/{name}")
    async def nested(name: str) -> str:
        return name

    @app.get("/broken")
    def broken() -> None:
        raise RuntimeError("on purpose")

    @app.get("/unavailable")
    def unavailable() -> None:
        raise HTTPException(503)

    @app.get("/live")
    @app.get("/internal/state")
    def silent() -> str:
        return "ok"

    app.include_router(router)
    app.mount("/mounted", Mount("", routes=[Route("/{rest}", lambda _: PlainTextResponse("mounted"))]))
    return app


def sample(client: TestClient, name: str, **labels: str) -> float | None:
    """The value of one series on /metrics."""
    text = client.get("/metrics", headers=OPEN_METRICS).text
    for family in text_string_to_metric_families(text):
        for each in family.samples:
            if each.name == name and labels.items() <= each.labels.items():
                return float(each.value)
    return None


def test_request_makes_exactly_one_server_span_and_joins_the_callers_trace(
    config: TelemetryConfig, receiver: Any
) -> None:
    """One span a request, of kind server, a child of the caller's."""
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
    """FastAPI traces and counts nothing of its own inside."""
    app, inner = FastAPI(), FastAPI()

    @inner.get("/x/{number}")
    def read(number: int) -> int:
        return number

    app.mount("/inner", inner)
    client = setup_telemetry(app, config)
    with TestClient(app) as http:
        assert http.get("/inner/x/1").json() == 1
        assert client.force_flush(5)
    assert [span.kind for span in receiver.spans] == [Span.SPAN_KIND_SERVER]


def test_unhandled_exception_marks_the_span_and_is_recorded_once(
    config: TelemetryConfig, receiver: Any
) -> None:
    """The server span of a crash has status error and one exception event."""
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
    """Label values are bounded: a template, never a raw path."""
    app = build_app()
    setup_telemetry(app, config)
    with TestClient(app) as http:
        before = sample(http, "app_request_count_total", method="GET", route=route, status_code=status) or 0
        http.get(path)
        after = sample(http, "app_request_count_total", method="GET", route=route, status_code=status)
        assert after == before + 1


def test_unknown_method_has_a_bounded_label(config: TelemetryConfig) -> None:
    """A caller cannot make new series by inventing methods."""
    app = build_app()
    setup_telemetry(app, config)
    with TestClient(app) as http:
        http.request("BREW", "/items/7")
        assert sample(http, "app_request_count_total", method="_OTHER") is not None
        assert sample(http, "app_request_count_total", method="BREW") is None


def test_openmetrics_carries_the_exemplar_of_the_answers_trace(config: TelemetryConfig) -> None:
    """The latency's exemplar is the trace that traceresponse named."""
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
    """Its trace could not be opened."""
    app = build_app()
    setup_telemetry(app, TelemetryConfig(endpoint=receiver.endpoint, sampler="always_off"))
    with TestClient(app) as http:
        http.get("/items/7")
        page = http.get("/metrics", headers=OPEN_METRICS).text
    assert 'route="/items/{item_id}"' in page
    assert "trace_id" not in page


def test_plain_text_metrics_parse_and_have_no_created_collisions(config: TelemetryConfig) -> None:
    """A scraper that does not ask for OpenMetrics gets the plain format, each family once."""
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
    """What an application keeps in prometheus_client itself is not lost."""
    app = build_app()
    setup_telemetry(app, config)
    with TestClient(app) as http:
        assert sample(http, "python_info") == 1


def test_excluded_paths_are_neither_traced_nor_counted(config: TelemetryConfig, receiver: Any) -> None:
    """Health, metrics and what the configuration names stay silent."""
    app = build_app()
    client = setup_telemetry(app, config)
    with TestClient(app) as http:
        for path in ("/health/telemetry", "/metrics", "/live", "/internal/state"):
            assert http.get(path).status_code == 200
            assert sample(http, "app_request_count_total", route=path) is None
        http.get("/items/1")
        assert client.force_flush(5)
        assert receiver.names == ["GET /items/{item_id}"]


def test_second_call_changes_nothing(config: TelemetryConfig, caplog: pytest.LogCaptureFixture) -> None:
    """setup_telemetry is idempotent for an app, and says so when the configuration differs."""
    app = build_app()
    first = setup_telemetry(app, config)
    routes, middleware = len(app.routes), len(app.user_middleware)
    assert setup_telemetry(app) is first
    assert (len(app.routes), len(app.user_middleware)) == (routes, middleware)
    setup_telemetry(app, TelemetryConfig(service_name="other"))
    assert "another configuration" in caplog.text
    first.shutdown(1)


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


def test_inside_a_lifespan_the_built_stack_is_rebuilt(config: TelemetryConfig, receiver: Any) -> None:
    """Requests are traced and counted though the middleware stack existed before."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        setup_telemetry(app, config)
        yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/hello")
    def hello() -> str:
        return "hello"

    for _ in range(2):
        with TestClient(app) as http:
            http.get("/hello")
            assert app.state.telemetry.force_flush(5)
    assert receiver.names == ["GET /hello"] * 2


def test_app_started_twice_is_armed_again(config: TelemetryConfig, receiver: Any) -> None:
    """Each run of the app flushes when it ends, and the next one sends again."""
    app = build_app()
    setup_telemetry(app, config)
    for run in (1, 2):
        with TestClient(app) as http:
            http.get("/items/1")
        assert len(receiver.spans) == run


def test_apps_own_lifespan_still_runs_and_its_spans_are_flushed(
    config: TelemetryConfig, receiver: Any
) -> None:
    """The library's lifespan goes around the application's: what that one traces at its end arrives too."""
    events: list[str] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        events.append("start")
        yield {"key": "value"}
        events.append("stop")
        with app.state.telemetry.start_span("farewell"):
            pass

    app = FastAPI(lifespan=lifespan)
    setup_telemetry(app, config)
    with TestClient(app):
        pass
    assert events == ["start", "stop"]
    assert receiver.names == ["farewell"]


def test_requests_client_is_found_within_the_request(
    config: TelemetryConfig, shut_down: Callable[[TelemetryClient], TelemetryClient]
) -> None:
    """Decorated code finds the client of the app that serves the request, not the process's default."""
    default = shut_down(setup_telemetry(FastAPI(), config))
    app = FastAPI()
    found: list[TelemetryClient | None] = []

    @app.get("/who")
    def who() -> None:
        found.append(find_client())

    own = shut_down(setup_telemetry(app, TelemetryConfig(service_name="other", traces_exporter="none")))
    with TestClient(app) as http:
        http.get("/who")
        found.append(find_client())
    assert found == [own, default]


def test_client_of_an_app_is_the_default_before_one_made_in_passing(
    config: TelemetryConfig, shut_down: Callable[[TelemetryClient], TelemetryClient]
) -> None:
    """What setup_telemetry was called with speaks for the process, whichever came first."""
    shut_down(TelemetryClient(service_name="in passing", traces_exporter="none"))
    of_app = shut_down(setup_telemetry(FastAPI(), config))
    assert find_client() is of_app


def test_excluded_paths_suppress_the_instrumentations_inside(config: TelemetryConfig) -> None:
    """A health check that asks a database makes no trace of its own."""
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


def test_requests_are_measured_once(config: TelemetryConfig) -> None:
    """Neither FastAPI's own metrics nor the instrumentation's appear beside the middleware's."""
    app = build_app()
    setup_telemetry(app, config)
    with TestClient(app) as http:
        http.get("/items/1")
        page = http.get("/metrics", headers=OPEN_METRICS).text
    assert "http_server" not in page


def test_log_records_carry_trace_and_span_ids(
    config: TelemetryConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """A log line written in a request can be found from its trace."""
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


def test_disabled_sdk_leaves_the_app_alone(receiver: Any) -> None:
    """OTEL_SDK_DISABLED: no span, but health and metrics still answer."""
    app = build_app()
    client = setup_telemetry(app, TelemetryConfig(endpoint=receiver.endpoint, sdk_disabled=True))
    with TestClient(app) as http:
        assert http.get("/items/1").status_code == 200
        assert http.get("/health/telemetry").status_code == 200
        assert sample(http, "app_request_count_total", route="/items/{item_id}") == 1
    assert client.pipeline.ledger.read().ended == 0
    assert receiver.calls == 0


def test_prometheus_can_be_switched_off(receiver: Any) -> None:
    """ENABLE_PROMETHEUS=false: /metrics is the application's to use."""
    app = FastAPI()
    setup_telemetry(app, TelemetryConfig(endpoint=receiver.endpoint, enable_prometheus=False))
    with TestClient(app) as http:
        assert http.get("/metrics").status_code == 404
