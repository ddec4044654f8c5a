"""The calls that a test makes in two worlds; each is data that runs in any world."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode
from support import span_values as values
from support.span_values import Failing
from support.span_worlds import World

Parent = None | int | SpanContext | str
"""A parent: none, a span of the world by index, a span context, or the key of an empty context."""


class Call:
    """A call that can be made in any world."""

    def run(self, world: World) -> Any:
        """Makes the call; returns what the application gets."""
        raise NotImplementedError


@dataclass(frozen=True)
class OnSpan(Call):
    """A call of a method of the world's n-th span, counted around."""

    span: int

    def of(self, world: World) -> Any:
        """Returns the span."""
        return world.spans[self.span % len(world.spans)]


@dataclass(frozen=True)
class SetAttribute(OnSpan):
    """`set_attribute`."""

    key: Any
    value: Any

    def run(self, world: World) -> Any:
        """Makes the call."""
        return self.of(world).set_attribute(self.key, self.value)


@dataclass(frozen=True)
class SetAttributes(OnSpan):
    """`set_attributes`."""

    attributes: dict[Any, Any]

    def run(self, world: World) -> Any:
        """Makes the call."""
        return self.of(world).set_attributes(self.attributes)


@dataclass(frozen=True)
class AddEvent(OnSpan):
    """`add_event`."""

    name: Any
    attributes: dict[Any, Any] | None
    timestamp: int | None

    def run(self, world: World) -> Any:
        """Makes the call."""
        return self.of(world).add_event(self.name, self.attributes, self.timestamp)


@dataclass(frozen=True)
class AddLink(OnSpan):
    """`add_link`."""

    context: SpanContext | None
    attributes: dict[Any, Any] | None

    def run(self, world: World) -> Any:
        """Makes the call."""
        return self.of(world).add_link(self.context, attributes=self.attributes)


@dataclass(frozen=True)
class SetStatus(OnSpan):
    """`set_status` with a code, a status, or something else."""

    code: StatusCode | str | None
    description: Any
    inner: Any
    is_status: bool

    def run(self, world: World) -> Any:
        """Makes the call."""
        span = self.of(world)
        if self.is_status and isinstance(self.code, StatusCode):
            return span.set_status(Status(self.code, self.inner), self.description)
        return span.set_status(self.code, description=self.description)


@dataclass(frozen=True)
class RecordException(OnSpan):
    """`record_exception` of an exception that was raised."""

    failing: Failing
    attributes: dict[Any, Any] | None
    timestamp: int | None
    escaped: bool

    def run(self, world: World) -> Any:
        """Makes the call."""
        try:
            self.failing()
        except BaseException as error:  # noqa: BLE001 - an interrupt can be recorded, too
            return self.of(world).record_exception(error, self.attributes, self.timestamp, self.escaped)


@dataclass(frozen=True)
class UpdateName(OnSpan):
    """`update_name`."""

    name: Any

    def run(self, world: World) -> Any:
        """Makes the call."""
        return self.of(world).update_name(self.name)


@dataclass(frozen=True)
class End(OnSpan):
    """`end`."""

    time: int | None

    def run(self, world: World) -> Any:
        """Makes the call."""
        return self.of(world).end() if self.time is None else self.of(world).end(end_time=self.time)


@dataclass(frozen=True)
class StartAgain(OnSpan):
    """`start` of a span that has started."""

    def run(self, world: World) -> Any:
        """Makes the call."""
        span = self.of(world)
        return span.start(5) if hasattr(span, "start") else None


