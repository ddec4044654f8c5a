"""The console's application, and its protection against other sites."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

from fastapi import FastAPI
from nicegui import ui
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.control import Control
from console.dashboards.page import add_dashboards_page
from console.doctor import add_doctor_page
from console.live.page import add_live_page
from console.observer import Observer
from console.traces.page import add_traces_page
from stack.backends.jaeger import AsyncJaeger
from stack.backends.prometheus import AsyncPrometheus
from stack.runtime import Runtime
from stack.settings import HOST, StackSettings

_UNFRAMED = (b"content-security-policy", b"frame-ancestors 'none'")
_NAMES = ("127.0.0.1", "localhost", "[::1]")


def make_app(settings: StackSettings, runtime: Runtime) -> FastAPI:
    """Creates the console of one stack.

    Args:
        settings: the stack's settings.
        runtime: the runtime that owns its processes.
    """
    observer = Observer(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(observer.run())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/healthz")
    async def check_liveness() -> dict[str, str]:
        return {"status": "ok"}

    add_live_page(observer, Control(settings, runtime))
    endpoints = runtime.endpoints
    has_pages = runtime.kind != "native"
    add_traces_page(
        AsyncJaeger(settings.jaeger_port),
        jaeger_page=f"http://{HOST}:{settings.jaeger_port}" if has_pages else None,
    )
    add_dashboards_page(
        AsyncPrometheus(settings.prometheus_port),
        grafana_page=endpoints["grafana"].address if "grafana" in endpoints else None,
    )
    add_doctor_page(settings, runtime)
    ui.run_with(
        app, title="telemetry", language="en-US", dark=None, tailwind=False, show_welcome_message=False
    )
    app.add_middleware(OwnPagesOnly, port=settings.console_port)
    return app


class OwnPagesOnly:
    """Middleware that rejects requests from other sites, by Origin or by a foreign Host (DNS rebinding).

    The buttons act over a websocket, which browsers let any page open, so they need this protection. It also
    forbids other pages to frame the console's (clickjacking).

    Args:
        app: the protected application.
        port: the port that it listens on.
    """

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._hosts = {f"{name}:{port}" for name in _NAMES}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on requests from the console's own pages, and rejects others."""

        async def send_unframed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), _UNFRAMED]
            await send(message)

        if scope["type"] not in {"http", "websocket"} or self._is_own(dict(scope["headers"])):
            await self._app(scope, receive, send_unframed)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})

    def _is_own(self, headers: dict[bytes, bytes]) -> bool:
        if headers.get(b"host", b"").decode("latin-1") not in self._hosts:
            return False
        origin = headers.get(b"origin")
        return origin is None or urlsplit(origin.decode("latin-1")).netloc in self._hosts
