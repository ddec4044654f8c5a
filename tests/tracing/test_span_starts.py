"""Starting spans: parents, the current span, sampling and blocks are the SDK's with both providers."""

import asyncio
import inspect
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, Tracer, TracerProvider
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import (
    INVALID_SPAN,
    INVALID_SPAN_CONTEXT,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TraceState,
)
from support.span_worlds import MakeProvider, ScriptedSampler, World

REMOTE = SpanContext(0xDEADBEEF, 0xDEADBEF0, True, TraceFlags(1), TraceState([("a", "1")]))


def in_context(span_context: SpanContext) -> Context:
    """Returns a context with a parent that only has a span context."""
    return trace.set_span_in_context(NonRecordingSpan(span_context))


def test_child_continues_its_parents_trace(world: World) -> None:
    """It is not current until it is used, and its parent is the very span context."""
    root = world.tracer.start_span("root")
    assert trace.get_current_span() is INVALID_SPAN
    with trace.use_span(root, end_on_exit=True):
        with world.tracer.start_span("child", kind=SpanKind.CLIENT) as child:
            assert trace.get_current_span() is root
            assert isinstance(child, ReadableSpan)
            assert child.parent is root.get_span_context()
            assert child.kind is SpanKind.CLIENT
        assert child.end_time is not None
        assert trace.get_current_span() is root
    mine, its = child.get_span_context(), root.get_span_context()
    assert (mine.trace_id, mine.trace_flags, mine.is_remote) == (its.trace_id, its.trace_flags, False)
    assert mine.span_id != its.span_id
    assert not root.is_recording()


def test_explicit_parent_wins_over_the_current_span(world: World) -> None:
    """With `start_as_current_span`, too, and the former span is current again afterwards."""
    with (
        world.tracer.start_as_current_span("root") as root,
        world.tracer.start_as_current_span("stepchild", in_context(REMOTE)) as child,
    ):
        assert isinstance(child, ReadableSpan)
        assert child.parent is REMOTE
        assert child.get_span_context().trace_id == REMOTE.trace_id
        assert trace.get_current_span() is child
    assert trace.get_current_span() is INVALID_SPAN
    assert not root.is_recording()


@pytest.mark.parametrize("flags", range(4))
def test_random_flag_is_the_parents(flags: int, world: World) -> None:
    """A new trace has it when its id is random."""
    parent = SpanContext(1, 2, True, TraceFlags(flags))
    child = world.tracer.start_span("child", in_context(parent)).get_span_context()
    assert child.trace_flags.random_trace_id == parent.trace_flags.random_trace_id
    assert isinstance(child.trace_flags, TraceFlags)
    assert world.tracer.start_span("root").get_span_context().trace_flags == 3


@pytest.mark.parametrize(
    "parent",
    [INVALID_SPAN_CONTEXT, SpanContext(0, 5, True), SpanContext(5, 0, True), SpanContext(2**128, 1, True)],
)
def test_invalid_parent_is_no_parent(parent: SpanContext, world: World) -> None:
    """The span begins a trace."""
    span = world.tracer.start_span("root", in_context(parent))
    assert isinstance(span, ReadableSpan)
    assert span.parent is None
    assert span.get_span_context().is_valid
    assert world.recorder.started == [span]


class OddSpan(NonRecordingSpan):
    """A foreign span with whatever as its context."""

    def __init__(self, context: Any) -> None:
        super().__init__(context)


def test_parent_without_a_span_context_is_none_or_an_error(world: World) -> None:
    """As in the SDK, which raises for a context of another type."""
    span = world.tracer.start_span("root", trace.set_span_in_context(OddSpan(None)))
    assert isinstance(span, ReadableSpan)
    assert span.parent is None
    with pytest.raises(TypeError, match="parent_span_context must be a SpanContext or None"):
        world.tracer.start_span("root", trace.set_span_in_context(OddSpan((1, 2))))


def test_processor_gets_the_given_context(world: World) -> None:
    """None stays None although there is a current span."""
    given = in_context(REMOTE)
    with world.tracer.start_as_current_span("first", given):
        world.tracer.start_span("second")
    first, second = world.recorder.parent_contexts
    assert first is given
    assert second is None


def test_sampler_decides_attributes_and_state(make_provider: MakeProvider) -> None:
    """The span gets the result's attributes, not those given; the sampler sees what was given."""
    state = TraceState([("s", "1")])
    sampler = ScriptedSampler([(Decision.RECORD_AND_SAMPLE, {"by": "sampler"}, state)])
    world = World(make_provider, sampler=sampler)
    given = {"by": "caller"}
    link = trace.Link(REMOTE)
    span = world.tracer.start_span("work", in_context(REMOTE), SpanKind.SERVER, given, [link])
    assert isinstance(span, ReadableSpan)
    assert dict(span.attributes or {}) == {"by": "sampler"}
    assert span.get_span_context().trace_state is state
    assert sampler.asked == [(REMOTE, REMOTE.trace_id, "work", SpanKind.SERVER, given, 1, None)]
    assert sampler.asked[0][4] is given


