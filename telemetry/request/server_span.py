"""The server span of a request: how it begins, and what it says at its end."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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
from opentelemetry.util.types import AttributeValue
from starlette.types import Message, Scope

from ..client import TelemetryClient
from ..current import serving
from .attributes import OTHER_METHOD, RequestAttributes
from .failure import record_failure
from .headers import LowerCaseGetter, RequestHeaders
from .hooks import Hooks

_SERVER_ERROR = 500
_GETTER = LowerCaseGetter()


@dataclass(frozen=True, slots=True)
class SpanSettings:
    """What the server spans of one application have in common.

    Args:
        client: its tracer makes them.
        attributes: what they say.
        hooks: the application's, which add to that.
        on_defect: called with an exception of this library, which must not reach the application.
    """

    client: TelemetryClient
    attributes: RequestAttributes
    hooks: Hooks
    on_defect: Callable[[Exception], None]


class ServerSpan:
    """The server span of one request. For the task that serves it.

    Args:
        settings: those of its application.
        scope: the request's.
        method: the bounded one.
        started_ns: when it arrived, in nanoseconds since the epoch.
    """

    # What few requests change stays with the class.
    _client: Any = None
    span: Span = INVALID_SPAN
    """The span; an invalid one before it begins."""
    is_own = True
    """False if an OpenTelemetry middleware around the application made the span."""
    is_recording = False
    """Whether the span is our own, and recorded."""

    def __init__(self, settings: SpanSettings, scope: Scope, method: str, started_ns: int) -> None:
        self._settings = settings
        self._scope = scope
        self._method = method
        self._started_ns = started_ns

    def begin(self) -> Context | None:
        """Starts the span; returns the context to serve in, or None to stay in the present one."""
        settings = self._settings
        try:
            current = otel_context.get_current()
            if current:
                around = _server_span_around(current)
                if around is not None:
                    self.span, self.is_own = around, False
                    if settings.hooks.on_request is not None:
                        settings.hooks.on_request(around, self._scope)
                    return None
                known = serving.get()
                if known is not None and known.has_ended:
                    # A server starts the next request of a connection in the context of the one before.
                    current = Context()
            headers = RequestHeaders(self._scope)
            carrier = headers.for_propagators()
            context = current if carrier is None else self._extract(carrier, current)
            self._start(context, headers)
            return set_span_in_context(self.span, context)
        except Exception as defect:  # noqa: BLE001 - it is logged there, and the request is served
            settings.on_defect(defect)
            return None

    def _extract(self, carrier: dict[str, str], context: Context) -> Context:
        try:
            return propagate.extract(carrier, context, _GETTER)
        except Exception as defect:  # noqa: BLE001 - it is logged there; the request begins a trace
            self._settings.on_defect(defect)
            return context

    def _start(self, context: Context, headers: RequestHeaders) -> None:
        settings, name = self._settings, name_of(self._method, None)
        tracer: Any = settings.client.tracer
        if hasattr(tracer, "open_span"):  # it is our own: attributes are made for sampled requests alone
            span, _ = tracer.open_span(name, context, SpanKind.SERVER, self._started_ns)
            self.span, self.is_recording = span, span.is_recording()
            if self.is_recording:
                span.adopt(self._attributes(headers))
                span.announce(context)
        else:
            self.span = tracer.start_span(
                name, context, SpanKind.SERVER, self._attributes(headers), start_time=self._started_ns
            )
            self.is_recording = self.span.is_recording()
        if self.is_recording and settings.hooks.on_request is not None:
            settings.hooks.on_request(self.span, self._scope)

    def _attributes(self, headers: RequestHeaders) -> dict[str, AttributeValue]:
        self._client = self._scope.get("client")
        try:
            return self._settings.attributes.of_request(self._scope, self._method, headers.first)
        except Exception as defect:  # noqa: BLE001 - it is logged there; the span is the request's all the same
            self._settings.on_defect(defect)
            return {}

    def note_routed(self, scope: Scope) -> None:
        """Notes what a middleware within the application has read from a trusted proxy's headers.

        Args:
            scope: the one that reaches the router.
        """
        if not self.is_recording or scope.get("client") is self._client:
            return
        settings = self._settings
        try:
            seen = {**self._scope, "client": scope.get("client"), "scheme": scope.get("scheme", "http")}
            headers = RequestHeaders(seen).first
            self.span.set_attributes(settings.attributes.of_request(seen, self._method, headers))
        except Exception as defect:  # noqa: BLE001 - it is logged there, and the request is served
            settings.on_defect(defect)

    def note_answer(self, message: Message, scope: Scope) -> None:
        """Notes what the first message of the answer says.

        Args:
            message: the message.
            scope: the one that reached the router, else the request's.
        """
        settings = self._settings
        if not settings.attributes.reads_answers and settings.hooks.on_response is None:
            return
        try:
            if self.is_recording:
                self.span.set_attributes(settings.attributes.of_answer(message))
            if settings.hooks.on_response is not None and self.span.is_recording():
                settings.hooks.on_response(self.span, scope, message)
        except Exception as defect:  # noqa: BLE001 - it is logged there, and the answer is sent
            settings.on_defect(defect)

    @property
    def trace_response(self) -> bytes | None:
        """The `traceresponse` value (W3C Trace Context Level 2), which names the request's trace."""
        context = self.span.get_span_context()
        if not context.is_valid:
            return None
        return b"00-%032x-%016x-%02x" % (context.trace_id, context.span_id, context.trace_flags)

    def end(
        self, route: str | None, status: int | None, seconds: float, failure: BaseException | None = None
    ) -> None:
        """Ends the span, if it is our own.

        Args:
            route: the template; None if no route matched.
            status: the one that the client was sent; None if it had left before.
            seconds: from the arrival to the end of the answer.
            failure: what the answer failed with, if anything.
        """
        if not self.is_recording:
            if self.is_own:
                self.span.end()
            return
        values: dict[str, Any] = {} if route is None else {HTTP_ROUTE: route}
        if status is not None:
            for status_name in self._settings.attributes.status_names:
                values[status_name] = status
        self._ended_ns = self._started_ns + round(seconds * 1e9)
        self._name = name_of(self._method, route)
        try:
            if failure is not None:
                record_failure(self.span, failure)
            elif status is not None and status >= _SERVER_ERROR:
                values[ERROR_TYPE] = str(status)
                self.span.set_status(StatusCode.ERROR)
        finally:
            self._finish(self.span, values)

    def _finish(self, span: Any, values: dict[str, Any]) -> None:
        # The application may have given the span a name of its own.
        is_renamed = getattr(span, "name", None) != name_of(self._method, None)
        if hasattr(span, "finish"):  # it is our own
            span.finish(span.name if is_renamed else self._name, values, self._ended_ns)
            return
        try:
            span.set_attributes(values)
            if not is_renamed:
                span.update_name(self._name)
        finally:
            span.end(self._ended_ns)

    def add_background(self, answered: float, seconds: float, error: BaseException | None) -> None:
        """Makes the span of what the application did after its answer; `end` comes first.

        Args:
            answered: from the arrival to the end of the answer, in seconds.
            seconds: how long it went on after that.
            error: what that failed with, if anything.
        """
        if not self.is_recording:
            return
        after = self._settings.client.tracer.start_span(
            f"{self._name} background",
            context=set_span_in_context(self.span, Context()),
            start_time=self._ended_ns,
        )
        if error is not None:
            record_failure(after, error)
        after.end(self._started_ns + round((answered + seconds) * 1e9))


def _server_span_around(context: Context) -> Span | None:
    """Returns the running server span that somebody else's middleware has made for this request, if any."""
    span = get_current_span(context)
    known = serving.get()
    is_foreign = known is None or span is not known.span
    is_running = getattr(span, "kind", None) is SpanKind.SERVER and span.is_recording()
    return span if is_foreign and is_running else None


def name_of(method: str, route: str | None) -> str:
    """Returns the name that the conventions ask for."""
    verb = "HTTP" if method == OTHER_METHOD else method
    return verb if route is None else f"{verb} {route}"
