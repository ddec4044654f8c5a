"""Processors and exporters of third parties work with the library's spans as with the SDK's."""

import io
import json
from collections.abc import Mapping, MutableMapping
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from support.span_readings import encode_official, encode_ours, outcome, read_span
from support.span_worlds import PROVIDERS, MakeProvider, World, log_lines

LINK = Link(SpanContext(7, 8, is_remote=True), {"l": 1})


def work(world: World) -> None:
    """Records two spans with everything in them, at given times."""
    with world.tracer.start_as_current_span(
        "outer", attributes={"a": 1, "list": ["x"]}, links=[LINK], start_time=1_000, end_on_exit=False
    ) as outer:
        inner = world.tracer.start_span("inner", kind=SpanKind.CLIENT, start_time=2_000)
        inner.add_event("event", {"e": 1}, 3_000)
        inner.set_status(StatusCode.ERROR, "no")
        inner.end(4_000)
    outer.end(5_000)


def test_exporters_of_the_sdk_get_the_same_spans() -> None:
    """Through the simple and the batching processor, in memory and on the console, as text."""
    told = []
    for make_provider in PROVIDERS.values():
        world = World(make_provider)
        console = io.StringIO()
        simple, batched = InMemorySpanExporter(), InMemorySpanExporter()
        world.provider.add_span_processor(SimpleSpanProcessor(simple))
        world.provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=console)))
        world.provider.add_span_processor(BatchSpanProcessor(batched))
        work(world)
        assert world.provider.force_flush()
        world.provider.shutdown()
        found = [simple.get_finished_spans(), batched.get_finished_spans()]
        assert [[span.name for span in spans] for spans in found] == [["inner", "outer"]] * 2
        told.append(
            (
                *([read_span(span) for span in spans] for spans in found),
                *(encode_official(list(spans)) for spans in found),
                console.getvalue(),
            )
        )
    expected, found = told
    assert found == expected


@pytest.mark.parametrize("indent", [None, 0, 2, 4])
def test_json_is_the_same_text(indent: int | None) -> None:
    """Of a span that lasts and of one that has ended, with other indents, too."""
    told = []
    for make_provider in PROVIDERS.values():
        world = World(make_provider)
        live = world.tracer.start_span("live", start_time=1)
        work(world)
        live.set_attributes({"caf\u00e9": "🦊", "nested": {"a": [1, None]}})
        spans = [live, *world.recorder.ended]
        told.append([span.to_json(indent=indent) for span in spans] + [span.to_json() for span in spans])
    expected, found = told
    assert found == expected
    assert json.loads(found[0])["attributes"]["café"] == "🦊"


def test_processor_may_change_a_span_that_starts(world: World) -> None:
    """With all that a span offers; it can even end it."""

    def touch(span: Span) -> None:
        span.set_attribute("by", "processor")
        span.update_name(f"{span.name}!")
        span.add_event("seen")
        span.add_link(LINK.context)
        span.set_status(StatusCode.OK)

    world.recorder.touch = touch
    with world.tracer.start_as_current_span("work", attributes={"a": 1}):
        pass
    (ended,) = world.recorder.ended
    assert dict(ended.attributes or {}) == {"a": 1, "by": "processor"}
    assert (ended.name, len(ended.events), len(ended.links)) == ("work!", 1, 1)
    assert ended.status.status_code is StatusCode.OK
    world.recorder.touch = lambda span: span.end()
    assert not world.tracer.start_span("short").is_recording()


def test_span_that_is_ending_can_be_read_but_not_written() -> None:
    """As in this SDK, which has noted the end by then; a second end is refused."""
    told = []
    for make_provider in PROVIDERS.values():
        seen: list[Any] = []

        def touch(span: Span, seen: list[Any] = seen) -> None:
            seen.append((span.is_recording(), span.end_time, dict(span.attributes or {})))
            span.set_attribute("late", 1)
            span.set_attributes({"late": 2})
            span.add_event("late")
            span.add_link(LINK.context)
            span.update_name("late")
            span.set_status(StatusCode.OK)
            span.record_exception(ValueError("late"))
            span.end(9)

        with log_lines() as lines:
            world = World(make_provider)
            world.recorder.touch_ending = touch
            world.tracer.start_span("work", attributes={"a": 1}, start_time=1).end(2)
        told.append((seen, lines, [read_span(span) for span in world.recorder.ended]))
    expected, found = told
    assert found == expected
    assert found[0] == [(False, 2, {"a": 1})]


class Failing(SpanProcessor):
    """Raises where it is told to."""

    def __init__(self, where: str) -> None:
        self._where = where

    def _fail(self, where: str) -> None:
        if where == self._where:
            raise ValueError(where)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Fails, perhaps."""
        self._fail("on_start")

    def _on_ending(self, span: Span) -> None:
        self._fail("_on_ending")

    def on_end(self, span: ReadableSpan) -> None:
        """Fails, perhaps."""
        self._fail("on_end")


@pytest.mark.parametrize("where", ["on_start", "_on_ending", "on_end"])
def test_processor_that_raises_is_heard_alike(where: str) -> None:
    """Those before it have been called, and the span has ended once."""
    told = []
    for make_provider in PROVIDERS.values():
        world = World(make_provider)
        world.provider.add_span_processor(Failing(where))

        def begin_and_end(world: World = world) -> bool:
            with world.tracer.start_as_current_span("work"):
                pass
            return True

        told.append((outcome(begin_and_end), world.recorder.calls, trace.get_current_span()))
    expected, found = told
    assert found == expected
    assert found[0] == ("raised", "ValueError", f"ValueError: {where}")


def unfrozen(attributes: Any) -> MutableMapping[str, Any]:
    """Returns attributes that can be written, as redactors do that know the SDK's inner side."""
    if isinstance(attributes, BoundedAttributes):
        attributes._immutable = False
    assert isinstance(attributes, MutableMapping)
    return attributes


