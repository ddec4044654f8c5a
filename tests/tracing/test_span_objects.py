"""Spans as objects: classes, copies, identity, and what third parties read and write beneath the surface."""

import copy
import pickle
import weakref
from collections.abc import MutableMapping
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, _Span
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode
from support.span_readings import encode_ours, outcome, read_span
from support.span_worlds import (
    PROVIDERS,
    MakeProvider,
    Recorder,
    World,
    make_our_provider,
    make_pipelines_provider,
    make_sdk_provider,
)

CONTEXT = SpanContext(7, 8, is_remote=True)
EVERY = [make_sdk_provider, make_our_provider, make_pipelines_provider]


def full_span(world: World) -> Any:
    """Returns a live span with something of everything."""
    span = world.tracer.start_span(
        "work", attributes={"a": [1]}, links=[Link(CONTEXT, {"l": 1})], start_time=1
    )
    span.add_event("event", {"e": {"x": 1}}, 2)
    span.set_status(StatusCode.ERROR, "no")
    return span


def test_classes_that_third_parties_ask_for(world: World) -> None:
    """Those of the API, of the SDK, and the SDK's inner one."""
    span = full_span(world)
    for kind in (trace.Span, ReadableSpan, Span, _Span):
        assert isinstance(span, kind)
    assert not isinstance(span, NonRecordingSpan)
    span.end()
    assert isinstance(world.recorder.ended[0], ReadableSpan)


def test_representation_shows_name_and_context(world: World) -> None:
    """In the SDK's form."""
    span = full_span(world)
    assert repr(span) == f'{type(span).__name__}(name="work", context={span.get_span_context()})'
    span.update_name('with "quotes"')
    assert repr(span).startswith(f'{type(span).__name__}(name="with "quotes"", ')


def test_spans_are_themselves_only(world: World) -> None:
    """As keys of dictionaries, also of weak ones, that third parties keep their own data in."""
    span, other = (world.tracer.start_span("work", start_time=1) for _ in range(2))
    assert span == span  # noqa: PLR0124 - it must equal itself
    assert span != other
    assert len({span, other, span}) == 2
    kept: Any = weakref.WeakKeyDictionary({span: 1})
    assert kept[span] == 1
    reference = weakref.ref(span)
    world.recorder.started.clear()
    del span
    assert reference() is None
    assert not kept


@pytest.mark.parametrize("make", EVERY)
def test_spans_carry_attributes_of_others(make: MakeProvider) -> None:
    """Third parties leave notes on live and on ended ones."""
    world = World(make)
    span = full_span(world)
    span._vendor_meta = {"a": 1}
    assert span._vendor_meta == {"a": 1}
    span.end()
    ended: Any = world.recorder.ended[0]
    ended._vendor_state = 5
    assert ended._vendor_state == 5


def copied(span: Any, how: Any) -> Any:
    """Returns what a copy shows."""
    copy_ = how(span)
    assert copy_ is not span
    return read_span(copy_)


@pytest.mark.parametrize(
    "how",
    [copy.copy, copy.deepcopy, lambda span: pickle.loads(pickle.dumps(span))],  # noqa: S301 - its own
    ids=["copy", "deep", "pickle"],
)
def test_ended_spans_are_copied_alike(how: Any) -> None:
    """What fails in the SDK, since it holds locks, fails here as well."""
    told = []
    for make_provider in PROVIDERS.values():
        world = World(make_provider)
        full_span(world).end(3)
        found = outcome(lambda world=world: copied(world.recorder.ended[0], how))
        told.append(found if isinstance(found, dict) else found[:2])
    expected, found = told
    assert found == expected


def test_copy_of_an_ended_span_is_its_own(make_provider: MakeProvider) -> None:
    """An exporter may replace the attributes and the resource of a copy."""
    world = World(make_provider)
    full_span(world).end(3)
    (ended,) = world.recorder.ended
    for how in (copy.copy, copy.deepcopy):
        mine: Any = how(ended)
        mine._attributes = {"mine": True}
        mine._name = "mine"
        assert dict(mine.attributes) == {"mine": True}
        assert dict(ended.attributes or {}) == {"a": (1,)}
        assert ended.name == "work"
        assert "mine" in encode_ours([mine])[0]


@pytest.mark.parametrize("make", EVERY)
def test_live_span_is_copied_by_its_picture(make: MakeProvider) -> None:
    """A deep copy of `_readable_span()` stays as it is."""
    world = World(make)
    span = full_span(world)
    picture = copy.deepcopy(span._readable_span())
    before = read_span(picture)
    span.set_attribute("later", 1)
    span.add_event("later")
    span.end()
    assert read_span(picture) == before
    assert before["end_time"] == "None"


@pytest.mark.parametrize("make", EVERY)
def test_what_spans_show_cannot_be_written(make: MakeProvider) -> None:
    """Neither attributes, events nor links, of live and of ended spans."""
    world = World(make)
    span = full_span(world)
    for _ in range(2):
        with pytest.raises(TypeError):
            span.attributes["a"] = 2
        with pytest.raises(TypeError):
            span.events[0].attributes["e"] = 2
        with pytest.raises(TypeError):
            span.links[0].attributes["l"] = 2
        for what, name in ((span, "attributes"), (span.events[0], "name"), (span.events[0], "timestamp")):
            with pytest.raises(AttributeError):
                setattr(what, name, "other")
        span.end()
    with pytest.raises(TypeError, match="immutable"):
        span._attributes["a"] = 2
    assert dict(span.attributes) == {"a": (1,)}


