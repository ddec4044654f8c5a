"""The middleware: request metrics, the request's client, exclusion and the `traceresponse` header.

It runs inside the server span, which OpenTelemetry's FastAPI instrumentation starts, so that its
exemplars and its header name that span's trace.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.trace import get_current_span
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..client import TelemetryClient
from ..current import use_client
from ..metrics import names
from .excluded import ExcludedPaths

logger = logging.getLogger(__name__)

_KNOWN_METHODS = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
)
_MARK = "telemetry.measured"
_CLIENT_WENT_AWAY = 499
_SERVER_ERROR = 500


class TelemetryMiddleware:
    """Pure ASGI middleware; keeps no state between requests.

    Args:
        app: the application inside.
        client: records the metrics, and is the request's client for decorators.
        excluded: paths passed through unrecorded, with every instrumentation suppressed.
        clock: monotonic time in seconds.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        client: TelemetryClient,
        excluded: ExcludedPaths,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._app = app
        self._client = client
        self._excluded = excluded
        self._clock = clock
        self._has_failed = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request or connection."""
        if scope["type"] not in {"http", "websocket"} or _MARK in scope:
            await self._app(scope, receive, send)
            return
        # For mounted applications: the mark says that this request is measured, and FastAPI's own
        # tracing adds no second server span if it finds its key.
        scope[_MARK] = True
        scope.setdefault("fastapi.telemetry", None)
        with use_client(self._client):
            if path_of(scope) in self._excluded:
                with suppress_instrumentation():
                    await self._app(scope, receive, send)
            elif scope["type"] == "http":
                await self._measure(scope, receive, send)
            else:
                await self._app(scope, receive, send)

    async def _measure(self, scope: Scope, receive: Receive, send: Send) -> None:
        status: int | None = None
        error_type: str | None = None
        trace_response = self._trace_response()

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if trace_response is not None:
                    message["headers"] = [*message.get("headers", ()), (b"traceresponse", trace_response)]
            await send(message)

        started = self._clock()
        try:
            await self._app(scope, receive, send_and_note)
        except asyncio.CancelledError:
            status = _CLIENT_WENT_AWAY if status is None else status
            raise
        except BaseException as error:
            status = _SERVER_ERROR if status is None else status
            error_type = type(error).__qualname__
            raise
        finally:
            status = _SERVER_ERROR if status is None else status
            if error_type is None and status >= _SERVER_ERROR:
                error_type = str(status)
            self._record(scope, status, (self._clock() - started) * 1000, error_type)

    def _record(self, scope: Scope, status: int, duration_ms: float, error_type: str | None) -> None:
        try:
            self._client.metrics.record_request(
                method=scope["method"] if scope["method"] in _KNOWN_METHODS else names.OTHER_METHOD,
                route=route_of(scope),
                status_code=status,
                duration_ms=duration_ms,
                error_type=error_type,
            )
        except Exception:
            # The response is sent, or the application's own exception is propagating: neither may change.
            if not self._has_failed:
                self._has_failed = True
                logger.exception("recording a request failed; further failures are not logged")

    def _trace_response(self) -> bytes | None:
        """Returns the `traceresponse` value (W3C Trace Context Level 2), which names the current trace."""
        if not self._client.config.trace_response:
            return None
        context = get_current_span().get_span_context()
        if not context.is_valid:
            return None
        return b"00-%032x-%016x-%02x" % (context.trace_id, context.span_id, context.trace_flags)


def path_of(scope: Scope) -> str:
    """Returns the path below the application's mount point (ASGI: `path` includes `root_path`)."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    return path.removeprefix(root) if root and path.startswith(root + "/") else path


def route_of(scope: Scope) -> str:
    """Returns the matched route's template, never a raw path, which would make labels unbounded."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) and path else names.UNMATCHED_ROUTE
