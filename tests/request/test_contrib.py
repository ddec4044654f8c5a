"""Server spans by opentelemetry-instrumentation-fastapi, with all else as ever."""

import logging
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from fastapi import BackgroundTasks, FastAPI, Response, WebSocket
from fastapi.testclient import TestClient
from opentelemetry.instrumentation._semconv import _OpenTelemetrySemanticConventionStability as Stability
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.trace import Span, StatusCode
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import Scope
from support.shop_app import sample
from support.traced_app import TracedApp, quiet_config

from telemetry.current import find_client
from telemetry.decorators import trace_function
from telemetry.errors import ConfigurationError
from telemetry.request.headers import HIDDEN
from telemetry.telemetry import setup_telemetry

CONTRIB = "opentelemetry.instrumentation.fastapi"


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stable attributes, and contrib's patch of Starlette's background tasks taken back."""
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "http/dup")
    monkeypatch.setattr(Stability, "_initialized", False)
    monkeypatch.setattr(Stability, "_OTEL_SEMCONV_STABILITY_SIGNAL_MAPPING", {})
    yield
    FastAPIInstrumentor.uninstrument_app(FastAPI())


def traced_by_contrib(app: FastAPI | None = None, **settings: object) -> TracedApp:
    """Returns an application set up so, with a route, a failing one and a WebSocket."""
    app = FastAPI() if app is None else app

    @app.get("/items/{item_id}")
    @trace_function
    async def read(item_id: str, response: Response) -> str:
        response.headers["x-shard"] = "7"
        return item_id

    app.get("/broken")(lambda: 1 / 0)
    app.get("/live")(lambda: 1)

    @app.websocket("/ws")
    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    return TracedApp(app, quiet_config(instrumentation="contrib", **settings))


def test_server_span_is_contribs_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Decorated functions are below it, and the request is counted once, by us."""
    traced = traced_by_contrib()
    with traced.browser() as http:
        assert http.get("/items/7").json() == "7"
        assert sample(http, "app_request_count_total", route="/items/{item_id}", status_code="200") == 1
        assert "http_server" not in http.get("/metrics").text
    (server,) = traced.server_spans
    assert server.instrumentation_scope is not None
    assert server.instrumentation_scope.name == CONTRIB
    assert server.name == "GET /items/{item_id}"
    function = next(span for span in traced.spans if span.name.endswith("read"))
    assert function.parent is not None
    assert function.parent.trace_id == server.context.trace_id
    assert caplog.records == []


def test_failure_is_counted_and_answered_as_ever() -> None:
    """Once; the span has the exception."""
    app = FastAPI()
    app.exception_handler(Exception)(lambda request, error: Response("sorry", 500))
    traced = traced_by_contrib(app)
    with traced.browser() as http:
        answer = http.get("/broken")
        assert (answer.status_code, answer.text) == (500, "sorry")
        labels = {"route": "/broken", "status_code": "500"}
        assert sample(http, "app_error_count_total", error_type="ZeroDivisionError", **labels) == 1
    (server,) = traced.server_spans
    assert server.status.status_code is StatusCode.ERROR
    assert [event.name for event in server.events] == ["exception"]


def test_excluded_paths_and_own_pages_are_silent() -> None:
    """For contrib as well, under a proxy's prefix, too."""
    traced = traced_by_contrib(excluded_urls=("/live",))
    with traced.browser(root_path="/api") as http:
        for path in ("/live", "/metrics", "/health/telemetry"):
            assert http.get(f"/api{path}").status_code == 200
        assert http.get("/api/items/live").status_code == 200
    assert [(span.attributes or {})["url.path"] for span in traced.server_spans] == ["/api/items/live"]
    assert {span.context.trace_id for span in traced.spans} == {traced.server_spans[0].context.trace_id}


def test_websocket_has_one_server_span() -> None:
    """Contrib's own messages are spans below it."""
    traced = traced_by_contrib()
    with traced.browser() as http, http.websocket_connect("/ws"):
        pass
    assert len(traced.server_spans) == 1


def test_contrib_gets_the_settings_of_headers_and_secrets() -> None:
    """Whether they came from the environment or not."""
    traced = traced_by_contrib(
        captured_request_headers=("x-tenant", "x-key"),
        captured_response_headers=("x-shard",),
        sanitized_headers=("x-key",),
        redacted_query=("token",),
    )
    with traced.browser() as http:
        http.get("/items/7?token=secret&page=2", headers={"x-tenant": "blue", "x-key": "secret"})
    attributes = traced.server_spans[0].attributes or {}
    assert attributes["http.request.header.x_tenant"] == ("blue",)
    assert attributes["http.request.header.x_key"] == (HIDDEN,)
    assert attributes["http.response.header.x_shard"] == ("7",)
    assert attributes["url.query"] == "token=REDACTED&page=2"
    assert attributes["http.url"] == "http://testserver/items/7?token=REDACTED&page=2"
    assert not any("secret" in str(value) for value in attributes.values())


