"""Which provider makes the spans, and what it hands to whom."""

import subprocess
import sys

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from telemetry.config import TelemetryConfig
from telemetry.export.pipeline import ExportPipeline
from telemetry.tracing.provider import build_tracer_provider
from telemetry.tracing.recording_span import RecordingSpan
from telemetry.tracing.tracer import RecordingTracer


@pytest.fixture
def config() -> TelemetryConfig:
    """Settings of a service whose Collector does not answer."""
    return TelemetryConfig(endpoint="http://127.0.0.1:9")


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[ReadableSpan]:
    """What the pipeline was given."""
    given: list[ReadableSpan] = []
    monkeypatch.setattr(ExportPipeline, "on_end", lambda _, span: given.append(span))
    return given


def build(config: TelemetryConfig) -> TracerProvider:
    """Returns the provider of a service."""
    return build_tracer_provider(config, Resource({"a": 1}), ALWAYS_ON, ExportPipeline(config))


def test_pipeline_alone_gets_the_span_itself(config: TelemetryConfig, ended: list[ReadableSpan]) -> None:
    """Nothing is copied for it."""
    span = build(config).get_tracer("test").start_span("one")
    span.end()
    assert ended == [span]
    assert type(span) is RecordingSpan


def test_processors_get_what_the_sdk_gives_them(config: TelemetryConfig, ended: list[ReadableSpan]) -> None:
    """One that is added later, even to the SDK's inner list, gets a copy and may change it, as in the SDK."""

    class Rename(SpanProcessor):
        def on_start(self, span: Span, parent_context: Context | None = None) -> None:
            span.set_attribute("started", True)

        def _on_ending(self, span: Span) -> None:
            span._name = "ending"

        def on_end(self, span: ReadableSpan) -> None:
            span._name = f"{span.name}, renamed"

    provider, exporter = build(config), InMemorySpanExporter()
    tracer = provider.get_tracer("test")
    tracer.start_span("before").end()
    inner = provider._active_span_processor
    inner._span_processors = (Rename(), *inner._span_processors)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    span = tracer.start_span("after")
    span.end()
    assert isinstance(span, ReadableSpan)
    assert span.name == "ending"
    assert [each.name for each in ended] == ["before", "ending, renamed"]
    assert [(each.name, dict(each.attributes or {})) for each in exporter.get_finished_spans()] == [
        ("ending, renamed", {"started": True})
    ]
    assert all(type(each) is ReadableSpan for each in exporter.get_finished_spans())


def test_what_others_replace_is_seen_by_the_next_span(
    config: TelemetryConfig, ended: list[ReadableSpan]
) -> None:
    """A running span keeps the resource that it started with."""
    provider = build(config)
    tracer = provider.get_tracer("test")
    assert isinstance(tracer, RecordingTracer)
    running = tracer.start_span("running")
    tracer.resource = Resource({"a": 2})
    tracer.start_span("next").end()
    running.end()
    provider._update_resource(Resource({"a": 3}))
    tracer.start_span("last").end()
    assert [each.resource.attributes["a"] for each in ended] == [2, 1, 3]


def test_span_is_redirected_by_who_takes_it_over(config: TelemetryConfig, ended: list[ReadableSpan]) -> None:
    """A processor that replaces a span's own keeps it from the others; the next span is theirs again."""
    taken: list[ReadableSpan] = []

    class Take(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            taken.append(span)

    tracer = build(config).get_tracer("test")
    span = tracer.start_span("mine")
    assert isinstance(span, RecordingSpan)
    span._span_processor = Take()
    span.end()
    tracer.start_span("theirs").end()
    assert [each.name for each in taken] == ["mine"]
    assert [each.name for each in ended] == ["theirs"]


@pytest.mark.parametrize(
    "change",
    [
        # A name that is gone.
        "import opentelemetry.sdk.trace.id_generator as moved; del moved.RandomIdGenerator",
        # Spans that say something else.
        'trace.ReadableSpan.to_json = lambda self: \'{"name": "%s"}\' % type(self).__name__',
    ],
)
def test_unknown_sdk_makes_its_own_spans(change: str) -> None:
    """A release of the SDK with other inner names costs speed, not spans."""
    code = (
        "import logging; logging.basicConfig()\n"
        f"from opentelemetry.sdk import trace\n{change}\n"
        "from telemetry.tracing.provider import _provider_class\n"
        "assert _provider_class() is trace.TracerProvider\n"
        "assert type(_provider_class()().get_tracer('t').start_span('s')).__module__ == trace.__name__\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "its own spans are used" in done.stderr
