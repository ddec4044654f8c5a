"""setup_telemetry: every way to call it, and which client is the process's default."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient
from support.shop_app import build_app, sample, shop_config

from telemetry.client import TelemetryClient
from telemetry.config import TelemetryConfig
from telemetry.current import find_client
from telemetry.telemetry import setup_telemetry


@pytest.fixture
def config(receiver: Any) -> TelemetryConfig:
    """Settings of a service that sends to the receiver and answers with traceresponse."""
    return shop_config(receiver)


@pytest.fixture
def shut_down() -> Iterator[Callable[[TelemetryClient], TelemetryClient]]:
    """Shuts down the given clients at the end."""
    clients: list[TelemetryClient] = []

    def remember(client: TelemetryClient) -> TelemetryClient:
        clients.append(client)
        return client

    yield remember
    for client in clients:
        client.shutdown(1)


def test_second_call_changes_nothing(config: TelemetryConfig, caplog: pytest.LogCaptureFixture) -> None:
    """setup_telemetry is idempotent for an app, and warns if the configuration differs."""
    app = build_app()
    first = setup_telemetry(app, config)
    routes, middleware = len(app.routes), len(app.user_middleware)
    assert setup_telemetry(app) is first
    assert (len(app.routes), len(app.user_middleware)) == (routes, middleware)
    setup_telemetry(app, TelemetryConfig(service_name="other"))
    assert "another configuration" in caplog.text
    first.shutdown(1)


def test_inside_a_lifespan_the_built_stack_is_rebuilt(config: TelemetryConfig, receiver: Any) -> None:
    """Requests are traced and counted although the middleware stack already existed."""

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
            page = http.get("/metrics").text
    assert receiver.names == ["GET /hello"] * 2
    assert 'app_request_count_total{method="GET",route="/hello",status_code="200"} 2.0' in page


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
    """The library's lifespan wraps the application's, so spans from its shutdown arrive too."""
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
    """Decorated code finds the client of the app that serves the request instead of the process's default."""
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
    """An app's client is the process's default even if a temporary client came first."""
    shut_down(TelemetryClient(service_name="in passing", traces_exporter="none"))
    of_app = shut_down(setup_telemetry(FastAPI(), config))
    assert find_client() is of_app


def test_disabled_sdk_leaves_the_app_alone(receiver: Any) -> None:
    """With OTEL_SDK_DISABLED there are no spans, but health and metrics still answer."""
    app = build_app()
    client = setup_telemetry(app, TelemetryConfig(endpoint=receiver.endpoint, sdk_disabled=True))
    with TestClient(app) as http:
        assert http.get("/items/1").status_code == 200
        assert http.get("/health/telemetry").status_code == 200
        assert sample(http, "app_request_count_total", route="/items/{item_id}") == 1
    assert client.pipeline.ledger.read().ended == 0
    assert receiver.calls == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((APIRouter(),), "setup_telemetry\\(\\) takes the application"),
        ((None,), "not None"),
        ((FastAPI(), "shop"), "config='shop' must be a TelemetryConfig, such as"),
        ((FastAPI(), {"service_name": "shop"}), "must be a TelemetryConfig"),
    ],
)
def test_what_is_no_application_or_configuration_is_refused(arguments: Any, message: str) -> None:
    """Before anything is changed."""
    with pytest.raises(TypeError, match=message):
        setup_telemetry(*arguments)
    if isinstance(arguments[0], FastAPI):
        assert not hasattr(arguments[0].state, "telemetry")
