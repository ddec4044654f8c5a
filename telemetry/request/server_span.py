"""The server span of a request: how it begins, and what it says at its end."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from opentelemetry import propagate
from opentelemetry.context import Context
from opentelemetry.instrumentation.utils import is_http_instrumentation_enabled
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.trace import (
    INVALID_SPAN,
    INVALID_SPAN_CONTEXT,
    NonRecordingSpan,
    Span,
    SpanKind,
    StatusCode,
    TraceFlags,
    get_current_span,
)
from starlette.types import Message, Scope

from ..client import TelemetryClient
from ..current import Serving, serving
from ..export.otlp.attributes import Given
from ..export.otlp.reading import FLAGS_INDEX
from ..tracing.current_context import context_with, get_context, set_context
from .attributes import RequestAttributes, merged, name_of
from .failure import record_failure
from .headers import LowerCaseGetter, first_values, for_propagators
from .hooks import Hooks

_SERVER_ERROR = 500
# Looked up on their classes, they cost more.
_SERVER, _SAMPLED = SpanKind.SERVER, TraceFlags.SAMPLED
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


class ServerSpan(Serving):
    """The server span of one request. For the task that serves it.

    Args:
        settings: those of its application.
        method: the request's, bounded.
        started_ns: when it arrived, in nanoseconds since the epoch.
    """

    # What few requests change stays with the class.
    is_recording = False
    """Whether the span is our own, and recorded; not if a middleware around the application made it."""
    exemplar: Span | None = None
    """The span that stands for the request in its metrics; None if it is not sampled."""
    client_address: Any = None
    """The scope's `client` when the span began."""
    scheme: Any = None
    """The scope's `scheme` then."""
    _background: Span | None = None

    def __init__(self, settings: SpanSettings, method: str, started_ns: int) -> None:
        self.client = settings.client
        self._settings = settings
        self._method = method
        self._started_ns = started_ns

    def begin(self, scope: Scope) -> Context | None:
        """Starts the span; returns the context to serve in, or None to stay in the present one."""
        settings = self._settings
        try:
            context: Context = get_context()
            if context:
                around = _server_span_around(context)
                if around is not None:
                    self._join(around, scope)
                    return None
                known = serving.get()
                if known is not None and known.has_ended:
                    # A server starts the next request of a connection in the context of the one before.
                    context = Context()
                elif not is_http_instrumentation_enabled():
                    return None
            headers = first_values(scope)
            carrier = for_propagators(scope, headers)
            if carrier is not None:
                context = self._extract(carrier, context)
            span = self._start(context, scope, headers)
            return context_with(span, context)
        except Exception as defect:  # noqa: BLE001 - it is logged there, and the request is served
            settings.on_defect(defect)
            return None

    def _join(self, around: Span, scope: Scope) -> None:
        self.span = around
        if around.get_span_context().trace_flags.sampled:
            self.exemplar = around
        if self._settings.hooks.on_request is not None:
            self._settings.hooks.on_request(around, scope)

    def _extract(self, carrier: dict[str, str], context: Context) -> Context:
        try:
            return propagate.extract(carrier, context, _GETTER)
        except Exception as defect:  # noqa: BLE001 - it is logged there; the request begins a trace
            self._settings.on_defect(defect)
            return context

    def _start(self, context: Context, scope: Scope, headers: dict[bytes, bytes]) -> Any:
        name = name_of(self._method, None)
        tracer: Any = self._settings.client.tracer
        if getattr(tracer, "decides_alone", False):
            # It is our own: attributes are made for recorded requests alone.
            span, _ = tracer.open(name, context, _SERVER, self._started_ns)
            if type(span) is not NonRecordingSpan:
                span.begin_with_given(self._attributes(scope, headers), context)
            self.span = span
            if type(span) is NonRecordingSpan:
                return span
        else:
            self.span = span = tracer.start_span(
                name,
                context,
                _SERVER,
                merged(self._attributes(scope, headers)),
                start_time=self._started_ns,
            )
            if not span.is_recording():
                return span
        self.is_recording = True
        if span.get_span_context()[FLAGS_INDEX] & _SAMPLED:
            self.exemplar = span
        if self._settings.hooks.on_request is not None:
            self._settings.hooks.on_request(span, scope)
        return span

    def _attributes(self, scope: Scope, headers: dict[bytes, bytes]) -> Given:
        self.client_address, self.scheme = scope.get("client"), scope.get("scheme")
        try:
            return self._settings.attributes.of_request(scope, self._method, headers)
        except Exception as defect:  # noqa: BLE001 - it is logged there; the span is the request's all the same
            self._settings.on_defect(defect)
            return ({},)

    def note_proxy(self, scope: Scope, routed: Scope) -> None:
        """Notes what a middleware within the application has read from a trusted proxy's headers.

        Args:
            scope: the request's.
            routed: the one that reaches the router.
        """
        settings, span = self._settings, self.span
        if span is None:
            return
        try:
            first = {**scope, "client": self.client_address, "scheme": self.scheme}
            now = {**scope, "client": routed.get("client"), "scheme": routed.get("scheme")}
            before, after = (
                merged(settings.attributes.of_request(each, self._method, first_values(each)))
                for each in (first, now)
            )
            # The rest is not written again: a hook may have changed it.
            span.set_attributes({key: value for key, value in after.items() if before.get(key) != value})
        except Exception as defect:  # noqa: BLE001 - it is logged there, and the request is served
            settings.on_defect(defect)

    def note_answer(self, message: Message, scope: Scope) -> None:
        """Notes what the first message of the answer says.

        Args:
            message: the message.
            scope: the one that reached the router, else the request's.
        """
        settings, span = self._settings, self.span
        if span is None:
            return
        try:
            if self.is_recording:
                span.set_attributes(settings.attributes.of_answer(message))
            if settings.hooks.on_response is not None and span.is_recording():
                settings.hooks.on_response(span, scope, message)
        except Exception as defect:  # noqa: BLE001 - it is logged there, and the answer is sent
            settings.on_defect(defect)

    @property
    def trace_response(self) -> bytes | None:
        """The `traceresponse` value (W3C Trace Context Level 2), which names the request's trace."""
        context = INVALID_SPAN_CONTEXT if self.span is None else self.span.get_span_context()
        if not context.is_valid:
            return None
        return b"00-%032x-%016x-%02x" % (context.trace_id, context.span_id, context.trace_flags)

    def end(
        self, route: str | None, status: int | None, seconds: float, failure: BaseException | None = None
    ) -> None:
        """Ends the span, if it is our own and recorded.

        Args:
            route: the template; None if no route matched.
            status: the one that the client was sent; None if it had left before.
            seconds: from the arrival to the end of the answer.
            failure: what the answer failed with, if anything.
        """
        if not self.is_recording:
            return
        span: Any = self.span
        at_end = self._settings.attributes.of_end(self._method, route, status)
        ended_ns = self._started_ns + round(seconds * 1e9)
        try:
            if failure is not None:
                record_failure(span, failure)
            elif status is not None and status >= _SERVER_ERROR:
                span.set_attribute(ERROR_TYPE, str(status))
                span.set_status(StatusCode.ERROR)
        finally:
            if hasattr(span, "end_with"):  # it is our own
                span.end_with(at_end.first_name, at_end.name, at_end.attributes, ended_ns)
            else:
                span.set_attributes(at_end.attributes.values)
                # The application may have given the span a name of its own.
                if getattr(span, "name", None) == at_end.first_name:
                    span.update_name(at_end.name)
                span.end(ended_ns)

    def begin_background(self, route: str | None, answered: float | None) -> None:
        """Starts the span of what the application does after its answer, and makes it current in this task.

        Whoever has made the server span's context current puts the one before it back.

        Args:
            route: the template; None if no route matched.
            answered: from the arrival to the end of the answer, in seconds; None if that is about now.
        """
        self._background = span = self._start_background(route, answered)
        set_context(context_with(span, get_context()))

    def _start_background(self, route: str | None, answered: float | None) -> Span:
        span = INVALID_SPAN if self.span is None else self.span
        return self._settings.client.tracer.start_span(
            f"{name_of(self._method, route)} background",
            context=context_with(span, Context()),
            start_time=None if answered is None else self._started_ns + round(answered * 1e9),
        )

    def end_background(
        self, route: str | None, answered: float, seconds: float, error: BaseException | None
    ) -> None:
        """Ends that span, which is a new one if nobody knew of the work before it failed.

        Args:
            route: the template; None if no route matched.
            answered: from the arrival to the end of the answer, in seconds.
            seconds: how long it went on after that.
            error: what that failed with, if anything.
        """
        if self.span is None or not self.is_recording:
            return
        span = self._start_background(route, answered) if self._background is None else self._background
        if error is not None:
            record_failure(span, error)
        span.end(self._started_ns + round((answered + seconds) * 1e9))


def _server_span_around(context: Context) -> Span | None:
    """Returns the running server span that somebody else's middleware has made for this request, if any."""
    span = get_current_span(context)
    known = serving.get()
    is_foreign = known is None or span is not known.span
    is_running = getattr(span, "kind", None) is _SERVER and span.is_recording()
    return span if is_foreign and is_running else None
