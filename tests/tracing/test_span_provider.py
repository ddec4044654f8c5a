"""Tracers and providers behave like the SDK's: scopes, configurators, resources, metrics, forks."""

import os
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource, get_aggregated_resources
from opentelemetry.sdk.trace import ReadableSpan, Tracer, TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from support.forking import assert_child_succeeds
from support.span_worlds import (
    PROVIDERS,
    RESOURCE,
    SCOPE,
    CountingIds,
    MakeProvider,
    Recorder,
    ScriptedSampler,
    World,
    log_lines,
    make_our_provider,
)


def recording(span: trace.Span) -> ReadableSpan:
    """Returns a span that can be read."""
    assert isinstance(span, ReadableSpan)
    return span


def test_tracers_and_providers_are_the_sdks(world: World) -> None:
    """Instrumentations ask for their classes."""
    assert isinstance(world.provider, TracerProvider)
    assert isinstance(world.tracer, Tracer)
    provider, tracer = world.provider, world.tracer
    assert tracer.sampler is provider.sampler is ALWAYS_ON
    assert tracer.resource is provider.resource is RESOURCE
    assert tracer.span_processor is provider._active_span_processor
    assert tracer.id_generator is provider.id_generator
    assert tracer._span_limits is provider._span_limits
    assert isinstance(provider._active_span_processor, sdk.SynchronousMultiSpanProcessor)
    assert provider._active_span_processor._span_processors == (world.recorder,)


def test_scope_is_the_tracers(world: World) -> None:
    """Name, version, schema and attributes are each span's."""
    span = recording(world.tracer.start_span("work"))
    scope = InstrumentationScope(*SCOPE)
    assert span.instrumentation_scope == scope
    assert span.instrumentation_scope is world.tracer._instrumentation_scope
    assert (scope.name, scope.version, scope.schema_url, scope.attributes) == SCOPE
    with pytest.warns(DeprecationWarning, match="You should use instrumentation_scope"):
        info = span.instrumentation_info
    assert (info.name, info.version, info.schema_url) == SCOPE[:3]


def test_equal_scopes_share_a_tracer(world: World) -> None:
    """Different attributes make a different scope."""
    get_tracer = world.provider.get_tracer
    assert get_tracer(*SCOPE) is world.tracer
    others = [
        get_tracer("shop"),
        get_tracer("shop", "1"),
        get_tracer("shop", "1", "url"),
        get_tracer("shop", "1", "url", {"a": 1}),
    ]
    assert len({id(each) for each in [world.tracer, *others]}) == 5
    assert get_tracer("shop", "") is others[0]


@pytest.mark.parametrize("name", ["", None])
def test_tracer_without_a_name_is_reported(name: Any, world: World) -> None:
    """It works nevertheless."""
    with log_lines() as lines:
        tracer = world.provider.get_tracer(name)
    assert lines == [("ERROR", "get_tracer called with missing module name.")]
    span = recording(tracer.start_span("work"))
    assert span.is_recording()  # type: ignore[attr-defined]
    assert span.instrumentation_scope == InstrumentationScope("", "")


@pytest.mark.parametrize("value", ["true", " TRUE "])
def test_disabled_sdk_gives_tracers_that_do_nothing(
    value: str, make_provider: MakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable is read when the provider is made."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", value)
    provider = make_provider(ALWAYS_ON, RESOURCE, Recorder(), None)
    assert isinstance(provider.get_tracer("shop"), trace.NoOpTracer)


def test_configurator_disables_tracers_by_scope(world: World) -> None:
    """Those that exist as well; a disabled one passes its parent on."""
    other = world.provider.get_tracer("other")
    configure = world.provider._set_tracer_configurator
    configure(
        tracer_configurator=lambda scope: sdk._TracerConfig(is_enabled=scope.name == SCOPE[0])  # type: ignore[union-attr]
    )
    assert world.tracer.start_span("work").is_recording()
    parent = SpanContext(1, 2, True, TraceFlags(1))
    span = other.start_span("child", trace.set_span_in_context(NonRecordingSpan(parent)))
    assert not span.is_recording()
    assert span.get_span_context() is parent
    with world.provider.get_tracer("third").start_as_current_span("work") as third:
        assert not third.is_recording()
    configure(tracer_configurator=sdk._default_tracer_configurator)
    assert other.start_span("work").is_recording()
    configure(tracer_configurator=sdk._disable_tracer_configurator)
    assert not world.tracer.start_span("work").is_recording()