def test_hooks_are_called_with_contribs_span() -> None:
    """Once for each request."""

    def note(span: Span, scope: Scope, *_: object) -> None:
        span.set_attribute("hooked", int((getattr(span, "attributes", None) or {}).get("hooked", 0)) + 1)

    app = FastAPI()
    app.get("/x")(lambda: 1)
    config = quiet_config(instrumentation="contrib")
    traced = TracedApp(app, config, server_request_hook=note, server_response_hook=note)
    with traced.browser() as http:
        http.get("/x")
    assert (traced.server_spans[0].attributes or {})["hooked"] == 2


def test_unsampled_request_has_no_span_and_is_counted() -> None:
    """Neither contrib's nor ours."""
    traced = traced_by_contrib(sampler="always_off")
    with traced.browser() as http:
        http.get("/items/7")
        assert sample(http, "app_request_count_total", route="/items/{item_id}") == 1
    assert traced.spans == ()


def test_background_work_is_contribs_span() -> None:
    """And not ours, too."""
    app = FastAPI()

    @app.get("/later")
    def later(tasks: BackgroundTasks) -> None:
        tasks.add_task(int)

    traced = TracedApp(app, quiet_config(instrumentation="contrib"))
    with traced.browser() as http:
        http.get("/later")
    assert len([name for name in traced.names if "ackground" in name]) == 1


def test_application_that_contrib_had_before_is_taken_over() -> None:
    """It has one server span, which goes to the client's provider."""
    app = FastAPI()
    FastAPIInstrumentor.instrument_app(app)
    traced = traced_by_contrib(app)
    with traced.browser() as http:
        http.get("/items/7")
    assert [span.name for span in traced.server_spans] == ["GET /items/{item_id}"]


def test_application_that_runs_already_may_be_set_up() -> None:
    """Inside its lifespan: the stack, which is built by then, is built again."""
    made: list[TracedApp] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        made.append(traced_by_contrib(app))
        yield

    with TestClient(FastAPI(lifespan=lifespan)) as http:
        assert http.get("/items/7").json() == "7"
        assert sample(http, "app_request_count_total", route="/items/{item_id}") == 1
    assert [span.name for span in made[0].server_spans] == ["GET /items/{item_id}"]


def test_stack_that_contrib_cannot_instrument_is_traced_by_us(caplog: pytest.LogCaptureFixture) -> None:
    """As an application may build its own; contrib logs it."""
    app = FastAPI()
    build = app.build_middleware_stack
    app.build_middleware_stack = lambda: GZipMiddleware(build())  # type: ignore[method-assign]
    traced = traced_by_contrib(app)
    with traced.browser() as http:
        assert http.get("/items/7").status_code == 200
    (server,) = traced.server_spans
    assert server.name == "GET /items/{item_id}"
    assert "unexpected middleware stack" in caplog.text


def test_disabled_sdk_needs_no_contrib(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor makes a span."""
    monkeypatch.setitem(sys.modules, CONTRIB, None)
    traced = traced_by_contrib(sdk_disabled=True)
    with traced.browser() as http:
        assert http.get("/items/7").status_code == 200
    assert traced.spans == ()


def test_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """At set-up, which changes nothing."""
    monkeypatch.setitem(sys.modules, CONTRIB, None)
    monkeypatch.setenv("TELEMETRY_INSTRUMENTATION", "contrib")
    app, default = FastAPI(), find_client()
    with pytest.raises(ConfigurationError, match="pip install opentelemetry-instrumentation-fastapi"):
        setup_telemetry(app)
    assert not hasattr(app.state, "telemetry")
    assert find_client() is default
    assert not any(getattr(route, "path", "") == "/metrics" for route in app.routes)


def test_contrib_called_after_the_set_up_stands_aside(caplog: pytest.LogCaptureFixture) -> None:
    """With the warning that it gives for any application that is instrumented already, and no error."""
    traced = TracedApp()
    traced.app.get("/x")(lambda: 1)
    FastAPIInstrumentor.instrument_app(traced.app)
    with traced.browser() as http:
        http.get("/x")
    assert traced.names == ["GET /x"]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "already instrumented" in caplog.text
