"""The middleware: it measures each request, gives decorators their client, and leaves excluded paths alone.

It is the outermost layer of the application, so that whatever answers or fails further in is measured, the
application's other middlewares included.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.instrumentation.utils import suppress_instrumentation
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..client import TelemetryClient
from ..current import serving, silenced
from .excluded import ExcludedPaths
from .hooks import Hooks
from .measurement import Instruments, RequestMeasurement

logger = logging.getLogger(__name__)

_MEASURED = frozenset({"http", "websocket"})
_MARK = "telemetry.measured"
"""The scope's key for the measurement of the request, for mounted applications; None for an excluded one."""
_FASTAPIS_KEY = "fastapi.telemetry"
"""FastAPI's own tracing adds no second server span if it finds this in the scope."""


class TelemetryMiddleware:
    """Pure ASGI middleware; keeps no state between requests.

    Args:
        app: the application inside.
        client: makes the spans and records the metrics, and is the request's client for decorators.
        excluded: paths passed through unrecorded, with every instrumentation suppressed.
        hooks: the application's, which add to its server spans.
        clock: monotonic time in seconds.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        client: TelemetryClient,
        excluded: ExcludedPaths,
        hooks: Hooks | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.app = app
        self._client = client
        self._excluded = excluded
        self._instruments = Instruments(client, Hooks() if hooks is None else hooks, clock, self._on_defect)
        self._has_failed = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request or connection."""
        if scope["type"] not in _MEASURED or _MARK in scope:
            await self.app(scope, receive, send)
            return
        if self._excluded.covers(scope):
            await _pass_silently(self._client, self.app, scope, receive, send)
            return
        request = scope[_MARK] = RequestMeasurement(self._instruments, scope, send)
        if _FASTAPIS_KEY not in scope:
            scope[_FASTAPIS_KEY] = None
        receive = request.begin(receive)
        error: BaseException | None = None
        try:
            app = self.app
            await app(scope, receive, request.send)
        except BaseException as raised:
            error = raised
            raise
        finally:
            request.end(error)
            error = scope[_MARK] = None  # they hold one another

    def _on_defect(self, error: Exception) -> None:
        """Logs a failure of this library once."""
        if not self._has_failed:
            self._has_failed = True
            logger.error("recording a request failed; further failures are not logged", exc_info=error)


class ExcludingMiddleware:
    """Goes around a server span that others make, so that they leave excluded paths alone, too.

    Args:
        app: their middleware.
        client: of the application.
        excluded: paths passed through unrecorded, with every instrumentation suppressed.
    """

    def __init__(self, app: ASGIApp, *, client: TelemetryClient, excluded: ExcludedPaths) -> None:
        self.app = app
        self._client = client
        self._excluded = excluded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request or connection."""
        is_new = scope["type"] in _MEASURED and _MARK not in scope
        if is_new and self._excluded.covers(scope):
            await _pass_silently(self._client, self.app, scope, receive, send)
        else:
            await self.app(scope, receive, send)


async def _pass_silently(
    client: TelemetryClient, app: ASGIApp, scope: Scope, receive: Receive, send: Send
) -> None:
    scope[_MARK] = None
    scope.setdefault(_FASTAPIS_KEY, None)
    with _apart_from_the_last_request(), silenced(client) as silent, suppress_instrumentation():

        async def send_noting(message: Message) -> None:
            await send(message)
            if isinstance(message, dict) and message.get("type") == "http.response.body":
                silent.has_ended = not message.get("more_body", False)

        try:
            await app(scope, receive, send_noting)
        finally:
            silent.has_ended = True


@contextmanager
def _apart_from_the_last_request() -> Iterator[None]:
    """Leaves out the trace, the baggage and the like of a request that has ended.

    A server starts the next request of a connection in the context of the one before.
    """
    known = serving.get()
    if known is None or not known.has_ended:
        yield
        return
    token = otel_context.attach(Context())
    try:
        yield
    finally:
        with suppress(ValueError):  # the task may be closed from another context
            token.var.reset(token)


class RoutedScopeMiddleware:
    """The innermost layer: tells the measurement of the scope that the application's router gets.

    It serves the library's own pages itself: none of the application's routes hides them, and a measured
    request is not compared with them, as it is with a router's routes.

    Args:
        app: the router, with what handles its exceptions.
        around: the application's middlewares.
        pages: the library's own.
    """

    def __init__(self, app: ASGIApp, *, around: Iterable[Middleware], pages: Sequence[Route]) -> None:
        self.app = app
        self._pages = pages
        # It serves the application in another task, and sends the answer itself.
        self._is_relayed = any(
            isinstance(each.cls, type) and issubclass(each.cls, BaseHTTPMiddleware) for each in around
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes everything on.

        A coroutine, although one that only awaits another costs each request a little: middlewares around it
        take anything else for an application of ASGI 2.
        """
        request = scope.get(_MARK)
        if isinstance(request, RequestMeasurement):
            if self._is_relayed:
                send = request.noting_background_work(send)
            if request.note_routed(scope):
                await self.app(scope, receive, send)
                return
        # An excluded request, or one that another measured application has passed on.
        for page in self._pages:
            match, found = page.matches(scope)
            if match is Match.FULL:
                scope.update(found)
                await page.handle(scope, receive, send)
                return
        await self.app(scope, receive, send)
