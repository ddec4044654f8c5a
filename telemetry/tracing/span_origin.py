"""What the spans of one tracer have in common, and whom they are handed to."""

from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import (
    SpanLimits,
    SpanProcessor,
    SynchronousMultiSpanProcessor,
)
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from ..export.pipeline import ExportPipeline
from .sampling import DecidingSampler

DEFAULT_MOST_ATTRIBUTES = 128
"""Of a span (specification, `OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT`)."""
_SHARED = ("resource", "scope", "info", "processor", "sampler", "limits")


class Origin:
    """What the spans of one tracer have in common. Immutable, but for what it knows of the processors.

    Args:
        resource: the service.
        scope: the instrumentation scope.
        info: the same in its deprecated form.
        processor: the provider's processors.
        sampler: the one that decided.
        limits: of attributes, events and links.
    """

    __slots__ = (
        *_SHARED,
        "_known",
        "_pipeline",
        "are_texts_unlimited",
        "decide",
        "drops_with_parent",
        "max_attributes",
        "has_usual_limits",
        "is_usual",
    )

    def __init__(
        self,
        resource: Resource,
        scope: InstrumentationScope,
        info: Any,
        processor: SpanProcessor,
        sampler: Sampler,
        limits: SpanLimits,
    ) -> None:
        self.resource = resource
        self.scope = scope
        self.info = info
        self.processor = processor
        self.sampler = sampler
        self.limits = limits
        self.max_attributes: int | None = limits.max_span_attributes
        self.are_texts_unlimited = limits.max_span_attribute_length is None
        self.has_usual_limits = self.are_texts_unlimited and (
            self.max_attributes is None or self.max_attributes >= DEFAULT_MOST_ATTRIBUTES
        )
        """Whether the limits are the default ones, or wider."""
        self.decide: Any = sampler.decide if isinstance(sampler, DecidingSampler) else None
        """Decides without building anything, if the sampler can."""
        self.drops_with_parent = isinstance(sampler, DecidingSampler) and sampler.follows_parent
        """Whether a span is dropped, and nothing else done, if its parent was."""
        self.is_usual = False
        """Whether the tracer decides alone, makes identifiers as the SDK does and counts nothing."""
        self._known: object = None
        self._pipeline: ExportPipeline | None = None

    def replace(self, name: str, value: Any) -> "Origin":
        """Returns a copy with one value replaced."""
        return Origin(**{each: getattr(self, each) for each in _SHARED} | {name: value})

    def is_of(self, resource: Resource, processor: SpanProcessor, sampler: Sampler) -> bool:
        """Whether these are the ones that it was made with."""
        return self.resource is resource and self.processor is processor and self.sampler is sampler

    def start(self, span: Any, parent_context: Context | None) -> None:
        """Tells the processors that a span has started, unless the pipeline, which does not care, is alone.

        Args:
            span: a `RecordingSpan`.
            parent_context: the context that its parent is the current span of; None for the current context.
        """
        if getattr(self.processor, "_span_processors", None) is not self._known:
            self._look_for_pipeline()
        if self._pipeline is None:
            self.processor.on_start(span, parent_context=parent_context)

    def end(self, span: Any) -> None:
        """Gives an ended span to the pipeline, or what the SDK makes of one to the processors.

        Args:
            span: a `RecordingSpan`.
        """
        if getattr(self.processor, "_span_processors", None) is not self._known:
            self._look_for_pipeline()
        if self._pipeline is None:
            self.processor._on_ending(span)
            self.processor.on_end(span._readable_span())
        else:
            self._pipeline.on_end(span)

    def _look_for_pipeline(self) -> None:
        """Finds the pipeline if it is the only processor.

        Others may be added at any time, also behind the provider's back.
        """
        processors: tuple[Any, ...] | None = getattr(self.processor, "_span_processors", None)
        is_alone = (
            type(self.processor) is SynchronousMultiSpanProcessor
            and processors is not None
            and len(processors) == 1
            and type(processors[0]) is ExportPipeline
        )
        self._pipeline, self._known = processors[0] if is_alone and processors else None, processors


def shared(name: str) -> Any:
    """Returns a property for what spans of one tracer share; who sets it changes it for one span."""

    def get(span: Any) -> Any:
        return getattr(span._origin, name)

    def change(span: Any, value: Any) -> None:
        span._origin = span._origin.replace(name, value)

    return property(get, change)
