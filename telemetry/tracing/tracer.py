"""A tracer provider whose spans cost little, and which is the SDK's in everything else.

The tracer decides about a span before it builds anything: an unsampled one is only a context.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from contextvars import Token
from random import getrandbits
from time import time_ns
from types import TracebackType
from typing import Any, TypeVar, cast

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Tracer, TracerProvider
from opentelemetry.sdk.trace._tracer_metrics import NoOpTracerMetrics
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    NoOpTracer,
    Span,
    SpanContext,
    SpanKind,
    TraceFlags,
    get_current_span,
)
from opentelemetry.util.types import Attributes

from .current_context import SPAN_KEY, context_with, get_context, set_context
from .escaping import record_escaping
from .recording_span import RecordingSpan
from .span_origin import Origin

FASTAPIS_OWN_SCOPE = "fastapi"
_Function = TypeVar("_Function", bound=Callable[..., Any])

_FLAGS = {
    (is_sampled, is_random): TraceFlags(
        (TraceFlags.SAMPLED if is_sampled else 0) | (TraceFlags.RANDOM_TRACE_ID if is_random else 0)
    )
    for is_sampled in (False, True)
    for is_random in (False, True)
}
_OF_KEPT_ROOT, _OF_DROPPED_ROOT = _FLAGS[True, True], _FLAGS[False, True]
_SAMPLED = TraceFlags.SAMPLED
_KEPT, _DROPPED = Decision.RECORD_AND_SAMPLE, Decision.DROP
_make_span, _new_context = RecordingSpan.make, cast(Any, tuple.__new__)
_NO_STATE = SpanContext(1, 1, is_remote=False).trace_state
_HAS_KNOWN_LAYOUT = tuple(SpanContext(1, 2, False, _FLAGS[True, False], _NO_STATE)) == (
    *(1, 2, False, _FLAGS[True, False], _NO_STATE, True),
)
"""Whether a `SpanContext` can be made as the tuple that it is, without checks of ids that are known."""


class RecordingTracerProvider(TracerProvider):
    """The SDK's tracer provider, with tracers that make `RecordingSpan`s. Thread-safe."""

    def get_tracer(self, *arguments: Any, **options: Any) -> Any:
        """Returns the tracer of an instrumentation scope, the same one each time.

        That of FastAPI makes no spans: from 0.142 on, a global provider, which this one may be, would switch
        on its own tracing in every application of the process, also in those that are not set up.
        """
        scope = arguments[0] if arguments else options.get("instrumenting_module_name")
        if scope == FASTAPIS_OWN_SCOPE:
            return NoOpTracer()
        tracer = super().get_tracer(*arguments, **options)
        if type(tracer) is Tracer:
            # The SDK's provider makes and keeps its tracers itself and can be told of no other class.
            tracer.__class__ = RecordingTracer
        return tracer


def _part_of_origin(name: str) -> Any:
    """Returns a property for an attribute of the SDK's tracer, which others may replace at any time."""

    def get(tracer: "RecordingTracer") -> Any:
        return tracer.__dict__[name]

    def change(tracer: "RecordingTracer", value: Any) -> None:
        tracer.__dict__[name] = value
        tracer._origin, tracer.decides_alone = None, False

    return property(get, change)


