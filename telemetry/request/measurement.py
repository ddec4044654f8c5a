"""The measurement of one request: its server span, its metrics, and what its messages say about it.

A request ends with the last byte of its answer. What the application does after that is not part of its
latency and has a span of its own; a failure of a background task is that span's, but one of closing what the
answer needed, such as a dependency with `yield`, is the request's.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any
from weakref import ReferenceType, ref

from opentelemetry import context as otel_context
from opentelemetry import propagate
from opentelemetry.context import Context
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.semconv.attributes.http_attributes import HTTP_ROUTE
from opentelemetry.trace import (
    INVALID_SPAN,
    Span,
    SpanKind,
    StatusCode,
    get_current_span,
    set_span_in_context,
)
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from ..client import TelemetryClient
from ..metrics.standard_requests import ActiveRequest
from .attributes import OTHER_METHOD, RequestAttributes, method_of
from .background import has_background_work, is_of_background_work
from .failure import record_failure, type_name
from .headers import LowerCaseGetter, read_headers
from .hooks import Hooks
from .template import RouteTemplates

_CLIENT_WENT_AWAY = 499
_SERVER_ERROR = 500
_FORBIDDEN = 403
_SWITCHING_PROTOCOLS = 101
_FIRST_OF_ANSWER = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})
_GETTER = LowerCaseGetter()


_current: ContextVar["ReferenceType[RequestMeasurement] | None"] = ContextVar(
    "telemetry_request", default=None
)
"""The request that this context serves; weakly, as a task that the application starts keeps its context."""


class RequestMeasurement:
    """One request while it is served. For the task that serves it.

    Args:
        client: makes the span and records the metrics.
        scope: the request's, which routers add to.
        templates: of the application's routes.
        attributes: what the span says.
        hooks: the application's, which add to that.
        send: the server's.
        clock: monotonic time in seconds.
        on_defect: called with an exception of this library, which must not reach the application.
    """

    __slots__ = (
        "__weakref__",
        "_active",
        "_attributes",
        "_client",
        "_client_address",
        "_clock",
        "_ended",
        "_has_background_work",
        "_has_trailers",
        "_hooks",
        "_inner_send",
        "_is_own",
        "_is_recorded",
        "_is_route_known",
        "_method",
        "_on_defect",
        "_peer_left",
        "_recording",
        "_routed",
        "_scope",
        "_span",
        "_started",
        "_started_ns",
        "_status",
        "_template",
        "_templates",
    )

    def __init__(
        self,
        client: TelemetryClient,
        scope: Scope,
        templates: RouteTemplates,
        attributes: RequestAttributes,
        hooks: Hooks,
        send: Send,
        clock: Callable[[], float],
        on_defect: Callable[[Exception], None],
    ) -> None:
        self._client = client
        self._scope = scope
        self._inner_send = send
        self._clock = clock
        self._on_defect = on_defect
        self._method = method_of(scope)
        self._templates = templates
        self._attributes = attributes
        self._hooks = hooks
        self._client_address = scope.get("client")
        self._routed: tuple[Scope, str, Any] | None = None
        """The scope that the routers add to, the server's `root_path`, and the outermost application."""
        self._is_route_known = False
        self._template: str | None = None
        self._span: Span = INVALID_SPAN
        self._is_own = True
        """False if an OpenTelemetry middleware around the application made the server span."""
        self._recording = False
        self._is_recorded = False
        self._active: ActiveRequest | None = None
        """What the conventions' metrics measure of the request; None if they are off."""
        self._status: int | None = None
        self._peer_left: OSError | None = None
        """What the server raised when the client had left."""
        self._has_background_work = False
        self._has_trailers = False
        self._ended: float | None = None
        """When the last byte of the answer was sent."""
        self._started_ns = time.time_ns()
        self._started = clock()

    async def serve(self, app: ASGIApp, receive: Receive) -> None:
        """Serves the request; what the application raises propagates."""
        context = self._start_span()
        receive = self._begin(receive)
        token = None if context is None else otel_context.attach(context)
        outer = _current.set(ref(self))
        error: BaseException | None = None
        try:
            await app(self._scope, receive, self._send)
        except BaseException as raised:
            error = raised
            raise
        finally:
            # Not otel_context.detach(): it logs an error when a task is closed from another context.
            with suppress(ValueError):
                _current.reset(outer)
                if token is not None:
                    token.var.reset(token)
            try:
                self._end(error)
            except Exception as defect:  # noqa: BLE001 - it is logged there; the answer or the exception must not change
                self._on_defect(defect)
            # The exceptions go up, and their tracebacks hold this; so does the scope.
            error = self._routed = self._peer_left = None

    @property
    def is_answered(self) -> bool:
        """Whether the last byte of the answer has been sent."""
        return self._ended is not None

    @property
    def span(self) -> Span:
        """The server span."""
        return self._span

    def note_routed(self, scope: Scope) -> None:
        """Notes the scope that reaches the application's router: a middleware may have made a copy.

        That of a mounted application comes later, and is the same or a copy that this one does not need.
        """
        if self._routed is not None:
            return
        if "app_root_path" in scope:  # by a mount around the application, which is not set up itself
            self._routed = scope, scope["app_root_path"], scope.get("router")
        else:
            self._routed = scope, scope.get("root_path") or "", scope.get("app")
        if scope.get("client") is not self._client_address and self._recording:
            self._note_proxy(scope)

    def _note_proxy(self, scope: Scope) -> None:
        """Notes what a middleware within the application has read from a trusted proxy's headers."""
        try:
            seen = {**self._scope, "client": scope.get("client"), "scheme": scope.get("scheme", "http")}
            attributes = self._attributes.of_request(seen, self._method, read_headers(seen)[0])
            self._span.set_attributes(attributes)
        except Exception as defect:  # noqa: BLE001 - it is logged there, and the request is served
            self._on_defect(defect)

    def _start_span(self) -> Context | None:
        """Starts the server span; returns the context to serve in, or None if another one is current."""
        try:
            current = otel_context.get_current()
            around, known = get_current_span(current), _current.get()
            outer = None if known is None else known()
            if known is not None and (outer is None or outer.is_answered):
                # A server starts the next request of a connection in the context of the one before.
                current = Context()
            elif _is_server_span(around) and (outer is None or around is not outer.span):
                self._span, self._is_own = around, False
                if self._hooks.on_request is not None:
                    self._hooks.on_request(around, self._scope)
                return None
            headers, carrier = read_headers(self._scope)
            context = self._extract(carrier, current)
            self._span = self._client.tracer.start_span(
                _span_name(self._method, None),
                context=context,
                kind=SpanKind.SERVER,
                start_time=self._started_ns,
            )
            self._recording = self._span.is_recording()
            if self._recording:
                self._span.set_attributes(self._attributes.of_request(self._scope, self._method, headers))
                if self._hooks.on_request is not None:
                    self._hooks.on_request(self._span, self._scope)
            return set_span_in_context(self._span, context)
        except Exception as defect:  # noqa: BLE001 - it is logged there, and the request is served
            self._on_defect(defect)
            return None

    def _begin(self, receive: Receive) -> Receive:
        """Begins the conventions' metrics of an HTTP request, if they are on."""
        standard = self._client.metrics.requests.standard
        if standard is None or self._scope["type"] != "http":
            return receive
        try:
            self._active = standard.begin(self._scope, self._method)
            return self._active.receiving(receive)
        except Exception as defect:  # noqa: BLE001 - it is logged there, and the request is served
            self._on_defect(defect)
            return receive

    def _extract(self, carrier: dict[str, str], context: Context) -> Context:
        try:
            return propagate.extract(carrier, context, _GETTER) if carrier else context
        except Exception as defect:  # noqa: BLE001 - it is logged there; the request begins a trace
            self._on_defect(defect)
            return context

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind in _FIRST_OF_ANSWER:
            message = self._begin_answer(kind, message)
        elif kind == "websocket.close" and self._status is None:
            self._status = _FORBIDDEN
        try:
            await self._inner_send(message)
        except OSError as error:
            self._peer_left = error
            raise
        try:
            self._note_sent(kind, message)
        except Exception as defect:  # noqa: BLE001 - it is logged there, and the message has been sent
            self._on_defect(defect)

    def _note_sent(self, kind: str, message: Message) -> None:
        if self._active is not None:
            self._active.sent(message)
        if self._ended is None and self._is_last(kind, message):
            self._ended = self._clock()
            try:
                status = self._status
                if status is not None and status < _SERVER_ERROR:
                    # Otherwise the end tells whether it was the client who left.
                    self._record_answer(self._ended, status, None)
            finally:
                self._note_background_work()

    def _begin_answer(self, kind: str, message: Message) -> Message:
        """Notes what the first message of the answer says; returns the one to send."""
        if kind == "websocket.accept":
            self._status = _SWITCHING_PROTOCOLS
        else:
            if self._status is None:
                self._status = message["status"]
            self._has_trailers = message.get("trailers", False)
            name = self._trace_response()
            if name is not None and not any(key == b"traceresponse" for key, _ in message.get("headers", ())):
                message = {**message, "headers": [*message.get("headers", ()), (b"traceresponse", name)]}
        if self._attributes.reads_answers or self._hooks.on_response is not None:
            self._note_answer(message)
        return message

    def _note_answer(self, message: Message) -> None:
        try:
            if self._recording and self._attributes.reads_answers:
                self._span.set_attributes(self._attributes.of_answer(message))
            if self._hooks.on_response is not None and self._span.is_recording():
                scope = self._scope if self._routed is None else self._routed[0]
                self._hooks.on_response(self._span, scope, message)
        except Exception as defect:  # noqa: BLE001 - it is logged there, and the answer is sent
            self._on_defect(defect)

    def noting_background_work(self, send: Send) -> Send:
        """Returns the innermost `send`, where a middleware runs the application in a task of its own.

        The last message comes to `_send` from that middleware, whose callers do not include the response.
        """

        async def note(message: Message) -> None:
            if self._is_last(message["type"], message):
                try:
                    self._note_background_work()
                except Exception as defect:  # noqa: BLE001 - it is logged there, and the answer is sent
                    self._on_defect(defect)
            await send(message)

        return note

    def _note_background_work(self) -> None:
        if self._recording and not self._has_background_work:
            self._has_background_work = has_background_work()

    def _is_last(self, kind: str, message: Message) -> bool:
        if kind == "http.response.body":
            return not message.get("more_body", False) and not self._has_trailers
        if kind == "http.response.trailers":
            return not message.get("more_trailers", False)
        return kind == "http.response.pathsend"

    def _record_answer(self, ended: float, sent_status: int | None, error_type: str | None) -> None:
        """Records the request once, with the status that the client was sent and the error it failed with."""
        self._is_recorded = True
        if self._scope["type"] != "http":
            return
        seconds, route = ended - self._started, self._route()
        if self._active is not None:
            self._active.end(route, sent_status, error_type, seconds, self._span)
        if self._status is not None:
            self._client.metrics.requests.record(
                self._method, route, self._status, seconds * 1000, self._span
            )

    def _route(self) -> str | None:
        """Returns the route's template; None if none matched, or a middleware answered before the router."""
        if self._routed is not None and not self._is_route_known:
            self._is_route_known = True
            try:
                self._template = self._templates.of(*self._routed)
            except Exception as defect:  # noqa: BLE001 - it is logged there; the request counts without it
                self._on_defect(defect)
        return self._template

    def _end(self, error: BaseException | None) -> None:
        """Ends the span, and counts a failure of the answer; `error` is what the application raised."""
        now = self._clock()
        is_answered = self._ended is not None
        ended = now if self._ended is None else self._ended
        went_away = error is not None and self._is_departure(error)
        of_background = is_answered and error is not None and is_of_background_work(error)
        failure = None if went_away or of_background else error
        status, is_http = self._status, self._scope["type"] == "http"
        if status is None or (went_away and status >= _SERVER_ERROR):
            # Servers answer with 500 for an application that does not, the handshake of a WebSocket included.
            self._status = _CLIENT_WENT_AWAY if went_away else _SERVER_ERROR
            status = None if went_away else _SERVER_ERROR
        try:
            if is_http:
                if not self._is_recorded:
                    kind = None if failure is None else type_name(failure)
                    if kind is None and status is not None and status >= _SERVER_ERROR:
                        kind = str(status)
                    self._record_answer(ended, status, kind)
                self._count_failure(failure)
        finally:
            if self._recording:
                self._end_span(status, failure, ended, now, error if of_background else None)
            elif self._is_own:
                self._span.end()

    def _is_departure(self, error: BaseException) -> bool:
        """Whether it says that the client has left, or that nobody wants an answer any more."""
        # What is no `Exception` is a cancellation, or the end of the process.
        is_said = isinstance(error, ClientDisconnect | WebSocketDisconnect) or not isinstance(
            error, Exception
        )
        return is_said or error is self._peer_left

    def _count_failure(self, failure: BaseException | None) -> None:
        error_type = None
        if failure is not None:
            error_type = type(failure).__qualname__
        elif self._status is not None and self._status >= _SERVER_ERROR:
            error_type = str(self._status)
        if error_type is not None and self._status is not None:
            self._client.metrics.requests.record_error(
                self._method, self._route(), self._status, error_type, self._span
            )

    def _end_span(
        self,
        status: int | None,
        failure: BaseException | None,
        ended: float,
        now: float,
        background_error: BaseException | None,
    ) -> None:
        span = self._span
        route = self._route()
        if status is not None:
            for status_name in self._attributes.status_names:
                span.set_attribute(status_name, status)
        if route is not None:
            span.set_attribute(HTTP_ROUTE, route)
        name = _span_name(self._method, route)
        span.update_name(name)
        ended_ns = self._started_ns + round((ended - self._started) * 1e9)
        try:
            if failure is not None:
                record_failure(span, failure)
            elif status is not None and status >= _SERVER_ERROR:
                span.set_attribute(ERROR_TYPE, str(status))
                span.set_status(StatusCode.ERROR)
        finally:
            span.end(ended_ns)
        if background_error is not None or self._has_background_work:
            after = self._client.tracer.start_span(
                f"{name} background", context=set_span_in_context(span, Context()), start_time=ended_ns
            )
            if background_error is not None:
                record_failure(after, background_error)
            after.end(ended_ns + round((now - ended) * 1e9))

    def _trace_response(self) -> bytes | None:
        """Returns the `traceresponse` value (W3C Trace Context Level 2), which names the request's trace."""
        if not self._client.config.trace_response:
            return None
        context = self._span.get_span_context()
        if not context.is_valid:
            return None
        return b"00-%032x-%016x-%02x" % (context.trace_id, context.span_id, context.trace_flags)


def _is_server_span(span: Span) -> bool:
    return getattr(span, "kind", None) is SpanKind.SERVER and span.is_recording()


def _span_name(method: str, route: str | None) -> str:
    """Returns the name that the conventions ask for."""
    verb = "HTTP" if method == OTHER_METHOD else method
    return verb if route is None else f"{verb} {route}"