def test_values_are_kept_as_they_were_given(world: World) -> None:
    """What the application changes later does not reach the span; nested mappings become new ones."""
    numbers, nested = [1], {"a": [1]}
    given: dict[str, Any] = {"numbers": numbers, "nested": nested}
    span = world.tracer.start_span("work", attributes=given)
    span.set_attribute("again", numbers)
    span.set_attributes(given)
    span.add_event("event", given)
    span.add_link(CONTEXT, given)
    plain = {"plain": 1}
    other = world.tracer.start_span("other", attributes=plain)
    other.set_attributes(plain)
    numbers.append(2)
    nested["a"].append(2)
    given["more"] = plain["more"] = 1
    for each in world.recorder.started:
        each.end()
    first, second = world.recorder.ended
    kept = {"numbers": (1,), "nested": {"a": (1,)}}
    assert dict(first.attributes or {}) == {"again": (1,), **kept}
    assert dict(first.events[0].attributes or {}) == dict(first.links[0].attributes or {}) == kept
    assert dict(second.attributes or {}) == {"plain": 1}


def test_live_span_is_read_beneath(world: World) -> None:
    """By names that other projects use while it lasts."""
    span = full_span(world)
    assert (span._name, span._kind, span._parent) == ("work", SpanKind.INTERNAL, None)
    assert (span._start_time, span._end_time) == (1, None)
    assert span._context is span.get_span_context()
    assert span._status.status_code is StatusCode.ERROR
    assert isinstance(span._attributes, MutableMapping)
    assert "a" in span._attributes
    assert span._attributes.get("a") == (1,)
    assert span._limits.max_span_attributes == 128
    assert span._resource is world.provider.resource
    assert span._instrumentation_scope is span.instrumentation_scope
    assert [event.name for event in span._events] == ["event"]
    assert [link.context for link in span._links] == [CONTEXT]
    assert (span._record_exception, span._set_status_on_exception) == (True, True)
    assert span._sampler is world.provider.sampler
    with span._lock:
        pass
    assert span._format_attributes(span._attributes) == {"a": (1,)}
    assert span._format_events(span._events)[0]["name"] == "event"


@pytest.mark.parametrize("make", EVERY)
@pytest.mark.parametrize("is_empty", [True, False])
def test_live_span_is_written_beneath(is_empty: bool, make: MakeProvider) -> None:
    """By means that other projects use while it lasts; the exporter gets it."""
    world = World(make)
    span: Any = world.tracer.start_span("work", start_time=1) if is_empty else full_span(world)
    span._name = "renamed"
    span._kind = SpanKind.CONSUMER
    span._links.append(Link(CONTEXT, {"late": 1}))
    span._attributes["beneath"] = 1
    span._attributes["list"] = [1]
    span.set_attribute("above", 2)
    span._status = Status(StatusCode.ERROR, "beneath")
    other = SpanContext(5, 6, is_remote=False, trace_flags=span.get_span_context().trace_flags)
    span._context = other
    span._start_time = 2
    span._resource = span._resource.merge(type(span._resource)({"tenant": "a"}))
    span.end(3)
    (ended,) = world.recorder.ended
    assert (ended.name, ended.kind, ended.context, ended.start_time) == (
        "renamed",
        SpanKind.CONSUMER,
        other,
        2,
    )
    assert list(ended.attributes or {})[-3:] == ["beneath", "list", "above"]
    assert ended.links[-1].context is CONTEXT
    assert ended.status.description == "beneath"
    assert ended.resource.attributes["tenant"] == "a"
    message, *lost = encode_ours([ended])
    assert lost == [0, 0]
    for text in ("renamed", "beneath", "above", "late", "tenant"):
        assert f'"{text}"' in message


@pytest.mark.parametrize("make", EVERY)
def test_ended_span_is_reopened_for_a_moment(make: MakeProvider) -> None:
    """Some projects add attributes in `on_end` by clearing the end time and thawing the attributes."""
    world = World(make)
    span = full_span(world)
    span.end(3)
    span._end_time, span._attributes._immutable = None, False
    span.set_attribute("late", 1)
    span._end_time, span._attributes._immutable = 3, True
    (ended,) = world.recorder.ended
    assert (ended.attributes or {})["late"] == 1
    assert '"late"' in encode_ours([ended])[0]
    assert not span.is_recording()


def test_span_is_redirected_at_its_end(world: World) -> None:
    """A processor may keep a span from the others by taking the place of its processor."""

    class Taking(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            span._span_processor = taken

    taken = Recorder()
    world.provider.add_span_processor(Taking())
    full_span(world).end()
    assert world.recorder.ended == []
    assert [call for call, _ in taken.calls] == ["ending", "end"]


def test_attributes_replaced_on_a_live_span_are_the_spans(world: World) -> None:
    """Whether by a dictionary or emptied in place, later ones are added to what is there then."""
    span = full_span(world)
    span._attributes = {"x": 1}
    assert dict(span.attributes) == {"x": 1}
    span._attributes = type(world.tracer.start_span("other")._attributes)(5, {"y": 1}, immutable=False)
    span.set_attribute("z", 2)
    span._attributes.clear()
    span.set_attributes({"last": 1})
    span.end()
    assert dict(world.recorder.ended[-1].attributes or {}) == {"last": 1}


def test_dropped_counts_survive_a_look_beneath(make_provider: MakeProvider) -> None:
    """Counted before and after somebody asks for the container."""
    world = World(make_provider, limits=SpanLimits(max_span_attributes=1))
    span: Any = world.tracer.start_span("work", attributes={"a": 1, "b": 2})
    span.set_attribute("", 1)
    assert span._attributes.dropped == span.dropped_attributes == 2
    span.set_attribute("c", 1)
    span.set_attribute("", 1)
    assert span._attributes.dropped == span.dropped_attributes == 4
    span.end()
    assert world.recorder.ended[0].dropped_attributes == 4