class RecordingTracer(Tracer):
    """The SDK's tracer, but for how it makes its spans. Thread-safe."""

    _origin: Origin | None = None
    """What its spans share; None if something of it has been replaced since the last span."""
    decides_alone = False
    """Whether its sampler decides without a look at attributes, as the last span has shown."""
    resource = _part_of_origin("resource")
    sampler = _part_of_origin("sampler")
    span_processor = _part_of_origin("span_processor")
    id_generator = _part_of_origin("id_generator")
    _tracer_metrics = _part_of_origin("_tracer_metrics")

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = (),
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> Span:
        """Starts a span; its parent is the current span of `context`, or of the current context.

        Args:
            name: its name.
            context: a context; the current one, if it is not given.
            kind: its kind.
            attributes: those that it starts with.
            links: to other spans.
            start_time: in nanoseconds since the epoch; now, if it is not given.
            record_exception: whether an exception that leaves the span's `with` block is recorded.
            set_status_on_exception: whether it sets the status.
        """
        span, given = self.open(name, context, kind, start_time, attributes, links)
        if type(span) is RecordingSpan:
            if given:
                span.begin_with(given)
            if links or not (record_exception and set_status_on_exception):
                span.adjust(
                    links or (),
                    record_exception=record_exception,
                    set_status_on_exception=set_status_on_exception,
                )
            span._origin.start(span, context)
        return span

    def open(
        self,
        name: str,
        context: Context | None,
        kind: SpanKind,
        start_time: int | None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = (),
    ) -> tuple[Span, Attributes]:
        """Decides about a span, and makes it without attributes and links; the processors do not know of it.

        Who calls it tells them, by `RecordingSpan.begin_with_given`, or by the span's origin.

        Args:
            name: as in `start_span`, and so for the others.
            context: of the parent.
            kind: its kind.
            start_time: in nanoseconds since the epoch.
            attributes: for a sampler that looks at them.
            links: for one, too.

        Returns:
            The span, and the attributes that it is to begin with: those given, or what the sampler makes.
        """
        # An empty context, as at the start of most requests, has no span.
        parent = _parent_in(context) if context is None or context else None
        if not self._tracer_config.is_enabled:
            return NonRecordingSpan(get_current_span(context).get_span_context()), None
        origin = self._origin or self._make_origin()
        if not origin.is_usual:
            return self._open_unusual(origin, parent, name, context, kind, start_time, attributes, links)
        if parent is None:
            trace_id = getrandbits(128) or 1
            decide = origin.decide
            is_sampled, state = decide(trace_id, None)
            flags = _OF_KEPT_ROOT if is_sampled else _OF_DROPPED_ROOT
        else:
            trace_id, _, _, parents_flags, _, _ = parent
            is_sampled, state = origin.decide(trace_id, parent)
            flags = _FLAGS[is_sampled, bool(parents_flags & TraceFlags.RANDOM_TRACE_ID)]
        own = _new_context(
            SpanContext,
            (trace_id, getrandbits(64) or 1, False, flags, _NO_STATE if state is None else state, True),
        )
        if not is_sampled:
            return NonRecordingSpan(own), None
        if start_time is None:
            start_time = time_ns()
        return _make_span(origin, name, own, parent, kind, start_time), attributes

    def _open_unusual(
        self,
        origin: Origin,
        parent: SpanContext | None,
        name: str,
        context: Context | None,
        kind: SpanKind,
        start_time: int | None,
        attributes: Attributes,
        links: Sequence[Link] | None,
    ) -> tuple[Span, Attributes]:
        """Does the same for anybody's sampler and identifiers, and counts spans if that is asked for."""
        ids = self.id_generator
        if parent is not None:
            trace_id, is_random = parent.trace_id, parent.trace_flags.random_trace_id
        else:
            trace_id, is_random = ids.generate_trace_id(), bool(ids.is_trace_id_random())
        if origin.decide is not None:
            is_sampled, state = origin.decide(trace_id, parent)
            decision = _KEPT if is_sampled else _DROPPED
        else:
            result = origin.sampler.should_sample(context, trace_id, name, kind, attributes, links or ())
            decision, attributes, state = result.decision, result.attributes, result.trace_state
        own = SpanContext(
            trace_id,
            ids.generate_span_id(),
            is_remote=False,
            trace_flags=_FLAGS[decision is _KEPT, is_random],
            trace_state=state,
        )
        metrics = self._tracer_metrics
        note_end = None if type(metrics) is NoOpTracerMetrics else metrics.start_span(parent, decision)
        if decision is _DROPPED:
            return NonRecordingSpan(own), None
        start_time = time_ns() if start_time is None else start_time
        span = _make_span(origin, name, own, parent, kind, start_time)
        if note_end is not None:
            span._record_end_metrics = note_end
        return span, attributes

    def drops_all_in(self, context: Context) -> bool:
        """Whether any span that began in a context would be dropped, because the current one there was.

        Who then makes no span changes nothing of what is recorded, and leaves that one to be propagated.
        """
        span = context.get(SPAN_KEY)
        if type(span) is not NonRecordingSpan:
            return False
        _, _, _, flags, _, is_valid = span.get_span_context()
        return is_valid and not flags & _SAMPLED and (self._origin or self._make_origin()).drops_with_parent

    def start_as_current_span(  # type: ignore[override] # the SDK's is a generator, with a decorator of its own
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = (),
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
        end_on_exit: bool = True,
    ) -> "CurrentSpan":
        """Returns a `with` block, or a decorator, in which a new span is the current one.

        Args:
            name: its name.
            context: as in `start_span`, and so for the others.
            kind: its kind.
            attributes: those that it starts with.
            links: to other spans.
            start_time: in nanoseconds since the epoch; that of entering, if it is not given.
            record_exception: whether an exception that leaves the block is recorded.
            set_status_on_exception: whether it sets the status.
            end_on_exit: whether the span ends with the block.
        """
        start = functools.partial(
            self.start_span,
            name,
            context,
            kind,
            attributes,
            links,
            start_time,
            record_exception,
            set_status_on_exception,
        )
        return CurrentSpan(start, record_exception, set_status_on_exception, end_on_exit)

    def _make_origin(self) -> Origin:
        origin = self._origin = Origin(
            self.resource,
            self._instrumentation_scope,
            self.instrumentation_info,
            self.span_processor,
            self.sampler,
            self._span_limits,
        )
        counts_nothing = type(self._tracer_metrics) is NoOpTracerMetrics
        origin.drops_with_parent &= counts_nothing  # others count dropped spans, too
        origin.is_usual = (
            origin.decide is not None
            and _HAS_KNOWN_LAYOUT
            and type(self.id_generator) is RandomIdGenerator
            and counts_nothing
        )
        if not origin.is_of(self.resource, self.span_processor, self.sampler):
            self._origin = None  # another thread has replaced one meanwhile
        else:
            self.decides_alone = origin.decide is not None
        return origin


