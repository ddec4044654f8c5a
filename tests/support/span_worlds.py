"""One tracer provider and all that is seen of it, for tests that drive two providers with the same calls."""

import functools
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, Tracer, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState

from telemetry.config import TelemetryConfig
from telemetry.export.pipeline import ExportPipeline
from telemetry.tracing.provider import build_tracer_provider

RESOURCE = Resource({"service.name": "shop"}, "https://example.org/resource")
SCOPE = ("shop.orders", "1.2", "https://example.org/scope", {"team": "orders"})

MakeProvider = Callable[[Sampler, Resource, SpanProcessor, SpanLimits | None], TracerProvider]
"""Builds a provider of a sampler, a resource, a processor and limits; None reads the variables."""


def make_sdk_provider(
    sampler: Sampler, resource: Resource, processor: SpanProcessor, limits: SpanLimits | None = None
) -> TracerProvider:
    """Builds the SDK's own provider."""
    provider = TracerProvider(sampler, resource, shutdown_on_exit=False, span_limits=limits)
    provider.add_span_processor(processor)
    return provider


@functools.cache
def _config() -> TelemetryConfig:
    return TelemetryConfig(service_name="shop", environment="development", traces_exporter="otlp")


def make_our_provider(
    sampler: Sampler, resource: Resource, processor: SpanProcessor, limits: SpanLimits | None = None
) -> TracerProvider:
    """Builds the library's provider."""
    provider = build_tracer_provider(_config(), resource, sampler, processor)
    if limits is not None:
        provider._span_limits = limits
    return provider


def make_pipelines_provider(
    sampler: Sampler, resource: Resource, processor: SpanProcessor, limits: SpanLimits | None = None
) -> TracerProvider:
    """Builds the library's provider with its pipeline alone, which then takes shorter ways.

    The processor is only told of the ends: it gets what the pipeline would.
    """
    pipeline = ExportPipeline(_config())
    pipeline.on_end = processor.on_end  # type: ignore[method-assign]
    return make_our_provider(sampler, resource, pipeline, limits)


PROVIDERS: dict[str, MakeProvider] = {"sdk": make_sdk_provider, "ours": make_our_provider}


class CountingIds(IdGenerator):
    """Generates the same sequence of ids in each world."""

    def __init__(self, *, is_random: bool = True) -> None:
        self._next = itertools.count(1)
        self._is_random = is_random

    def generate_span_id(self) -> int:
        """Returns the next span id."""
        return 0xA000_0000_0000_0000 + next(self._next)

    def generate_trace_id(self) -> int:
        """Returns the next trace id."""
        return (0xB << 124) + next(self._next)

    def is_trace_id_random(self) -> bool:
        """Returns what the contexts' flags claim."""
        return self._is_random


class ScriptedSampler(Sampler):
    """Gives prepared results in turn, and notes what it was asked."""

    def __init__(self, results: Sequence[tuple[Decision, dict[Any, Any] | None, TraceState | None]]) -> None:
        self._results = itertools.cycle(results)
        self.asked: list[Any] = []

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Any = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Returns the next result."""
        parent = trace.get_current_span(parent_context).get_span_context()
        self.asked.append((parent, trace_id, name, kind, attributes, len(links or ()), trace_state))
        decision, added, state = next(self._results)
        return SamplingResult(decision, added, state)

    def get_description(self) -> str:
        """Returns a name."""
        return "scripted"


class Recorder(SpanProcessor):
    """Keeps the spans and the order of a provider's calls.

    `touch` and `touch_ending` are called with each span that starts and that is about to end.
    """

    def __init__(self) -> None:
        self.started: list[Span] = []
        self.ended: list[ReadableSpan] = []
        self.calls: list[tuple[str, str]] = []
        self.parent_contexts: list[Context | None] = []
        self.touch: Callable[[Span], object] = lambda _: None
        self.touch_ending: Callable[[Span], object] = lambda _: None

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Notes a start."""
        self.calls.append(("start", _shown(span.name)))
        self.started.append(span)
        self.parent_contexts.append(parent_context)
        self.touch(span)

    def _on_ending(self, span: Span) -> None:
        self.calls.append(("ending", _shown(span.name)))
        self.touch_ending(span)

    def on_end(self, span: ReadableSpan) -> None:
        """Notes an end."""
        self.calls.append(("end", _shown(span.name)))
        self.ended.append(span)

    def shutdown(self) -> None:
        """Notes a shutdown."""
        self.calls.append(("shutdown", ""))

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Notes a flush."""
        self.calls.append(("flush", ""))
        return True


def _shown(name: object) -> str:
    return repr(name) if isinstance(name, str) else type(name).__name__


class _Lines(logging.Handler):
    def __init__(self, lines: list[tuple[str, str]]) -> None:
        super().__init__(logging.WARNING)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append((record.levelname, record.getMessage()))


@contextmanager
def log_lines() -> Iterator[list[tuple[str, str]]]:
    """Collects the warnings and errors that the SDK and the library log, without their loggers' names."""
    lines: list[tuple[str, str]] = []
    handler = _Lines(lines)
    loggers = [logging.getLogger(name) for name in ("opentelemetry", "telemetry")]
    for logger in loggers:
        logger.addHandler(handler)
        # Processes of tests cannot report lone surrogates to one another.
        logger.propagate = False
    try:
        yield lines
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
            logger.propagate = True


class World:
    """A provider with counting ids, its tracer, its recorder and the spans begun so far."""

    def __init__(
        self,
        make_provider: MakeProvider,
        *,
        sampler: Sampler = ALWAYS_ON,
        limits: SpanLimits | None = None,
        resource: Resource = RESOURCE,
        ids: IdGenerator | None = None,
    ) -> None:
        self.recorder = Recorder()
        self.provider = make_provider(sampler, resource, self.recorder, limits)
        self.provider.id_generator = ids or CountingIds()
        tracer = self.provider.get_tracer(*SCOPE)
        assert isinstance(tracer, Tracer)
        self.tracer = tracer
        self.spans: list[trace.Span] = []
