"""A recording span that costs little: plain values, containers made when first written, no copy at its end.

To everybody else it is the SDK's own span. It inherits the SDK's class and what is rarely called (events,
links, exceptions, JSON), keeps its state under the names that those methods read, and gives the SDK's own
containers to who asks for them.
"""

import logging
from _thread import RLock  # the function of `threading` only calls it
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from time import time_ns
from typing import Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.trace import _Span
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.util.types import AnyValue

from ..export.otlp import reading
from ..export.otlp.attributes import Given, SharedAttributes
from .escaping import record_escaping
from .span_origin import DEFAULT_MOST_ATTRIBUTES, Origin, shared
from .span_reading import read_recording_span

_UNSET = Status(StatusCode.UNSET)
_TEXT: frozenset[type] = frozenset({str})
_PLAIN: frozenset[type] = frozenset({str, int, bool, float})
"""Types whose values need no cleaning, unless the length of texts is limited."""
_MOST_OWN = DEFAULT_MOST_ATTRIBUTES // 2
"""Of attributes that leave room, within the usual limits, for the few that spans share."""
_FULL = (
    "Attributes dict is full. Dropping the oldest key-value pair from attributes to make space for the new "
    "key-value pair."
)
# Warnings go to the loggers of the SDK, which say the same.
_attributes_log = logging.getLogger("opentelemetry.attributes")
_span_log = logging.getLogger("opentelemetry.sdk.trace")
_new: Any = object.__new__