@dataclass(frozen=True)
class Enter(OnSpan):
    """A `with` block of the span itself."""

    failing: Failing

    def run(self, world: World) -> Any:
        """Makes the call."""
        span = self.of(world)
        with told(), span as entered:
            assert entered is span
            self.failing()
        return "left"


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Turns exceptions that are none of `Exception` into one that tells them."""
    try:
        yield
    except Exception:
        raise
    except BaseException as error:  # noqa: BLE001 - pytest must not see an interrupt
        raise RuntimeError(f"passed on: {error!r}") from None


def parent_context(world: World, parent: Parent) -> context_api.Context | None:
    """Returns the context of a parent."""
    if parent is None:
        return None
    if isinstance(parent, str):
        return context_api.set_value(parent, 1, context_api.Context())
    span = world.spans[parent % len(world.spans)] if isinstance(parent, int) else NonRecordingSpan(parent)
    return trace.set_span_in_context(span, context_api.Context({"baggage": "b"}))


@dataclass(frozen=True)
class Start(Call):
    """`start_span` with every parameter."""

    name: Any
    parent: Parent
    kind: SpanKind
    attributes: dict[Any, Any] | None
    links: Sequence[tuple[SpanContext, dict[Any, Any] | None] | None] | None
    start_time: int | None
    record_exception: bool
    set_status_on_exception: bool

    def parameters(self, world: World) -> dict[str, Any]:
        """Returns the keyword arguments; the links are new ones, for the SDK changes those it is given."""
        links = self.links and [link and Link(*link) for link in self.links]
        return {
            "name": self.name,
            "context": parent_context(world, self.parent),
            "kind": self.kind,
            "attributes": self.attributes,
            "links": links,
            "start_time": self.start_time,
            "record_exception": self.record_exception,
            "set_status_on_exception": self.set_status_on_exception,
        }

    def run(self, world: World) -> Any:
        """Makes the call."""
        world.spans.append(world.tracer.start_span(**self.parameters(world)))


@dataclass(frozen=True)
class StartAsCurrent(Start):
    """`start_as_current_span` with every parameter, calls within its block, and perhaps a failure."""

    end_on_exit: bool
    inside: Sequence[Call]
    failing: Failing

    def run(self, world: World) -> Any:
        """Makes the call."""
        before = trace.get_current_span()
        parameters = self.parameters(world)
        try:
            with (
                told(),
                world.tracer.start_as_current_span(**parameters, end_on_exit=self.end_on_exit) as span,
            ):
                world.spans.append(span)
                assert trace.get_current_span() is span
                for call in self.inside:
                    call.run(world)
                self.failing()
        finally:
            assert trace.get_current_span() is before
        return "left"


@dataclass(frozen=True)
class Use(OnSpan):
    """`use_span` of a span that somebody else ends, or not."""

    end_on_exit: bool
    record_exception: bool
    set_status_on_exception: bool
    failing: Failing

    def run(self, world: World) -> Any:
        """Makes the call."""
        span: Span = self.of(world)
        with (
            told(),
            trace.use_span(span, self.end_on_exit, self.record_exception, self.set_status_on_exception),
        ):
            assert trace.get_current_span() is span
            self.failing()
        return "left"


# Most calls are of the same span, so that they meet.
_INDEX = st.sampled_from([0, 0, 0, 0, 1, 2])
_LINKS = st.one_of(
    st.none(),
    st.lists(st.one_of(st.none(), st.tuples(values.CONTEXTS, values.ATTRIBUTES)), max_size=4),
    st.lists(st.tuples(values.CONTEXTS, values.ATTRIBUTES), max_size=2).map(tuple),
)
_STARTING = {
    "name": values.NAMES,
    "parent": st.one_of(st.none(), _INDEX, values.CONTEXTS, st.just("no.span")),
    "kind": values.KINDS,
    "attributes": values.ATTRIBUTES,
    "links": _LINKS,
    "start_time": values.TIMES,
    "record_exception": st.booleans(),
    "set_status_on_exception": st.booleans(),
}
_ATTRIBUTES = st.one_of(
    st.builds(SetAttribute, _INDEX, values.ANY_KEYS, values.VALUES),
    st.builds(SetAttributes, _INDEX, st.dictionaries(values.ANY_KEYS, values.VALUES, max_size=4)),
)
_EVENTS = st.builds(AddEvent, _INDEX, values.NAMES, values.ATTRIBUTES, values.TIMES)
_ADDED_LINKS = st.builds(AddLink, _INDEX, st.one_of(values.CONTEXTS, st.none()), values.ATTRIBUTES)
_STATUS = st.builds(
    SetStatus,
    _INDEX,
    st.one_of(values.CODES, values.CODES, values.CODES, st.sampled_from(["ERROR", None])),
    values.DESCRIPTIONS,
    values.DESCRIPTIONS,
    st.booleans(),
)
_EXCEPTIONS = st.builds(
    RecordException, _INDEX, values.FAILURES, values.ATTRIBUTES, values.TIMES, st.booleans()
)
_NAMES = st.builds(UpdateName, _INDEX, values.NAMES)
_START = st.builds(Start, **_STARTING)
_BLOCKS = st.one_of(
    st.builds(Enter, _INDEX, values.PERHAPS_FAILURES),
    st.builds(Use, _INDEX, st.booleans(), st.booleans(), st.booleans(), values.PERHAPS_FAILURES),
    st.builds(
        StartAsCurrent,
        **_STARTING,
        end_on_exit=st.booleans(),
        inside=st.lists(st.one_of(_ATTRIBUTES, _EVENTS, _STATUS, _NAMES), max_size=2),
        failing=values.PERHAPS_FAILURES,
    ),
)
_ENDS = st.builds(End, _INDEX, values.TIMES)


def _often(theme: st.SearchStrategy[Call], *others: st.SearchStrategy[Call]) -> st.SearchStrategy[list[Call]]:
    return st.lists(st.one_of(theme, theme, theme, *others), max_size=8)


THEMES: dict[str, st.SearchStrategy[list[Call]]] = {
    "attributes": _often(_ATTRIBUTES, _ENDS),
    "events": _often(_EVENTS, _ENDS),
    "links": _often(_ADDED_LINKS, _ENDS),
    "status": _often(_STATUS, _ENDS),
    "exceptions": _often(_EXCEPTIONS, _ENDS, _STATUS),
    "names": _often(_NAMES, _ENDS, st.builds(StartAgain, _INDEX)),
    "starts": _often(_START, _ENDS),
    "blocks": _often(_BLOCKS, _START, _STATUS),
    "everything": _often(
        st.one_of(_ATTRIBUTES, _EVENTS, _ADDED_LINKS, _STATUS, _EXCEPTIONS, _NAMES, _START, _BLOCKS), _ENDS
    ),
}
"""Lists of calls, each about one thing, ends among them."""
