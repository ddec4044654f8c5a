"""Puts the measurement around an application, and leaves it one server span for each request.

By default the span is ours, and other instrumentations of the same application stand aside. With
`TELEMETRY_INSTRUMENTATION=contrib`, opentelemetry-instrumentation-fastapi makes it, and ours stands aside.
"""

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import Span
from starlette.middleware import Middleware
from starlette.routing import Route
from starlette.types import ASGIApp, Scope

from ..client import TelemetryClient
from ..config import TelemetryConfig
from ..current import service_name
from ..errors import ConfigurationError
from ..tracing.log_fields import add_log_fields, remove_log_fields
from .attributes import QueryRedaction
from .excluded import ExcludedPaths
from .hooks import Hooks
from .middleware import ExcludingMiddleware, RoutedScopeMiddleware, TelemetryMiddleware
from .pages import HEALTH_PATH, METRICS_PATH, own_routes

logger = logging.getLogger(__name__)

_CONTRIB = "opentelemetry-instrumentation-fastapi"
_MARK_OF_CONTRIB = "_is_instrumented_by_opentelemetry"


def build_client(config: TelemetryConfig | None = None) -> TelemetryClient:
    """Builds a client, and adds the trace's fields to log records unless they are to be left off.

    Raises:
        ConfigurationError: a value is malformed, or a package that it needs is not installed; the fields are
            there all the same, so that formats which name them work whatever becomes of the telemetry.
    """
    are_new = add_log_fields(service_name)
    config = TelemetryConfig() if config is None else config
    if _is_contribs(config):
        _contribs_instrumentor()  # raises here, before anything has begun
    client = TelemetryClient(config)
    if are_new and config.is_disabled("logging"):
        remove_log_fields()  # otherwise they are another application's, too
    return client


def install(app: FastAPI, client: TelemetryClient, hooks: Hooks) -> None:
    """Measures each request of `app` from now on, and serves the library's own pages.

    A middleware stack that is built already is left as it is.

    Raises:
        ConfigurationError: contrib's instrumentation is asked for and not installed.
    """
    excluded = ExcludedPaths((HEALTH_PATH, METRICS_PATH, *client.config.excluded_urls))
    _silence_other_server_spans(app)
    pages = own_routes(client)
    app.user_middleware.append(Middleware(RoutedScopeMiddleware, around=app.user_middleware, pages=pages))
    is_contribs = _is_contribs(client.config)
    if is_contribs:
        _add_contribs(app, client)
    build = app.build_middleware_stack

    def measured(stack: ASGIApp) -> ASGIApp:
        return TelemetryMiddleware(stack, client=client, excluded=excluded, hooks=hooks)

    def build_measured() -> ASGIApp:
        _tell_of_hidden_routes(app, pages)
        # Listed behind the application's own, for `url_path_for`, redirects of slashes and other methods.
        app.router.routes += [page for page in pages if not any(page is each for each in app.router.routes)]
        stack = build()
        layer = _contribs_layer(stack) if is_contribs else None
        if layer is None:
            # Around the whole stack, so that it measures middlewares that are added later, too.
            return measured(stack)
        # The same, but within contrib's layer, whose server span it then finds; exclusion is around both.
        layer.app = measured(layer.app)
        return ExcludingMiddleware(stack, client=client, excluded=excluded)

    app.build_middleware_stack = build_measured  # type: ignore[method-assign]
    # Contrib's instrumentation reads it, and leaves the application alone from now on.
    setattr(app, _MARK_OF_CONTRIB, True)


def _tell_of_hidden_routes(app: FastAPI, pages: Sequence[Route]) -> None:
    ours = {page.path for page in pages}
    others = (route for route in app.routes if not any(route is page for page in pages))
    for path in sorted(ours & {getattr(route, "path", None) for route in others}):
        logger.warning(
            "the application's own route %s is hidden by the library's page: give it another path%s",
            path,
            ", or set ENABLE_PROMETHEUS=false" if path == METRICS_PATH else "",
        )


def _is_contribs(config: TelemetryConfig) -> bool:
    return config.instrumentation == "contrib" and not config.sdk_disabled


def _silence_other_server_spans(app: FastAPI) -> None:
    if getattr(app, _MARK_OF_CONTRIB, False):
        _contribs_instrumentor().uninstrument_app(app)
        app.middleware_stack = None
    # FastAPI from 0.142 on traces and measures by itself, outside every middleware, once a global provider
    # exists, which may be ours.
    native = getattr(app, "_telemetry", None)
    if isinstance(native, dict):
        native.update(tracing=False, metrics=False)


def _contribs_instrumentor() -> Any:
    try:
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor  # noqa: PLC0415 - rarely needed
    except ImportError as error:
        raise ConfigurationError(
            f"TELEMETRY_INSTRUMENTATION='contrib' needs {_CONTRIB} ({error}): "
            f"install it with `pip install {_CONTRIB}`, or leave the setting at 'native'"
        ) from None
    return FastAPIInstrumentor


def _add_contribs(app: FastAPI, client: TelemetryClient) -> None:
    config = client.config
    _contribs_instrumentor().instrument_app(
        app,
        server_request_hook=_redaction(config),
        tracer_provider=client.tracer_provider,
        meter_provider=NoOpMeterProvider(),  # ours are the metrics
        http_capture_headers_server_request=list(config.captured_request_headers) or None,
        http_capture_headers_server_response=list(config.captured_response_headers) or None,
        http_capture_headers_sanitize_fields=list(config.sanitized_headers) or None,
    )


def _contribs_layer(stack: Any) -> Any:
    """Returns the middleware that makes the server span; None if contrib could not add it and said so."""
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware  # noqa: PLC0415 - rarely needed

    while stack is not None and not isinstance(stack, OpenTelemetryMiddleware):
        stack = getattr(stack, "app", None)
    return stack


def _redaction(config: TelemetryConfig) -> Any:
    """Returns a hook that hides what contrib does not."""
    secrets = QueryRedaction(config.redacted_query)

    def redact(span: Span, scope: Scope) -> None:
        query = scope.get("query_string", b"").decode("latin-1")
        shown = secrets.redact(query)
        if shown == query or not span.is_recording():
            return
        attributes = getattr(span, "attributes", None) or {}
        if "url.query" in attributes:
            span.set_attribute("url.query", shown)
        if "http.url" in attributes:
            span.set_attribute("http.url", f"{str(attributes['http.url']).partition('?')[0]}?{shown}")

    return redact