def test_configurator_that_raises_leaves_tracers_enabled(world: World) -> None:
    """The error is logged."""

    def fail(scope: InstrumentationScope) -> Any:
        raise ValueError(scope.name)

    with log_lines() as lines:
        world.provider._set_tracer_configurator(tracer_configurator=fail)
    assert [level for level, _ in lines] == ["ERROR"]
    assert world.tracer.start_span("work").is_recording()


def test_new_resource_is_that_of_later_spans(world: World) -> None:
    """Spans that have begun keep theirs; whoever sets a tracer's resource sets its spans'."""
    before = recording(world.tracer.start_span("before"))
    world.provider._update_resource(Resource({"service.name": "renamed", "two": 2}))
    after = recording(world.tracer.start_span("after"))
    assert before.resource is RESOURCE
    assert after.resource is world.provider.resource is world.tracer.resource
    assert world.provider.get_tracer("new").resource is after.resource  # type: ignore[attr-defined]
    assert dict(after.resource.attributes) == {"service.name": "renamed", "two": 2}
    world.tracer.resource = Resource({"three": 3})
    assert dict(recording(world.tracer.start_span("own")).resource.attributes) == {"three": 3}


def test_forked_child_has_a_resource_of_its_own(
    make_provider: MakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process's id is the child's in tracers that were there and in new ones."""
    monkeypatch.setenv("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "process")
    world = World(make_provider, resource=get_aggregated_resources([], Resource.create({})))
    ids: list[Any] = []

    def child_is_itself() -> bool:
        new = world.provider.get_tracer("new")
        resources = [
            world.provider.resource,
            *(recording(tracer.start_span("work")).resource for tracer in (world.tracer, new)),
        ]
        ids.extend(resource.attributes["process.pid"] for resource in resources)
        return ids == [os.getpid()] * 3

    assert world.provider.resource.attributes["process.pid"] == os.getpid()
    assert_child_succeeds(child_is_itself)
    assert world.provider.resource.attributes["process.pid"] == os.getpid()


def test_forked_child_records_spans(world: World) -> None:
    """Also ends the one that was open at the fork; the parent's stays open."""
    span = world.tracer.start_span("open")

    def child_works() -> bool:
        span.set_attribute("a", 1)
        span.end()
        with world.tracer.start_as_current_span("new"):
            pass
        return [each.name for each in world.recorder.ended] == ["open", "new"]

    assert_child_succeeds(child_works)
    assert span.is_recording()
    assert world.recorder.ended == []


def measured(reader: InMemoryMetricReader) -> dict[str, list[tuple[dict[str, Any], Any]]]:
    """Returns the value of every series about spans, sorted."""
    data = reader.get_metrics_data()
    metrics = [] if data is None else data.resource_metrics[0].scope_metrics[0].metrics
    return {
        metric.name: sorted(
            ((dict(point.attributes or {}), point.value) for point in metric.data.data_points),  # type: ignore[union-attr]
            key=str,
        )
        for metric in metrics
        if metric.name.startswith("otel.sdk.span.")
    }


@pytest.mark.parametrize("enabled", ["true", "false"])
def test_sdks_own_metrics_are_counted(enabled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans started and live, by parent's origin and decision; an end counts once."""
    monkeypatch.setenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", enabled)
    told = []
    for make_provider in PROVIDERS.values():
        reader = InMemoryMetricReader()
        meter_provider = MeterProvider([reader])
        sampler = ScriptedSampler([(each, None, None) for each in Decision] * 3)
        provider = make_provider(sampler, RESOURCE, Recorder(), None)
        provider._meter_provider = meter_provider
        tracer = provider.get_tracer("shop")
        remote = trace.set_span_in_context(NonRecordingSpan(SpanContext(1, 2, True, TraceFlags(1))))
        spans = [tracer.start_span("root") for _ in Decision]
        spans += [tracer.start_span("remote", remote) for _ in Decision]
        spans += [tracer.start_span("local", trace.set_span_in_context(spans[0])) for _ in Decision]
        seen = [measured(reader)]
        for span in spans[:-1]:
            span.end()
            span.end()
        seen.append(measured(reader))
        told.append(seen)
        meter_provider.shutdown()
    expected, found = told
    assert found == expected
    names = {"otel.sdk.span.started", "otel.sdk.span.live"} if enabled == "true" else set()
    assert set(expected[0]) == names


def test_processors_are_called_in_order(world: World) -> None:
    """One that comes later sees the ends of spans that have begun; shutdown and flush reach all."""
    later = Recorder()
    with world.tracer.start_as_current_span("outer"):
        world.provider.add_span_processor(later)
        with world.tracer.start_as_current_span("inner"):
            pass
    assert world.recorder.calls == [
        ("start", "'outer'"),
        *(("start", "'inner'"), ("ending", "'inner'"), ("end", "'inner'")),
        *(("ending", "'outer'"), ("end", "'outer'")),
    ]
    assert later.calls == world.recorder.calls[1:]
    assert world.provider.force_flush()
    world.provider.shutdown()
    assert [call for call, _ in later.calls[-2:]] == ["flush", "shutdown"]


def test_spans_after_shutdown_are_still_recorded(world: World) -> None:
    """It is up to the processors what becomes of them."""
    world.provider.shutdown()
    world.tracer.start_span("late").end()
    assert world.recorder.calls == [
        ("shutdown", ""),
        *((call, "'late'") for call in ("start", "ending", "end")),
    ]


def test_concurrent_processors_get_the_same_spans(make_provider: MakeProvider) -> None:
    """A provider may call its processors from a pool."""
    recorders = [Recorder(), Recorder()]
    provider = make_provider(ALWAYS_ON, RESOURCE, Recorder(), None)
    pool = sdk.ConcurrentMultiSpanProcessor(2)
    provider._active_span_processor = pool
    for recorder in recorders:
        provider.add_span_processor(recorder)
    with provider.get_tracer("shop").start_as_current_span("work", attributes={"a": 1}):
        pass
    provider.shutdown()
    pool._executor.shutdown()
    for recorder in recorders:
        assert [call for call, _ in recorder.calls] == ["start", "ending", "end", "shutdown"]
        assert dict(recorder.ended[0].attributes or {}) == {"a": 1}


def test_spans_know_their_processor(world: World) -> None:
    """All of a provider's spans share its only one."""
    span = world.tracer.start_span("work")
    assert span._span_processor is world.provider._active_span_processor  # type: ignore[attr-defined]


def test_ids_are_the_generators(make_provider: MakeProvider) -> None:
    """A trace id for each new trace, a span id for each span, also one that is not sampled."""
    sampler = ScriptedSampler([(Decision.DROP, None, None), (Decision.RECORD_AND_SAMPLE, None, None)])
    world = World(make_provider, sampler=sampler, ids=CountingIds(is_random=False))
    with world.tracer.start_as_current_span("root") as root:
        child = world.tracer.start_span("child")
    contexts = [span.get_span_context() for span in (root, child)]
    assert [(each.trace_id & 0xFF, each.span_id & 0xFF, each.trace_flags) for each in contexts] == [
        (1, 2, 0),
        (1, 3, 1),
    ]


def test_library_stops_its_provider_itself() -> None:
    """The SDK's own exit handler would wait without a budget; ids are random by default."""
    provider = make_our_provider(ALWAYS_ON, RESOURCE, Recorder(), None)
    assert provider._atexit_handler is None
    assert isinstance(provider.id_generator, RandomIdGenerator)
