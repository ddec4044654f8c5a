"""Spans that several threads, finalisers and log handlers touch at once."""

import gc
import itertools
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits
from opentelemetry.trace import SpanContext, StatusCode
from support.span_readings import encode_ours, read_span
from support.span_worlds import MakeProvider, World, log_lines, make_our_provider, make_pipelines_provider

OURS = pytest.mark.parametrize("make", [make_our_provider, make_pipelines_provider])
"""For what the SDK's own spans do not stand, which hold a lock while they log and ask for texts."""
SECONDS = 10.0
"""After which threads that have not ended hang for ever."""


def run_together(*works: Callable[[], object]) -> list[BaseException]:
    """Runs each in a thread of its own, from a common start; returns what they raised."""
    raised: list[BaseException] = []
    ready = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> None:
        try:
            ready.wait(SECONDS)
            work()
        except BaseException as error:  # noqa: BLE001 - reported by the test
            raised.append(error)

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert not any(thread.is_alive() for thread in threads), "threads hang"
    return raised


WRITES: list[Callable[[Any, int], None]] = [
    lambda span, number: span.set_attribute(f"key {number % 7}", number),
    lambda span, number: span.set_attributes({f"key {number % 5}": "text", f"more {number % 3}": [1]}),
    lambda span, number: span.add_event("event", {"number": number}, 5),
    lambda span, number: span.add_link(SpanContext(1, number + 1, is_remote=False)),
    lambda span, number: span.update_name(f"name {number}"),
    lambda span, number: span.set_status(StatusCode.ERROR, f"{number}"),
    lambda span, number: span.record_exception(ValueError(number)),
    lambda span, number: read_span(span),
]


@OURS
def test_nothing_is_written_after_the_end(make: MakeProvider) -> None:
    """What the processor got is what stays, however many threads write on; none of them gets an exception."""
    with log_lines():
        world = World(make, limits=SpanLimits(max_span_attributes=4, max_events=3, max_links=3))
        for _ in range(5):
            span = world.tracer.start_span("work", attributes={"a": 1})
            at_the_end: list[Any] = []
            stop = threading.Event()

            def write(how: Callable[[Any, int], None], span: Any = span, stop: Any = stop) -> None:
                for number in itertools.count():
                    how(span, number)
                    if stop.is_set():
                        return

            def end(span: Any = span, stop: Any = stop, seen: list[Any] = at_the_end) -> None:
                while len(span.events) < 2:
                    assert not stop.wait(0)
                span.end()
                seen.append(encode_ours(world.recorder.ended[-1:]))
                stop.set()

            raised = run_together(end, *(lambda how=how: write(how) for how in WRITES))
            assert raised == []
            assert encode_ours(world.recorder.ended[-1:]) == at_the_end[0]
    assert len(world.recorder.ended) == 5


@OURS
def test_one_of_many_ends_counts(make: MakeProvider) -> None:
    """The others are told that it has ended."""
    world = World(make)
    spans = [world.tracer.start_span("work") for _ in range(200)]

    def end(offset: int) -> None:
        for span in spans[offset:] + spans[:offset]:
            span.end()

    with log_lines() as lines:
        assert run_together(*(lambda offset=offset: end(offset) for offset in (0, 50, 100, 150))) == []
    assert len(world.recorder.ended) == 200
    assert lines == [("WARNING", "Calling end() on an ended span.")] * 600


def test_counts_add_up(make_provider: MakeProvider) -> None:
    """Each attribute, event and link of several threads is kept or counted as dropped."""
    world = World(make_provider, limits=SpanLimits(max_span_attributes=50, max_events=60, max_links=70))
    span = world.tracer.start_span("work")

    def write(thread: int) -> None:
        for number in range(100):
            span.set_attribute(f"{thread}.{number}", number)
            span.set_attributes({f"{thread}.{number}.list": [number], "": 1})
            span.add_event(f"{thread}.{number}")
            span.add_link(SpanContext(1, 1 + number, is_remote=False))

    with log_lines():
        assert run_together(*(lambda thread=thread: write(thread) for thread in range(4))) == []
    span.end()
    (ended,) = world.recorder.ended
    assert (len(ended.attributes or {}), ended.dropped_attributes) == (50, 4 * 300 - 50)
    assert (len(ended.events), ended.dropped_events) == (60, 340)
    assert (len(ended.links), ended.dropped_links) == (70, 330)


def test_readers_are_not_disturbed(make_provider: MakeProvider) -> None:
    """Attributes, events and JSON can be read while others write and drop."""
    world = World(make_provider, limits=SpanLimits(max_span_attributes=1_000, max_events=5))
    span = world.tracer.start_span("work", attributes={"a": 1})
    assert isinstance(span, ReadableSpan)
    stop = threading.Event()

    def write() -> None:
        for number in range(900):
            span.set_attribute(f"key {number}", number)
            span.add_event("event", {"number": number})
        stop.set()

    def read() -> None:
        while not stop.is_set():
            assert dict(span.attributes or {})["a"] == 1
            assert len(span.events) <= 5
            span.to_json()

    assert run_together(write, read, read) == []


