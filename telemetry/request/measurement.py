"""The measurement of one request: its server span, its metrics, and what its messages say about it.

A request ends with the last byte of its answer. What the application does after that is not part of its
latency and has a span of its own; a failure of a background task is that span's, but one of closing what the
answer needed, such as a dependency with `yield`, is the request's.
"""

from collections.abc import Callable
from contextvars import Token
from time import time_ns
from typing import Any

from opentelemetry.context import Context
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from ..client import TelemetryClient
from ..current import serving
from ..metrics.standard_requests import ActiveRequest, StandardRequests
from ..tracing.current_context import reset_context, set_context
from .attributes import METHODS, RequestAttributes
from .background import BackgroundWork, is_of_background_work
from .failure import type_name
from .hooks import Hooks
from .server_span import ServerSpan, SpanSettings
from .template import RouteTemplates

_CLIENT_WENT_AWAY = 499
_SERVER_ERROR = 500
_FORBIDDEN = 403
_SWITCHING_PROTOCOLS = 101
_FIRST_OF_ANSWER = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})
_set_serving, _reset_serving = serving.set, serving.reset


class Instruments:
    """What measures the requests of one application. Thread-safe.

    Args:
        client: makes the spans and records the metrics.
        hooks: the application's, which add to its server spans.
        clock: monotonic time in seconds.
        on_defect: called with an exception of this library, which must not reach the application.
    """

    def __init__(
        self,
        client: TelemetryClient,
        hooks: Hooks,
        clock: Callable[[], float],
        on_defect: Callable[[Exception], None],
    ) -> None:
        self.clock = clock
        self.on_defect = on_defect
        self.metrics = client.metrics.requests
        attributes = RequestAttributes(client.config)
        self.spans = SpanSettings(client, attributes, hooks, on_defect)
        self.templates = RouteTemplates()
        self.background = BackgroundWork()
        self.answers_with_trace = client.config.trace_response
        self.reads_answers = attributes.reads_answers or hooks.on_response is not None
        """Whether the first message of an answer has something for the span."""
        self.looks_at_answers = self.reads_answers or self.answers_with_trace


