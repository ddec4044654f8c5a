"""Middlewares of others, which look at what they wrap before they call it."""

from typing import Any

import pytest
from asgiref.compatibility import is_double_callable
from fastapi import BackgroundTasks
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.trace import NoOpTracerProvider, StatusCode
from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles
from support.traced_app import TracedApp


@pytest.fixture
def traced() -> TracedApp:
    """An application with no routes yet."""
    return TracedApp()


class Asgi2Middleware:
    """Calls what it takes for an application of ASGI 2 as such, as Sentry's and OpenTelemetry's do."""

    def __init__(self, app: Any) -> None:
        self._is_double = is_double_callable(app)
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serves one request."""
        if self._is_double:
            await self._app(scope)(receive, send)
        else:
            await self._app(scope, receive, send)


@pytest.mark.parametrize("is_cors_inside", [True, False])
@pytest.mark.parametrize("kind", [Asgi2Middleware, OpenTelemetryMiddleware])
def test_middleware_that_knows_asgi_2_calls_ours_as_asgi_3(
    kind: Any, *, is_cors_inside: bool, traced: TracedApp
) -> None:
    """Wherever it stands."""
    traced.app.get("/x")(lambda: 1)
    options = {"tracer_provider": NoOpTracerProvider()} if kind is OpenTelemetryMiddleware else {}
    if is_cors_inside:
        traced.app.add_middleware(CORSMiddleware)
    traced.app.add_middleware(kind, **options)
    if not is_cors_inside:
        traced.app.add_middleware(CORSMiddleware)
    with traced.browser() as http:
        assert http.get("/x").status_code == 200
    layer: Any = traced.app.middleware_stack
    while hasattr(layer, "app"):
        assert not is_double_callable(layer), layer
        layer = layer.app
    assert traced.names == ["GET /x"]


@pytest.mark.parametrize("is_relayed", [False, True])
def test_failure_of_fastapis_background_tasks_is_not_the_requests(
    *, is_relayed: bool, traced: TracedApp
) -> None:
    """FastAPI's `BackgroundTasks` are a class of its own."""

    def fail() -> None:
        raise RuntimeError("in the background")

    @traced.app.get("/x")
    def answer(tasks: BackgroundTasks) -> int:
        tasks.add_task(fail)
        return 1

    if is_relayed:
        traced.app.middleware("http")(lambda request, call_next: call_next(request))
    with traced.browser() as http:
        assert http.get("/x").status_code == 200
    (server,) = traced.server_spans
    assert (server.status.status_code, list(server.events)) == (StatusCode.UNSET, [])
    (background,) = [span for span in traced.spans if span.name == "GET /x background"]
    assert background.status.status_code is StatusCode.ERROR
    assert [(event.attributes or {})["exception.type"] for event in background.events] == ["RuntimeError"]
    errors = [
        sample
        for family in traced.client.registry.collect()
        for sample in family.samples
        if sample.name == "app_error_count_total"
    ]
    assert not errors


def test_static_files_at_the_root_have_no_route(traced: TracedApp, tmp_path: Any) -> None:
    """A mount at `/` has no path of its own; contrib names no route either."""
    (tmp_path / "a.txt").write_text("a")
    traced.app.mount("/", StaticFiles(directory=tmp_path))
    with traced.browser() as http:
        assert http.get("/a.txt").status_code == 200
        assert http.get("/missing").status_code == 404
    assert traced.names == ["GET", "GET"]
    assert all("http.route" not in (span.attributes or {}) for span in traced.server_spans)
    labels = {"method": "GET", "route": "unmatched", "status_code": "200"}
    assert traced.client.registry.get_sample_value("app_request_count_total", labels) == 1
