"""The shorter ways that the library itself takes give the spans that the SDK's calls would give."""

import random
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags
from support.span_calls import THEMES, Call
from support.span_readings import encode_ours, outcome, read_context, read_span
from support.span_values import LIMITS, TEXTS, VALID_CONTEXTS
from support.span_worlds import (
    MakeProvider,
    World,
    log_lines,
    make_our_provider,
    make_pipelines_provider,
    make_sdk_provider,
)

from telemetry.config import TelemetryConfig
from telemetry.export.otlp.attributes import SharedAttributes
from telemetry.tracing.sampling import AdjustableSampler

OURS = (make_our_provider, make_pipelines_provider)
PLAIN = st.dictionaries(
    st.sampled_from(["a", "b", "http.route", "http.request.method"]),
    st.one_of(TEXTS, st.integers(-5, 5), st.booleans(), st.floats(allow_nan=False)),
    max_size=4,
)
PARENT = trace.set_span_in_context(NonRecordingSpan(SpanContext(1, 2, True, TraceFlags(1))))


def by_calls(world: World, start: Mapping[str, Any], calls: list[Call], end: Mapping[str, Any]) -> None:
    """Records a request's span as any instrumentation does."""
    span = world.tracer.start_span("GET", PARENT, SpanKind.SERVER, start, start_time=1)
    world.spans.append(span)
    for call in calls:
        outcome(lambda call=call: call.run(world))
    span.set_attributes(end)
    if span.name == "GET":
        span.update_name("GET /")
    span.end(2)


def by_short_ways(world: World, start: dict[str, Any], calls: list[Call], end: dict[str, Any]) -> None:
    """Records it as the library's middleware does."""
    tracer: Any = world.tracer
    keys = list(start)
    half = len(keys) // 2
    shared = [SharedAttributes({key: start[key]}) for key in keys[:half]]
    own = {key: start[key] for key in keys[half:]}
    span, _ = tracer.open("GET", PARENT, SpanKind.SERVER, 1)
    span.begin_with_given((*shared, own), PARENT)
    world.spans.append(span)
    for call in calls:
        outcome(lambda call=call: call.run(world))
    span.end_with("GET", "GET /", SharedAttributes(end), 2)


def shown(world: World) -> list[Any]:
    """Returns what has ended, attributes in any order."""
    found = []
    for span in world.recorder.ended:
        attributes = sorted(read_span(span)["attributes"][1], key=str)
        found.append({**read_span(span), "attributes": attributes, "to_json": "", "is_recording": False})
    return [
        found,
        [len(part) if isinstance(part, str) else part for part in encode_ours(world.recorder.ended)],
    ]


@example({"a": 1, "b": 2}, [], {"http.route": "/"}, SpanLimits(max_span_attributes=2))
@settings(max_examples=150)
@given(PLAIN, st.one_of(THEMES["attributes"], THEMES["names"], THEMES["status"]), PLAIN, LIMITS)
def test_request_is_recorded_as_by_the_sdks_calls(
    start: dict[str, Any], calls: list[Call], end: dict[str, Any], limits: SpanLimits | None
) -> None:
    """Whatever the application does in between, at any limits, also if it ends the span itself."""
    with log_lines():
        expected = World(make_sdk_provider, limits=limits)
        by_calls(expected, start, calls, end)
        for make_provider in OURS:
            world = World(make_provider, limits=limits)
            by_short_ways(world, start, calls, end)
            assert shown(world) == shown(expected)
            if make_provider is make_our_provider:
                assert world.recorder.calls == expected.recorder.calls


def sampler(name: str, ratio: float) -> Sampler:
    """Returns a sampler of the configuration."""
    return AdjustableSampler(TelemetryConfig(sampler=name, sampler_arg=ratio, traces_exporter="otlp"))


SAMPLERS = [
    *((name, 1.0) for name in ("always_on", "always_off", "parentbased_always_on", "parentbased_always_off")),
    *((name, ratio) for name in ("traceidratio", "parentbased_traceidratio") for ratio in (0.0, 0.5, 1.0)),
]


@pytest.mark.parametrize(("name", "ratio"), SAMPLERS)
@settings(max_examples=25)
@given(st.lists(st.one_of(st.none(), VALID_CONTEXTS), min_size=1, max_size=4), st.booleans())
def test_own_samplers_decide_alike(
    name: str, ratio: float, parents: list[SpanContext | None], are_ids_random: bool
) -> None:
    """Asked directly by the library's tracer, or as any sampler by the SDK's."""

    def begin(make_provider: MakeProvider) -> list[Any]:
        random.seed(7)  # the SDK draws the same numbers in the same order
        ids = RandomIdGenerator() if are_ids_random else None
        world = World(make_provider, sampler=sampler(name, ratio), ids=ids)
        seen = []
        for parent in parents:
            context = None if parent is None else trace.set_span_in_context(NonRecordingSpan(parent))
            span = world.tracer.start_span("work", context, attributes={"a": 1}, start_time=1)
            span.end(2)
            seen.append((read_context(span.get_span_context()), read_span(span)))
        return [*seen, [read_span(span)["attributes"] for span in world.recorder.ended]]

    expected = begin(make_sdk_provider)
    for make_provider in OURS:
        assert begin(make_provider) == expected


@pytest.mark.parametrize("make", [make_sdk_provider, *OURS])
def test_random_ids_make_whole_contexts(make: MakeProvider) -> None:
    """A context that is made without checks is like any other."""
    world = World(make, ids=RandomIdGenerator())
    contexts = []
    with world.tracer.start_as_current_span("root") as root:
        for _ in range(50):
            child = world.tracer.start_span("child")
            contexts += [
                child.get_span_context(),
                world.tracer.start_span("new", trace.Context()).get_span_context(),
            ]
            assert isinstance(child, ReadableSpan)
            assert child.parent is root.get_span_context()
    for context in [*contexts, root.get_span_context()]:
        assert type(context) is SpanContext
        rebuilt = SpanContext(*context[:5])
        assert rebuilt == context
        assert read_context(rebuilt) == read_context(context)
        assert type(context.trace_flags) is TraceFlags
        assert context.trace_flags == 3
        assert context.is_valid
        assert not context.is_remote
        assert repr(rebuilt) == repr(context)
    assert len({context.span_id for context in contexts}) == 100
    assert len({context.trace_id for context in contexts}) == 51
