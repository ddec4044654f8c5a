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
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from contextvars import Token
from functools import partial
from typing import Any, ParamSpec, TypeVar, overload

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.semconv.attributes.code_attributes import CODE_FUNCTION_NAME
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.util.types import Attributes

from .current import find_client
from .tracing.calls import Call, Decorator, Layer, wrap

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

    def begin(function: str, *, is_measured: bool) -> Call | None:
        client = find_client()
        if client is None:
            return None
        span = client.tracer.start_span(
            function if span_name is None else span_name,
            kind=kind,
            attributes={**(attributes or {}), CODE_FUNCTION_NAME: function},
        )
        return _TracedCall(span, partial(client.metrics.record_function, function) if is_measured else None)

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
    *, slow_ms: float | None = None, clock: Callable[[], float] = time.perf_counter
) -> Decorator: ...
def measure_performance(
    function: Any = None,
    /,
    *,
    slow_ms: float | None = None,
    clock: Callable[[], float] = time.perf_counter,
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
        return _MeasuredCall(client.metrics.record_function, name, threshold_ms, clock)

    def decorate(function: Callable[P, R], /) -> Callable[P, R]:
        return wrap(function, Layer.DURATION, begin)

    return decorate if function is None else decorate(function)


class _TracedCall(Call):
    has_context = True

    def __init__(self, span: Span, record: Callable[[str, float], None] | None) -> None:
        super().__init__()
        self._span = span
        self._record = record
        """Takes outcome and duration, in milliseconds; None if `measure_performance` does."""
        self._resumed_at = 0.0
        self._seconds = 0.0
        self._context = trace.set_span_in_context(span)
        self._token: Token[Context] | None = None

    def on_resume(self) -> None:
        self._token = context.attach(self._context)
        self._resumed_at = time.perf_counter()

    def on_pause(self) -> None:
        self._seconds += time.perf_counter() - self._resumed_at
        # A span that the body keeps open across a step becomes current again in the next one.
        self._context = context.get_current()
        if self._token is not None:
            # Not context.detach(): it logs an error when the garbage collector or another task closes a
            # coroutine, because the token was created in another context.
            with suppress(ValueError):
                self._token.var.reset(self._token)

    def on_end(self, error: BaseException | None) -> None:
        try:
            if isinstance(error, Exception):
                # Unlike str(error), this works for an exception that cannot be printed.
                description = "".join(traceback.format_exception_only(error)).strip()
                self._span.set_status(StatusCode.ERROR, description)
                _record_once(self, self._span, error)
            if self._record is not None:
                with trace.use_span(self._span):  # the exemplar's
                    self._record(_outcome(error), self._seconds * 1000)
        finally:
            self._span.end()


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
    def __init__(
        self,
        record: Callable[[str, str, float], None],
        name: str,
        threshold_ms: float,
        clock: Callable[[], float],
    ) -> None:
        super().__init__()
        self._record = record
        self._name = name
        self._threshold_ms = threshold_ms
        self._clock = clock
        self._resumed_at = 0.0
        self._seconds = 0.0

    def on_resume(self) -> None:
        self._resumed_at = self._clock()

    def on_pause(self) -> None:
        self._seconds += self._clock() - self._resumed_at

    def on_end(self, error: BaseException | None) -> None:
        duration_ms = self._seconds * 1000
        if duration_ms > self._threshold_ms:
            trace_id = trace.get_current_span().get_span_context().trace_id
            logger.warning(
                "%s took %.1f ms, more than %g ms (trace %s)",
                self._name,
                duration_ms,
                self._threshold_ms,
                trace.format_trace_id(trace_id) if trace_id else "none",
            )
        self._record(self._name, _outcome(error), duration_ms)


def _outcome(error: BaseException | None) -> str:
    if error is None:
        return "ok"
    return "error" if isinstance(error, Exception) else "cancelled"


def _record_once(call: Call, span: Span, error: Exception) -> None:
    if not call.is_recorded and span.is_recording():
        call.is_recorded = True
        span.record_exception(error)