class RecordingSpan(_Span):
    """A span that is recorded, made by `make`. Thread-safe; after its end, nothing changes it any more."""

    __slots__ = (
        "_bounded",
        "_context",
        "_dropped",
        "_end_time",
        "_event_list",
        "_given",
        "_kind",
        "_link_list",
        "_lock",
        "_name",
        "_origin",
        "_parent",
        "_record_end_metrics",
        "_start_time",
        "_status",
        "_values",
    )

    _origin: Origin
    _context: SpanContext
    _lock: Any
    _given: tuple[SharedAttributes | dict[str, Any], ...]
    """Attributes that nobody has asked for yet; they become `_values` then."""
    _values: dict[str, Any] | None
    _dropped: int
    _bounded: BoundedAttributes | None
    _event_list: Any
    _link_list: Any
    _record_end_metrics: Callable[[], None] | None

    # Rarely set: the values of the class stand for those that are not.
    _record_exception = True
    _set_status_on_exception = True
    _trace_config = None

    @staticmethod
    def make(
        origin: Origin,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        start_time: int,
    ) -> "RecordingSpan":
        """Makes a span without the SDK's constructor, which makes every container at once.

        Args:
            origin: what it shares with the other spans of its tracer.
            name: its name.
            context: its own.
            parent: its parent's context; None for the first span of a trace.
            kind: its kind.
            start_time: in nanoseconds since the epoch.
        """
        span: RecordingSpan = _new(RecordingSpan)
        span._origin = origin
        span._name = name
        span._context = context
        span._parent = parent
        span._kind = kind
        span._start_time = start_time
        span._end_time = span._values = span._bounded = None
        span._event_list = span._link_list = span._record_end_metrics = None
        span._given = ()
        span._dropped = 0
        span._status = _UNSET
        # Reentrant: a finaliser or a log handler may write to the span that this thread is writing to.
        span._lock = RLock()
        return span

    context: Any = property(attrgetter("_context"))

    def get_span_context(self) -> SpanContext:
        """Returns the span's context."""
        return self._context

    def is_recording(self) -> bool:
        """Whether the span has not ended."""
        return self._end_time is None

    def set_attribute(self, key: str, value: AnyValue) -> None:
        """Sets one attribute; an invalid key is dropped and counted, an invalid value becomes text."""
        if self._end_time is not None:
            _span_log.warning("Setting attribute on ended span.")
            return
        kind, origin = type(value), self._origin
        if kind in _PLAIN and key and type(key) in _TEXT and (kind is not str or origin.are_texts_unlimited):
            with self._lock:
                values = self._values
                if values is None:
                    values = self._take_given()
                limit = origin.max_attributes
                is_new = key not in values and (limit is None or len(values) < limit)
                if is_new and self._end_time is None:  # else another thread has ended it
                    values[key] = value
                    return
            self._write({key: value}, 0, 1)
            return
        scratch = self._scratch()
        if origin.max_attributes != 0:
            scratch[key] = value
        self._write(scratch._dict, scratch.dropped, 1)

    def set_attributes(self, attributes: Mapping[str, AnyValue]) -> None:
        """Sets each attribute of a mapping, like `set_attribute`."""
        if self._end_time is not None:
            _span_log.warning("Setting attribute on ended span.")
            return
        if self._is_plain(attributes):
            self._write(attributes, 0, len(attributes))
        else:
            scratch = self._scratch()
            if self._origin.max_attributes != 0:
                scratch._set_items(attributes)
            self._write(scratch._dict, scratch.dropped, len(attributes))

    def adjust(self, links: Sequence[Link], *, record_exception: bool, set_status_on_exception: bool) -> None:
        """Sets what few spans have; nobody else has the span yet.

        Args:
            links: to other spans.
            record_exception: whether an exception that leaves the span's `with` block is recorded.
            set_status_on_exception: whether it sets the status.
        """
        if links:
            self._link_list = self._new_links(links)
        self._record_exception = record_exception
        self._set_status_on_exception = set_status_on_exception

    def begin_with(self, attributes: Mapping[str, AnyValue]) -> None:
        """Sets the attributes that the span starts with; nobody else has the span yet."""
        limit = self._origin.max_attributes
        if self._is_plain(attributes) and (limit is None or len(attributes) <= limit):
            self._values = dict(attributes)
        else:
            self.set_attributes(attributes)

    def begin_with_given(self, given: Given, parent_context: Context) -> None:
        """Takes over clean attributes with different keys, and tells the processors of the span.

        Args:
            given: the attributes; nobody else has those of this span alone.
            parent_context: the context that its parent is the current span of.
        """
        origin = self._origin
        if origin.has_usual_limits and len(given[-1]) <= _MOST_OWN:
            self._given = given
        else:
            for each in given:
                self.set_attributes(each.values if isinstance(each, SharedAttributes) else each)
        origin.start(self, parent_context)

    def end_with(self, first_name: str, last_name: str, attributes: SharedAttributes, end_time: int) -> None:
        """Renames the span, sets a few attributes and ends it, all at once.

        Args:
            first_name: the name that it was given by who ends it; another one, of the application, is kept.
            last_name: its name from now on.
            attributes: with other keys than those that it began with.
            end_time: in nanoseconds since the epoch.
        """
        with self._lock:
            is_usual = self._end_time is None and (bool(self._given) or self._has_room())
            if is_usual:
                given = (*self._given, attributes)
                if self._values is None:  # nobody has asked for them, no finaliser just now either
                    self._given = given
                else:
                    self._values.update(attributes.values)
                if self._name == first_name:
                    self._name = last_name
                self._end_time = end_time
        if is_usual:
            if self._record_end_metrics is not None:
                self._record_end_metrics()
            self._origin.end(self)
            return
        if self._name == first_name:
            self.update_name(last_name)
        self.set_attributes(attributes.values)
        self.end(end_time)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Sets the status as the SDK does, but warns before it takes the lock: log handlers may want it."""
        is_open = self._end_time is None and self._status.status_code is not StatusCode.OK
        if is_open and isinstance(status, StatusCode) and status is not StatusCode.UNSET:
            status, description = Status(status, description), None
        elif is_open and isinstance(status, Status) and not status.is_unset and description is not None:
            text = "Description %s ignored. Use either `Status` or `(StatusCode, Description)`"
            _span_log.warning(text, description)
            description = None
        super().set_status(status, description)

    def end(self, end_time: int | None = None) -> None:
        """Ends the span and hands it on.

        Args:
            end_time: in nanoseconds since the epoch; now, if it is not given.
        """
        with self._lock:
            is_first = self._end_time is None
            if is_first:
                self._end_time = time_ns() if end_time is None else end_time
                if self._bounded is not None:
                    self._bounded._immutable = True
        if not is_first:
            _span_log.warning("Calling end() on an ended span.")
            return
        if self._record_end_metrics is not None:
            self._record_end_metrics()
        self._origin.end(self)

    def __exit__(self, exc_type: object, exc_val: BaseException | None, exc_tb: object) -> None:
        if exc_val is not None and self._end_time is None:
            does_record, does_set_status = self._record_exception, self._set_status_on_exception
            record_escaping(self, exc_val, does_record, does_set_status, is_escaped=True)
        self.end()

    def _is_plain(self, attributes: Mapping[str, Any]) -> bool:
        """Whether attributes can be kept as they are."""
        return (
            self._origin.are_texts_unlimited
            and type(attributes) is dict
            and _PLAIN.issuperset(map(type, attributes.values()))
            and _TEXT.issuperset(map(type, attributes))
            and "" not in attributes
        )

    def _scratch(self) -> BoundedAttributes:
        """Returns a container that cleans what is put into it, as the SDK does, however many there are."""
        return BoundedAttributes(immutable=False, max_value_len=self._origin.limits.max_span_attribute_length)

    def _write(self, cleaned: Mapping[str, Any], dropped: int, given: int) -> None:
        """Writes clean attributes, unless the span has ended meanwhile.

        Args:
            cleaned: the attributes.
            dropped: how many were not clean.
            given: how many there were.
        """
        limit = self._origin.max_attributes
        oldest = 0
        with self._lock:
            has_ended = self._end_time is not None
            if not has_ended and limit == 0:
                self._count_dropped(given)
            elif not has_ended:
                values = self._values
                if values is None:
                    values = self._take_given()
                for key, value in cleaned.items():
                    if key in values:
                        del values[key]  # what is set again becomes the newest
                    elif limit is not None and len(values) >= limit:
                        del values[next(iter(values))]
                        oldest += 1
                    values[key] = value
                if dropped or oldest:
                    self._count_dropped(dropped + oldest)
        if has_ended:
            _span_log.warning("Setting attribute on ended span.")
        for _ in range(oldest):
            _attributes_log.warning(_FULL)

    def _has_room(self) -> bool:
        """Whether a few more attributes can be written without a look at limits."""
        return (
            self._values is not None
            and self._bounded is None
            and self._origin.has_usual_limits
            and len(self._values) <= _MOST_OWN
        )

    def _take_given(self) -> dict[str, Any]:
        """Makes the attributes of what was given; with the lock held, or before anybody has the span."""
        values: dict[str, Any] = {}
        for each in self._given:
            values.update(each.values if isinstance(each, SharedAttributes) else each)
        known = self._values
        if known is not None:  # a finaliser or a signal handler has been here since the caller looked
            return known
        # In this order, for a reader without the lock.
        self._values = values
        self._given = ()
        return values

    def _count_dropped(self, count: int) -> None:
        if self._bounded is None:
            self._dropped += count
        else:
            self._bounded.dropped += count

    @property
    def dropped_attributes(self) -> int:
        """The number of attributes that were dropped."""
        return self._dropped if self._bounded is None else self._bounded.dropped

    # What the SDK's methods and others' read: the SDK's containers, made when they are asked for.

    @property
    def _attributes(self) -> Any:
        with self._lock:
            if self._bounded is None:
                bounded = BoundedAttributes(
                    self._origin.max_attributes,
                    immutable=False,
                    max_value_len=self._origin.limits.max_span_attribute_length,
                )
                values = self._take_given() if self._values is None else self._values
                bounded._dict, bounded.dropped = values, self._dropped
                bounded._immutable = self._end_time is not None
                if self._bounded is None:
                    self._bounded = bounded
            return self._bounded

    @_attributes.setter
    def _attributes(self, attributes: Any) -> None:
        if not isinstance(attributes, BoundedAttributes):
            given, attributes = attributes, BoundedAttributes(self._origin.max_attributes, immutable=False)
            attributes._dict = dict(given or {})
        self._bounded, self._values, self._given = attributes, attributes._dict, ()

    @property
    def _events(self) -> Any:
        with self._lock:
            if self._event_list is None:
                self._event_list = BoundedList(self._origin.limits.max_events)
            return self._event_list

    @_events.setter
    def _events(self, events: Any) -> None:
        self._event_list = events

    @property
    def _links(self) -> Any:
        with self._lock:
            if self._link_list is None:
                self._link_list = self._new_links(())
            return self._link_list

    @_links.setter
    def _links(self, links: Any) -> None:
        self._link_list = links

    _resource = shared("resource")
    _instrumentation_scope = shared("scope")
    _instrumentation_info = shared("info")
    _span_processor = shared("processor")
    _sampler = shared("sampler")
    _limits = shared("limits")


reading.READERS[RecordingSpan] = read_recording_span
