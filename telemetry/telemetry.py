"""setup_telemetry(app): the one line that gives a FastAPI application traces, metrics and health."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI
from starlette.applications import Starlette

from .client import TelemetryClient
from .config import TelemetryConfig
from .current import find_tracer_provider, offer_as_default
from .providers import spend_at_end
from .request.hooks import Hooks, RequestHook, ResponseHook
from .request.install import build_client, install
from .server_end import call_at_server_end, run_to_its_end
from .tracing.current_provider import CurrentTracerProvider
from .tracing.instrumentation import instrument_libraries

logger = logging.getLogger(__name__)


def setup_telemetry(
    app: FastAPI,
    config: TelemetryConfig | None = None,
    *,
    server_request_hook: RequestHook | None = None,
    server_response_hook: ResponseHook | None = None,
) -> TelemetryClient:
    """Adds a server span per request, request metrics, `/metrics` and `/health/telemetry` to `app`.

    Call it at import, in an application factory or inside a lifespan; a second call for the same
    app changes nothing and returns the same client. Queued telemetry is flushed when the app's
    lifespan ends, and the app may be started again. Call it from the thread that builds the app.

    Args:
        app: the application.
        config: read from the environment if not given.
        server_request_hook: called with the server span and the ASGI scope of each recorded request before
            the application gets it, to add attributes.
        server_response_hook: called with the span, the scope, which by then has what the router found, and
            the first message of the answer.

    Raises:
        ConfigurationError: the environment holds a malformed value, or names a package that is not installed.
        TypeError: a hook cannot be called, or is asynchronous; or an argument is something else altogether.
    """
    if not isinstance(app, Starlette):
        raise TypeError(f"setup_telemetry() takes the application, FastAPI() or Starlette(), not {app!r}")
    if config is not None and not isinstance(config, TelemetryConfig):
        raise TypeError(
            f"config={config!r} must be a TelemetryConfig, such as TelemetryConfig(service_name='shop')"
        )
    hooks = Hooks(server_request_hook, server_response_hook)
    existing: TelemetryClient | None = getattr(app.state, "telemetry", None)
    if existing is not None:
        if (config is not None and config != existing.config) or server_request_hook or server_response_hook:
            logger.warning(
                "setup_telemetry() was called again with another configuration or other hooks; "
                "those of the first call stay"
            )
        existing.start()
        offer_as_default(existing, is_set_up=True)
        return existing
    client = build_client(config)
    app.state.telemetry = client
    offer_as_default(client, is_set_up=True)
    is_running = app.middleware_stack is not None
    if not client.config.sdk_disabled:
        instrument_libraries(
            CurrentTracerProvider(find_tracer_provider), is_disabled=client.config.is_disabled
        )
    install(app, client, hooks)
    _chain_lifespan(app, client)
    if is_running:
        # New requests are served by the rebuilt stack; the old one is left to the running lifespan.
        app.middleware_stack = app.build_middleware_stack()
        client.start_serving()
        # The running lifespan can no longer be chained.
        call_at_server_end(partial(_shut_down, client))
    return client


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
            await run_to_its_end(partial(_shut_down, client))

    app.router.lifespan_context = lifespan


def _shut_down(client: TelemetryClient) -> None:
    spend_at_end(client.config.shutdown_seconds, client.shutdown)