def _redact_in_place(span: Any) -> None:
    unfrozen(span._attributes)["a"] = "redacted"


def _delete_in_place(span: Any) -> None:
    del unfrozen(span._attributes)["a"]
    unfrozen(span._attributes).pop("list", None)


def _redact_in_dict(span: Any) -> None:
    attributes = span._attributes
    if isinstance(attributes, BoundedAttributes):
        with attributes._lock:
            attributes._dict["a"] = "redacted"
    else:
        attributes["a"] = "redacted"


def _replace_by_dict(span: Any) -> None:
    span._attributes = {**(span.attributes or {}), "more": True}


def _replace_by_bounded(span: Any) -> None:
    span._attributes = BoundedAttributes(1, {"x": 1, "y": 2})


def _replace_events(span: Any) -> None:
    span._events = [Event("other", {"e": 2}, 9)]


def _replace_events_by_bounded(span: Any) -> None:
    events: BoundedList = BoundedList(1)
    events.extend([Event("one", None, 8), Event("two", None, 9)])
    span._events = events
    span._links = ()


def _rename(span: Any) -> None:
    span._name = "renamed"
    span._kind = SpanKind.CONSUMER
    span._status = Status(StatusCode.ERROR, "set late")


def _move(span: Any) -> None:
    span._resource = span.resource.merge(Resource({"tenant": "a"}))
    span._instrumentation_scope = InstrumentationScope("other")
    span._end_time = 77


def _unsample(span: Any) -> None:
    context = span.context
    span._context = SpanContext(context.trace_id, context.span_id, context.is_remote, TraceFlags(0))


CHANGES = [
    *(_redact_in_place, _delete_in_place, _redact_in_dict, _replace_by_dict, _replace_by_bounded),
    *(_replace_events, _replace_events_by_bounded, _rename, _move, _unsample),
]


class Changing(SpanProcessor):
    """Changes ended spans by their private attributes, as many processors in use do."""

    def __init__(self, change: Any) -> None:
        self._change = change

    def on_end(self, span: ReadableSpan) -> None:
        """Changes the span."""
        self._change(span)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_changes_of_an_ended_span_reach_the_next_exporter(change: Any) -> None:
    """What the encoders and later processors see is the same."""
    told = []
    for make_provider in PROVIDERS.values():
        world = World(make_provider)
        exporter = InMemorySpanExporter()
        world.provider.add_span_processor(Changing(change))
        world.provider.add_span_processor(SimpleSpanProcessor(exporter))
        with world.tracer.start_as_current_span(
            "work", attributes={"a": 1, "list": ["x"]}, links=[LINK], start_time=1, end_on_exit=False
        ) as span:
            span.add_event("event", {"e": 1}, 2)
        span.end(3)
        spans = list(exporter.get_finished_spans())
        told.append(([read_span(each) for each in spans], encode_ours(spans), encode_official(spans)))
    expected, found = told
    assert found == expected


@pytest.mark.parametrize("change", [_rename, _unsample, _move], ids=lambda change: change.__name__)
def test_changes_of_an_ended_span_stay_in_the_pipeline(change: Any, world: World) -> None:
    """The application's span keeps its context: children that it begins later are sampled as it was."""
    world.provider.add_span_processor(Changing(change))
    span = world.tracer.start_span("work", start_time=1)
    before = read_span(span)["context"], read_span(span)["name"]
    span.end(2)
    assert (read_span(span)["context"], read_span(span)["name"]) == before
    assert read_span(span)["end_time"] == ("int", "2")
    child = world.tracer.start_span("child", trace.set_span_in_context(span))
    assert world.recorder.started[-1] is child


def test_picture_of_a_live_span_is_a_copy(world: World) -> None:
    """Exporters of unfinished spans write an end time to it."""
    span = world.tracer.start_span("work", attributes={"a": 1}, start_time=1)
    picture = span._readable_span()
    assert isinstance(picture, ReadableSpan)
    picture._end_time = 5
    picture._attributes = {**(picture._attributes or {}), "in.flight": True}
    assert span.is_recording()
    assert dict(span.attributes or {}) == {"a": 1}
    span.end(9)
    assert [each.end_time for each in world.recorder.ended] == [9]
    messages, lost, _ = encode_ours([picture])
    assert "in.flight" in messages
    assert not lost


class Enriched(ReadableSpan):
    """A foreign span that has only the public properties of a readable span."""

    def __init__(self, span: ReadableSpan) -> None:  # the SDK's containers are not wanted
        self._span = span

    @property
    def attributes(self) -> Mapping[str, Any]:
        """The span's attributes and one more."""
        return {**(self._span.attributes or {}), "more": True}


for _name in (
    *("name", "context", "kind", "parent", "start_time", "end_time", "status", "events", "links", "resource"),
    *("instrumentation_scope", "dropped_attributes", "dropped_events", "dropped_links"),
):
    setattr(Enriched, _name, property(lambda self, name=_name: getattr(self._span, name)))


class Wrapped:
    """A foreign object that passes everything on but the attributes."""

    def __init__(self, span: ReadableSpan) -> None:
        self._wrapped = span
        self.attributes = {**(span.attributes or {}), "more": True}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)


@pytest.mark.parametrize("wrapper", [Enriched, Wrapped])
def test_encoder_reads_what_wrappers_show(wrapper: Any, make_provider: MakeProvider) -> None:
    """Their public properties count, whatever the span within holds."""
    world = World(make_provider)
    work(world)
    wrapped = [wrapper(span) for span in world.recorder.ended]
    ours, unencodable, _ = encode_ours(wrapped)
    assert unencodable == 0
    assert ours.count('"more"') == 2