class Touching(logging.Handler):
    """A log handler that writes to the span that the log line is about."""

    def __init__(self, span: Any) -> None:
        super().__init__(logging.WARNING)
        self._span = span
        self._depth = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Writes to the span, once for each line of the outside."""
        if self._depth:
            return
        self._depth += 1
        try:
            self._span.add_event("logged", {"text": record.getMessage()})
            self._span.set_attribute("logged", True)
            self._span.set_status(StatusCode.ERROR, "logged")
            self._span.to_json()
        finally:
            self._depth -= 1


class Writing:
    """A value whose text is made by writing to the span."""

    def __init__(self, span: Any) -> None:
        self._span = span

    def __str__(self) -> str:
        self._span.set_attribute("from.str", 1)
        self._span.add_event("from.str")
        self._span.update_name("from.str")
        return "text"

    __repr__ = __str__


@OURS
def test_log_handler_may_write_to_the_span(make: MakeProvider) -> None:
    """Whatever the span warns of."""
    world = World(make, limits=SpanLimits(max_span_attributes=3, max_attribute_length=2))
    span: Any = world.tracer.start_span("work")
    handler = Touching(span)
    logger = logging.getLogger("opentelemetry")
    logger.addHandler(handler)

    def write() -> None:
        span.set_attribute("", 1)
        span.set_attribute("object", object())
        span.set_attributes({"long": "text", "": 1, "object": object()})
        span.add_event("event", {"": 1, "long": "text"})
        span.add_link(SpanContext(1, 2, is_remote=False), {"": 1})
        span.set_status(StatusCode.ERROR, 5)
        span.set_status(StatusCode.OK, "text")
        for number in range(5):
            span.set_attribute(f"{number}", number)
        span.start()
        span.end()
        span.end()
        span.set_attribute("late", 1)
        span.update_name("late")

    try:
        assert run_together(write) == []
    finally:
        logger.removeHandler(handler)
    assert len(world.recorder.ended) == 1


@OURS
def test_value_may_write_to_the_span(make: MakeProvider) -> None:
    """Its text is asked for while no lock is held that others need."""
    world = World(make)
    span: Any = world.tracer.start_span("work")
    value = Writing(span)

    def write() -> None:
        span.set_attribute("value", value)
        span.set_attributes({"values": [value], "mapping": {"value": value}})
        span.add_event("event", {"value": value})
        span.add_link(SpanContext(1, 2, is_remote=False), {"value": value})
        span.set_status(StatusCode.ERROR, value)
        span.end()

    assert run_together(write) == []
    (ended,) = world.recorder.ended
    attributes = ended.attributes or {}
    assert (attributes["value"], attributes["values"]) == ("text", ("text",))
    assert attributes["from.str"] == 1


@OURS
def test_finaliser_may_write_to_the_span(make: MakeProvider) -> None:
    """It runs wherever the garbage collector runs, within any call of the span."""
    world = World(make, limits=SpanLimits(max_span_attributes=20))
    span: Any = world.tracer.start_span("work")

    class Circle:
        """Garbage that only the collector finds."""

        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            span.set_attribute("finalised", 1)
            span.add_event("finalised", {"a": [1]})

    def write() -> None:
        for number in range(300):
            Circle()
            span.set_attribute(f"key {number}", [number])
            span.set_attributes({f"more {number}": {"a": number}})
            span.add_event("event", {"number": number})
        span.end()

    before = gc.get_threshold()
    gc.set_threshold(3, 1, 1)
    try:
        with log_lines():
            assert run_together(write) == []
    finally:
        gc.set_threshold(*before)
    (ended,) = world.recorder.ended
    assert len(ended.attributes or {}) == 20


@OURS
def test_handlers_lock_and_spans_lock_do_not_wait_for_each_other(make: MakeProvider) -> None:
    """One thread logs from within a span while another writes to that span from a log handler."""
    world = World(make)
    span: Any = world.tracer.start_span("work")
    warned, handling = threading.Event(), threading.Event()
    logger = logging.getLogger("opentelemetry")

    class Handler(logging.Handler):
        """Holds its lock, as all handlers do, while it writes to the span."""

        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() == "unrelated":
                handling.set()
                warned.wait(SECONDS)
                span.set_attribute("logged", 1)

    def note(record: logging.LogRecord) -> bool:
        if record.getMessage() != "unrelated":
            warned.set()
        return True

    handler = Handler()
    logger.addHandler(handler)
    noticing = logging.getLogger("opentelemetry.trace.status")
    noticing.addFilter(note)

    def write() -> None:
        handling.wait(SECONDS)
        span.set_status(StatusCode.ERROR, 5)

    try:
        assert run_together(lambda: logger.warning("unrelated"), write) == []
    finally:
        logger.removeHandler(handler)
        noticing.removeFilter(note)
    span.end()
    (ended,) = world.recorder.ended
    assert (ended.attributes or {})["logged"] == 1


def test_attribute_that_waited_for_the_end_of_the_span_is_too_late() -> None:
    """Another thread may end the span between the first look and the lock."""
    world = World(make_our_provider)
    span: Any = world.tracer.start_span("work")

    class Ending:
        """The span's lock, which another thread holds to end it."""

        def __enter__(self) -> None:
            span._end_time = 1

        def __exit__(self, *_: object) -> None:
            pass

    span._lock = Ending()
    span.set_attribute("late", 1)
    assert not span.attributes


def test_attributes_first_looked_at_after_the_end_cannot_be_written() -> None:
    """Like those that somebody has looked at before."""
    world = World(make_our_provider)
    span: Any = world.tracer.start_span("work", attributes={"a": 1})
    span.end()
    with pytest.raises(TypeError):
        span._attributes["b"] = 2
    assert dict(span.attributes) == {"a": 1}