@pytest.mark.parametrize(
    ("decision", "is_recording", "is_sampled"),
    [
        (Decision.DROP, False, False),
        (Decision.RECORD_ONLY, True, False),
        (Decision.RECORD_AND_SAMPLE, True, True),
    ],
)
def test_decision_is_in_the_flags(
    decision: Decision, is_recording: bool, is_sampled: bool, make_provider: MakeProvider
) -> None:
    """A dropped span records nothing, reaches no processor, and still has ids of its own."""
    world = World(make_provider, sampler=ScriptedSampler([(decision, None, None)]))
    with world.tracer.start_as_current_span("work") as span:
        span.set_attribute("a", 1)
    assert isinstance(span, Span) is is_recording
    assert span.get_span_context().trace_flags.sampled is is_sampled
    assert span.get_span_context().is_valid
    assert [call for call, _ in world.recorder.calls] == ["start", "ending", "end"] * is_recording


def test_sampler_that_raises_is_heard(make_provider: MakeProvider) -> None:
    """Its exceptions are passed on."""
    world = World(make_provider, sampler=ScriptedSampler([]))
    with pytest.raises(StopIteration):
        world.tracer.start_span("work")


def test_current_span_ends_unless_told_otherwise(world: World) -> None:
    """`end_on_exit=False` leaves it to the caller."""
    with world.tracer.start_as_current_span("kept", end_on_exit=False) as kept:
        pass
    assert kept.is_recording()
    with pytest.raises(ValueError, match="no"), trace.use_span(kept):
        raise ValueError("no")
    assert kept.is_recording()
    kept.end()
    assert [span.name for span in world.recorder.ended] == ["kept"]


def test_decorated_functions_have_a_span_for_each_call(world: World) -> None:
    """Plain and async functions alike."""

    @world.tracer.start_as_current_span("plain")
    def plain(value: int) -> tuple[int, trace.Span]:
        return value, trace.get_current_span()

    @world.tracer.start_as_current_span("async")
    async def eventually(value: int) -> tuple[int, trace.Span]:
        await asyncio.sleep(0)
        return value, trace.get_current_span()

    (one, first), (two, second) = plain(1), plain(2)
    assert inspect.iscoroutinefunction(eventually)
    three, third = asyncio.run(eventually(3))
    assert (one, two, three) == (1, 2, 3)
    assert len({first, second, third}) == 3
    assert [span.name for span in world.recorder.ended] == ["plain", "plain", "async"]
    assert trace.get_current_span() is INVALID_SPAN


def test_childs_exception_is_the_parents_too(world: World) -> None:
    """Even when the child is told to record nothing."""
    with pytest.raises(ValueError, match="no"), world.tracer.start_as_current_span("parent") as parent:  # noqa: SIM117
        with world.tracer.start_as_current_span(
            "child", record_exception=False, set_status_on_exception=False
        ) as child:
            raise ValueError("no")
    assert isinstance(parent, ReadableSpan)
    assert isinstance(child, ReadableSpan)
    assert (child.status.status_code, child.events) == (StatusCode.UNSET, ())
    assert (parent.status.status_code, parent.status.description) == (StatusCode.ERROR, "ValueError: no")
    (event,) = parent.events
    assert (event.attributes or {})["exception.type"] == "ValueError"


def test_stack_trace_ends_where_it_was_raised(world: World) -> None:
    """The application's frames are there; `exception.escaped` is only true for the span's own block."""
    with pytest.raises(RuntimeError), world.tracer.start_as_current_span("current") as current:
        raise RuntimeError("example")
    with pytest.raises(RuntimeError), world.tracer.start_span("own") as own:
        raise RuntimeError("example")
    for span, escaped in ((current, "False"), (own, "True")):
        assert isinstance(span, ReadableSpan)
        attributes = span.events[0].attributes or {}
        assert attributes["exception.escaped"] == escaped
        assert str(attributes["exception.stacktrace"]).endswith(
            "in test_stack_trace_ends_where_it_was_raised\n"
            '    raise RuntimeError("example")\nRuntimeError: example\n'
        )


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, SystemExit, asyncio.CancelledError])
def test_leaving_without_an_error(error: type[BaseException], world: World) -> None:
    """A current span takes such an exception for no error; the span's own block records it."""
    with pytest.raises(error), world.tracer.start_as_current_span("current"):
        raise error
    with pytest.raises(error), world.tracer.start_span("own"):
        raise error
    current, own = world.recorder.ended
    assert (current.status.status_code, len(current.events)) == (StatusCode.UNSET, 0)
    assert (own.status.status_code, len(own.events)) == (StatusCode.ERROR, 1)


API_METHODS = [
    *((trace.Span, Span, name) for name in sorted(trace.Span.__abstractmethods__)),
    *((ReadableSpan, Span, name) for name in ("to_json", "get_span_context")),
    *((Span, Span, name) for name in ("start", "end", "__exit__", "_readable_span")),
    *((Tracer, Tracer, name) for name in ("start_span", "start_as_current_span")),
    *(
        (TracerProvider, TracerProvider, name)
        for name in ("get_tracer", "add_span_processor", "shutdown", "force_flush", "_update_resource")
    ),
]


@pytest.mark.parametrize(("api", "of", "name"), API_METHODS, ids=lambda part: getattr(part, "__name__", part))
def test_methods_take_the_apis_arguments(api: type, of: type, name: str, world: World) -> None:
    """By position and by name."""
    owner = {Span: world.tracer.start_span("work"), Tracer: world.tracer, TracerProvider: world.provider}[of]
    expected = [each for each in inspect.signature(getattr(api, name)).parameters if each != "self"]
    found = inspect.signature(getattr(owner, name))
    found.bind(*expected)
    found.bind(**dict.fromkeys(expected))
