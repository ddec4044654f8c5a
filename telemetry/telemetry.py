"""setup_telemetry(app): the one line that gives a FastAPI application traces, metrics and health."""

import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.to_thread
from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.metrics import NoOpMeterProvider
from starlette.middleware import Middleware

from .client import TelemetryClient
from .config import TelemetryConfig
from .current import offer_as_default
from .request.excluded import ExcludedPaths
from .request.middleware import TelemetryMiddleware
from .request.pages import HEALTH_PATH, METRICS_PATH, own_routes
from .tracing.instrumentation import instrument_libraries

logger = logging.getLogger(__name__)


def setup_telemetry(app: FastAPI, config: TelemetryConfig | None = None) -> TelemetryClient:
    """Adds a server span per request, request metrics, `/metrics` and `/health/telemetry` to `app`.

    Call it at import, in an application factory or inside a lifespan; a second call for the same
    app changes nothing and returns the same client. Queued telemetry is flushed when the app's
    lifespan ends, and the app may be started again. Call it from the thread that builds the app.

    Args:
        app: the application.
        config: read from the environment if not given.

    Raises:
        ConfigurationError: the environment holds a malformed value.
    """
    existing: TelemetryClient | None = getattr(app.state, "telemetry", None)
    if existing is not None:
        if config is not None and config != existing.config:
            logger.warning(
                "setup_telemetry() was called again with another configuration; the first one stays"
            )
        existing.start()
        offer_as_default(existing, is_set_up=True)
        return existing
    client = TelemetryClient(config)
    app.state.telemetry = client
    offer_as_default(client, is_set_up=True)
    is_running = app.middleware_stack is not None
    # First in the list, so that an application's catch-all route does not hide them.
    app.router.routes[:0] = own_routes(client)
    _instrument(app, client)
    _chain_lifespan(app, client)
    if is_running:
        # New requests are served by the rebuilt stack; the old one is left to the running lifespan.
        app.middleware_stack = app.build_middleware_stack()
        client.start_serving()
        _flush_before_server_ends(client)
    return client


def _instrument(app: FastAPI, client: TelemetryClient) -> None:
    config = client.config
    excluded = ExcludedPaths((HEALTH_PATH, METRICS_PATH, *config.excluded_urls))
    app.user_middleware.insert(0, Middleware(TelemetryMiddleware, client=client, excluded=excluded))
    if config.sdk_disabled:
        return
    instrument_libraries(client.tracer_provider, disabled=config.disabled_instrumentations)
    if getattr(app, "_is_instrumented_by_opentelemetry", False):
        # It was instrumented by opentelemetry-instrument, with spans for send and receive.
        FastAPIInstrumentor.uninstrument_app(app)
        app.middleware_stack = None
    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=client.tracer_provider,
        # The middleware's own metrics are the only request metrics.
        meter_provider=NoOpMeterProvider(),
        excluded_urls=excluded.as_url_patterns(),
        exclude_spans=["send", "receive"],
    )


def _chain_lifespan(app: FastAPI, client: TelemetryClient) -> None:
    """Starts the client with the app and flushes it at the end, around the app's own lifespan.

    `atexit` would be too late: uvicorn raises SIGTERM again when its own shutdown is over.
    """
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(running: FastAPI) -> AsyncIterator[Any]:
        client.start()
        client.start_serving()
        offer_as_default(client, is_set_up=True)
        try:
            async with inner(running) as state:
                yield state
        finally:
            await _shut_down(client)

    app.router.lifespan_context = lifespan


def _flush_before_server_ends(client: TelemetryClient) -> None:
    """Makes the server flush after the running lifespan, which can no longer be chained.

    uvicorn's signal handler is a method of its server, and the server awaits `lifespan.shutdown()`.
    With other servers, `atexit` does the work.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    lifespan = getattr(server, "lifespan", None)
    shutdown = getattr(lifespan, "shutdown", None)
    if lifespan is None or not callable(shutdown):
        return

    async def shut_down_and_flush() -> None:
        try:
            await shutdown()
        finally:
            await _shut_down(client)

    lifespan.shutdown = shut_down_and_flush


async def _shut_down(client: TelemetryClient) -> None:
    with anyio.CancelScope(shield=True):
        # It has its own limiter, since the application's threads may all be stuck.
        await anyio.to_thread.run_sync(client.shutdown, limiter=anyio.CapacityLimiter(1))