def _parent_in(context: Context | None) -> SpanContext | None:
    """Returns the context of the current span; None if there is none, or an invalid one."""
    parent: object = get_current_span(context).get_span_context()  # of anybody's span
    if parent is None:
        return None
    if not isinstance(parent, SpanContext):
        raise TypeError("parent_span_context must be a SpanContext or None.")
    return parent if parent.is_valid else None


class CurrentSpan(AbstractContextManager[Span]):
    """A `with` block in which a new span is current; also a decorator that makes one for each call.

    For one task or thread at a time, and, unless it decorates, for one use.
    """

    __slots__ = ("_does_end", "_does_record", "_does_set_status", "_span", "_start", "_token")

    def __init__(
        self, start: Callable[[], Span], does_record: bool, does_set_status: bool, does_end: bool
    ) -> None:
        self._start = start
        self._does_record = does_record
        self._does_set_status = does_set_status
        self._does_end = does_end
        self._span: Span
        self._token: Token[Context]

    def __enter__(self) -> Span:
        span = self._span = self._start()
        self._token = set_context(context_with(span, get_context()))
        return span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        otel_context.detach(self._token)
        span = self._span
        try:
            # Others, such as a cancellation or GeneratorExit, are no errors.
            if isinstance(error, Exception) and span.is_recording():
                record_escaping(span, error, self._does_record, self._does_set_status, is_escaped=False)
        finally:
            if self._does_end:
                span.end()

    def __call__(self, function: _Function) -> _Function:
        """Returns the function, each call of which is such a block."""

        def block() -> CurrentSpan:
            return CurrentSpan(self._start, self._does_record, self._does_set_status, self._does_end)

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def run_async(*arguments: Any, **options: Any) -> Any:
                with block():
                    return await function(*arguments, **options)

            return run_async  # type: ignore[return-value]

        @functools.wraps(function)
        def run(*arguments: Any, **options: Any) -> Any:
            with block():
                return function(*arguments, **options)

        return run  # type: ignore[return-value]