class RequestMeasurement:
    """One request while it is served. For the task that serves it.

    Args:
        instruments: the application's.
        scope: the request's, which routers add to.
        send: the server's.
    """

    # What few requests change stays with the class.
    _routed: tuple[Scope, str, Any] | None = None
    """The scope that the routers add to, the server's `root_path`, and the outermost application."""
    _is_route_known = False
    _template: str | None = None
    _is_recorded = False
    _status: int | None = None
    _peer_left: OSError | None = None
    """What the server raised when the client had left."""
    _has_trailers = False
    _ended: float | None = None
    """When the last byte of the answer was sent."""
    _sent_part: float | None = None
    """When the latest part of it was sent that was not the last."""
    _seconds = 0.0
    """From the arrival to that moment, once it is recorded."""
    _context_token: Token[Context] | None = None

    def __init__(self, instruments: Instruments, scope: Scope, send: Send) -> None:
        self._instruments = instruments
        self._scope = scope
        self._inner_send = send
        self._method = method = METHODS[scope.get("method", "GET")]  # a WebSocket's handshake is a GET
        self._span = ServerSpan(instruments.spans, method, time_ns())
        self._has_background_work = False
        self._active: ActiveRequest | None = None
        """What the conventions' metrics measure of the request; None if they are off."""
        clock = instruments.clock
        self._started = clock()

    def begin(self, receive: Receive) -> Receive:
        """Starts the span and makes it current; returns the `receive` for the application."""
        context = self._span.begin(self._scope)
        if context is not None:
            self._context_token = set_context(context)
        self._serving_token = _set_serving(self._span)
        standard = self._instruments.metrics.standard
        return receive if standard is None else self._begin_standard(standard, receive)

    def _begin_standard(self, standard: StandardRequests, receive: Receive) -> Receive:
        if self._scope["type"] != "http":
            return receive
        try:
            self._active = standard.begin(self._scope, self._method)
            return self._active.receiving(receive)
        except Exception as defect:  # noqa: BLE001 - it is logged there, and the request is served
            self._instruments.on_defect(defect)
            return receive

    def end(self, error: BaseException | None) -> None:
        """Ends the request; `error` is what the application raised."""
        try:
            # Not otel_context.detach(): it logs an error when a task is closed from another context.
            _reset_serving(self._serving_token)
            if self._context_token is not None:
                reset_context(self._context_token)
        except ValueError:  # the task is closed from another context, which never had them
            pass
        try:
            if error is None and self._is_recorded and not self._has_background_work:  # as nearly always
                if self._span.is_recording:
                    self._span.end(self._template, self._status, self._seconds)
            else:
                self._end(error)
        except Exception as defect:  # noqa: BLE001 - it is logged there; the answer or the exception must not change
            self._instruments.on_defect(defect)
        self._span.has_ended = True
        # The exceptions go up, and their tracebacks hold this; so does the scope.
        self._routed = self._peer_left = None

    def note_routed(self, scope: Scope) -> bool:
        """Notes the scope that reaches the application's router: a middleware may have made a copy.

        That of a mounted application comes later, and is the same or a copy that this one does not need.

        Returns:
            Whether it is the first.
        """
        if self._routed is not None:
            return False
        if "app_root_path" in scope:  # by a mount around the application, which is not set up itself
            self._routed = scope, scope["app_root_path"], scope.get("router")
        else:
            self._routed = scope, scope.get("root_path") or "", scope.get("app")
        span = self._span
        if span.is_recording and (
            scope.get("client") is not span.client_address or scope.get("scheme") is not span.scheme
        ):
            span.note_proxy(self._scope, scope)
        return True

    async def send(self, message: Message) -> None:  # noqa: C901, PLR0912 - a call less for each message
        """Sends a message of the answer, and notes what it says."""
        is_last, kind = False, None
        try:
            kind = message.get("type")
            if kind == "http.response.body":
                is_last = not (message.get("more_body", False) or self._has_trailers)
            elif kind in _FIRST_OF_ANSWER:
                if kind == "websocket.accept":
                    self._status = _SWITCHING_PROTOCOLS
                else:
                    self._has_trailers = message.get("trailers", False)
                    status = message.get("status")
                    if self._status is None and isinstance(status, int):
                        self._status = status
                if self._instruments.looks_at_answers:
                    message = self._look_at_answer(message)
            else:
                is_last = self._is_last(message)
                if kind == "websocket.close" and self._status is None:
                    self._status = _FORBIDDEN
        except Exception as defect:  # noqa: BLE001 - it is logged there; the server judges what it is sent
            self._instruments.on_defect(defect)
        inner_send = self._inner_send  # looked up in the call, it would be sought in the class, too
        try:
            await inner_send(message)
        except OSError as error:
            self._peer_left = error
            raise
        active = self._active
        if is_last or active is not None:
            try:
                if active is not None:
                    active.sent(message)
                if is_last and self._ended is None:
                    self._end_answer()
            except Exception as defect:  # noqa: BLE001 - it is logged there, and the message has been sent
                self._instruments.on_defect(defect)
        if kind == "http.response.body" and not is_last:
            self._sent_part = self._instruments.clock()

    def _look_at_answer(self, message: Message) -> Message:
        """Notes for the span what the first message of the answer says; returns the one to send."""
        if self._instruments.answers_with_trace:
            message = self._with_trace_response(message)
        if self._instruments.reads_answers:
            self._span.note_answer(message, self._scope if self._routed is None else self._routed[0])
        return message

    def _with_trace_response(self, message: Message) -> Message:
        value = self._span.trace_response
        if value is None:
            return message
        headers = list(message.get("headers", ()))  # it may be an iterator
        if not any(header[0] == b"traceresponse" for header in headers):
            headers.append((b"traceresponse", value))
        return {**message, "headers": headers}

    def _is_last(self, message: Message) -> bool:
        kind = message.get("type")
        if kind == "http.response.body":
            return not message.get("more_body", False) and not self._has_trailers
        if kind == "http.response.trailers":
            return not message.get("more_trailers", False)
        return kind == "http.response.pathsend"

    def _end_answer(self) -> None:
        clock, span = self._instruments.clock, self._span
        self._ended = ended = clock()
        span.has_ended = True
        try:
            status = self._status
            if status is not None and status < _SERVER_ERROR:
                # Otherwise the end tells whether it was the client who left.
                self._record_answer(ended, status, None)
        finally:
            if (
                span.is_recording
                and not self._has_background_work
                and self._instruments.background.is_ahead()
            ):
                self._begin_background(ended - self._started)

    def noting_background_work(self, send: Send) -> Send:
        """Returns the innermost `send`, where a middleware runs the application in a task of its own.

        The last message comes to ours from that middleware, whose callers do not include the response.
        """

        async def note(message: Message) -> None:
            try:
                is_new = self._span.is_recording and not self._has_background_work
                if is_new and self._is_last(message) and self._instruments.background.is_ahead():
                    self._begin_background(None)
            except Exception as defect:  # noqa: BLE001 - it is logged there, and the answer is sent
                self._instruments.on_defect(defect)
            await send(message)

        return note

    def _begin_background(self, answered: float | None) -> None:
        self._has_background_work = True
        self._span.begin_background(self._route(), answered)

    def _record_answer(self, ended: float, sent_status: int | None, error_type: str | None) -> None:
        """Records the request once, with the status that the client was sent and the error it failed with."""
        self._is_recorded = True
        self._seconds = seconds = ended - self._started
        if self._scope["type"] != "http":
            return
        route = self._template if self._is_route_known else self._route()
        if self._active is not None:
            self._active.end(route, sent_status, error_type, seconds, self._span.exemplar)
        if self._status is not None:
            self._instruments.metrics.record(
                self._method, route, self._status, seconds * 1000, self._span.exemplar
            )

    def _route(self) -> str | None:
        """Returns the route's template; None if none matched."""
        if not self._is_route_known:
            self._is_route_known = True
            templates = self._instruments.templates
            try:
                if self._routed is None:
                    self._template = templates.of_unrouted(self._scope)
                else:
                    self._template = templates.of(*self._routed)
            except Exception as defect:  # noqa: BLE001 - it is logged there; the request counts without it
                self._instruments.on_defect(defect)
        return self._template

    def _end(self, error: BaseException | None) -> None:
        """Ends the span, and counts a failure of the answer; `error` is what the application raised."""
        now = self._instruments.clock()
        is_answered = self._ended is not None
        ended = now if self._ended is None else self._ended
        if self._ended is None and error is None and self._sent_part is not None:
            # The client has left a stream, whose response then has no last part, but may have work to do.
            ended = self._sent_part
        went_away = error is not None and self._is_departure(error)
        of_background = is_answered and error is not None and is_of_background_work(error)
        failure = None if went_away or of_background else error
        status = self._status
        if status is None or (went_away and status >= _SERVER_ERROR):
            # Servers answer with 500 for an application that does not, the handshake of a WebSocket included.
            self._status = _CLIENT_WENT_AWAY if went_away else _SERVER_ERROR
            status = None if went_away else _SERVER_ERROR
        try:
            if not self._is_recorded:
                kind = None if failure is None else type_name(failure)
                if kind is None and status is not None and status >= _SERVER_ERROR:
                    kind = str(status)
                self._record_answer(ended, status, kind)
            self._count_failure(failure)
        finally:
            seconds = ended - self._started
            self._span.end(self._route(), status, seconds, failure)
            if of_background or self._has_background_work:
                self._span.end_background(
                    self._route(), seconds, now - ended, error if of_background else None
                )

    def _is_departure(self, error: BaseException) -> bool:
        """Whether it says that the client has left, or that nobody wants an answer any more."""
        # What is no `Exception` is a cancellation, or the end of the process.
        is_said = isinstance(error, ClientDisconnect | WebSocketDisconnect) or not isinstance(
            error, Exception
        )
        return is_said or error is self._peer_left

    def _count_failure(self, failure: BaseException | None) -> None:
        status = self._status
        if status is None or (failure is None and status < _SERVER_ERROR) or self._scope["type"] != "http":
            return
        error_type = str(status) if failure is None else type(failure).__qualname__
        self._instruments.metrics.record_error(
            self._method, self._route(), status, error_type, self._span.exemplar
        )
