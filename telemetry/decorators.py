"""Decorators that trace the application's own functions, count their errors and measure their duration.

Each works with and without arguments, on plain functions, coroutine functions, generators and asynchronous
generators, and on methods of every kind. They look up their client when the function is called; without one,
they only call the function. When they are stacked directly on one another, their order does not matter: the
span is always outermost. They never change a result or an exception.

An exception is a failure if it derives from `Exception`; the others (cancellation, `GeneratorExit`,
`KeyboardInterrupt`, `SystemExit`) only mean that the caller no longer wants a result. Spans, metrics
and logs name a function `module.qualname`, the `code.function.name` of the semantic conventions.
"""

import logging
import traceback
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any, ParamSpec, TypeVar, overload

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.semconv.attributes.code_attributes import CODE_FUNCTION_NAME
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.util.types import Attributes

from .current import find_client
from .metrics.instruments import Metrics
from .tracing.calls import Call, Decorator, Layer, wrap
from .tracing.current_context import context_with, get_context, reset_context, set_context

__all__ = ["measure_performance", "trace_function", "track_errors"]

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger(__name__)


@overload
def trace_function(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def trace_function(
    name: str | None = None, *, kind: SpanKind = SpanKind.INTERNAL, attributes: Attributes = None
) -> Decorator: ...
def trace_function(
    name: Any = None, *, kind: SpanKind = SpanKind.INTERNAL, attributes: Attributes = None
) -> Any:
    """Starts a span for each call of the function, current while its own body runs, and measures the call.

    The metrics are those of `measure_performance`; with both, stacked directly, each call is counted once.

    A generator's span lasts from its first step to its end, but is not current in its consumer between two
    steps. An exception that leaves the function sets the status to error; it is recorded on the span unless
    an inner decorated function has recorded it. Arguments are never recorded: they may be secrets.

    Args:
        name: the span's name, by default the function's qualified name; or the function itself.
        kind: the span's kind.
        attributes: attributes of every such span, in addition to `code.function.name`.
    """
    span_name = name if isinstance(name, str) else None
    every_time = dict(attributes or {})

    def begin(function: str, *, is_measured: bool) -> Call | None:
        client = find_client()
        if client is None:
            return None
        context: Context = get_context()
        tracer: Any = client.tracer
        if hasattr(tracer, "drops_all_in") and tracer.drops_all_in(context):  # it is our own
            return _UnsampledCall(client.metrics, function) if is_measured else None
        attributes_now = {**every_time, CODE_FUNCTION_NAME: function}
        name_now = function if span_name is None else span_name
        span = tracer.start_span(name_now, context, kind, attributes_now)
        metrics = client.metrics if is_measured else None
        return _TracedCall(span, context_with(span, context), metrics, function)

    def decorate(function: Callable[P, R], /) -> Callable[P, R]:
        measured = partial(begin, is_measured=True)
        return wrap(
            function, Layer.SPAN, partial(begin, is_measured=False), without={Layer.DURATION: measured}
        )

    return decorate if name is None or isinstance(name, str) else decorate(name)


@overload
def track_errors(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def track_errors(*, ignore: type[Exception] | tuple[type[Exception], ...] = ()) -> Decorator: ...
def track_errors(
    function: Any = None, /, *, ignore: type[Exception] | tuple[type[Exception], ...] = ()
) -> Any:
    """Counts the exceptions that leave the function, and records them on the current span.

    An exception that passes through several decorated functions is counted and recorded once, by the
    innermost; if it is raised again in a later call, it counts again.

    Args:
        function: the function, if the decorator is used without arguments.
        ignore: exceptions that are results rather than errors; neither counted nor recorded here.
    """
    isinstance(None, ignore)  # a wrong type should fail here, not at the first error

    def begin(name: str) -> Call | None:
        client = find_client()
        return None if client is None else _TrackedCall(client.metrics.record_function_error, name, ignore)

    def decorate(function: Callable[P, R], /) -> Callable[P, R]:
        return wrap(function, Layer.ERRORS, begin)

    return decorate if function is None else decorate(function)


@overload
def measure_performance(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def measure_performance(
    *, slow_ms: float | None = None, clock: Callable[[], float] = perf_counter
) -> Decorator: ...
def measure_performance(
    function: Any = None,
    /,
    *,
    slow_ms: float | None = None,
    clock: Callable[[], float] = perf_counter,
) -> Any:
    """Records how long each call takes, and how it ends: `ok`, `error` or `cancelled`.

    A slow call is logged as a warning with its trace id. A generator's duration is the time spent in its own
    body, however long its consumer takes between two steps.

    Args:
        function: the function, if the decorator is used without arguments.
        slow_ms: a call that takes longer is slow, in milliseconds; defaults to `TELEMETRY_SLOW_CALL_MS`.
        clock: monotonic time in seconds.
    """

    def begin(name: str) -> Call | None:
        client = find_client()
        if client is None:
            return None
        threshold_ms = client.config.slow_call_ms if slow_ms is None else slow_ms
        return _MeasuredCall(client.metrics, name, threshold_ms, clock)

    def decorate(function: Callable[P, R], /) -> Callable[P, R]:
        return wrap(function, Layer.DURATION, begin)

    return decorate if function is None else decorate(function)


class _TracedCall(Call):
    has_context = True

    def __init__(self, span: Span, context: Context, metrics: Metrics | None, function: str) -> None:
        Call.__init__(self)  # `super()` costs each call more
        self._span = span
        self._context = context
        self._metrics = metrics
        """Those of the call; None if `measure_performance` records them."""
        self._function = function
        self._seconds = 0.0

    def on_resume(self) -> None:
        self._token = set_context(self._context)
        self._resumed_at = perf_counter()

    def on_pause(self) -> None:
        self._seconds += perf_counter() - self._resumed_at
        # A span that the body keeps open across a step becomes current again in the next one.
        self._context = get_context()
        try:  # noqa: SIM105 - it costs a call less than `suppress`
            reset_context(self._token)
        except ValueError:  # the garbage collector or another task closes a coroutine
            pass

    def on_end(self, error: BaseException | None) -> None:
        try:
            if isinstance(error, Exception):
                # Unlike str(error), this works for an exception that cannot be printed.
                description = "".join(traceback.format_exception_only(error)).strip()
                self._span.set_status(StatusCode.ERROR, description)
                _record_once(self, self._span, error)
            if self._metrics is not None:
                self._metrics.record_function(
                    self._function, _outcome(error), self._seconds * 1000, self._span
                )
        finally:
            self._span.end()


class _UnsampledCall(Call):
    """A call that only its metrics tell of, because its trace is not sampled."""

    def __init__(self, metrics: Metrics, function: str) -> None:
        Call.__init__(self)  # `super()` costs each call more
        self._metrics = metrics
        self._function = function
        self._seconds = 0.0

    def on_resume(self) -> None:
        self._resumed_at = perf_counter()

    def on_pause(self) -> None:
        self._seconds += perf_counter() - self._resumed_at

    def on_end(self, error: BaseException | None) -> None:
        outcome = "ok" if error is None else _outcome(error)
        self._metrics.record_function(self._function, outcome, self._seconds * 1000)


class _TrackedCall(Call):
    def __init__(
        self,
        count: Callable[[str, str], None],
        name: str,
        ignore: type[Exception] | tuple[type[Exception], ...],
    ) -> None:
        super().__init__()
        self._count = count
        self._name = name
        self._ignore = ignore

    def on_end(self, error: BaseException | None) -> None:
        if not isinstance(error, Exception) or isinstance(error, self._ignore):
            return
        try:
            if not self.is_counted:
                self.is_counted = True
                self._count(self._name, type(error).__qualname__)
        finally:
            _record_once(self, trace.get_current_span(), error)


class _MeasuredCall(Call):
    def __init__(self, metrics: Metrics, name: str, threshold_ms: float, clock: Callable[[], float]) -> None:
        super().__init__()
        self._metrics = metrics
        self._name = name
        self._threshold_ms = threshold_ms
        self._clock = clock
        self._seconds = 0.0

    def on_resume(self) -> None:
        self._resumed_at = self._clock()

    def on_pause(self) -> None:
        self._seconds += self._clock() - self._resumed_at

    def on_end(self, error: BaseException | None) -> None:
        duration_ms, span = self._seconds * 1000, trace.get_current_span()
        if duration_ms > self._threshold_ms:
            trace_id = span.get_span_context().trace_id
            logger.warning(
                "%s took %.1f ms, more than %g ms (trace %s)",
                self._name,
                duration_ms,
                self._threshold_ms,
                trace.format_trace_id(trace_id) if trace_id else "none",
            )
        self._metrics.record_function(self._name, _outcome(error), duration_ms, span)


def _outcome(error: BaseException | None) -> str:
    if error is None:
        return "ok"
    return "error" if isinstance(error, Exception) else "cancelled"


def _record_once(call: Call, span: Span, error: Exception) -> None:
    if not call.is_recorded and span.is_recording():
        call.is_recorded = True
        span.record_exception(error)
