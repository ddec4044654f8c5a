"""Reads the contents of an ended span in the fastest way that its class allows."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import SpanContext, TraceFlags

Found = tuple[Any, ...]
"""The exported fields of a span.

Resource, scope, context, parent, name, kind, start time, end time, status, `Attributes`, number of dropped
attributes, events and links (each in a `BoundedList` or what has its interface, or None).
"""
FLAGS_INDEX = SpanContext(1, 2, False, TraceFlags(3)).index(TraceFlags(3))
"""Where a span's context, which is a tuple, has its flags; by name they would cost a call."""
_PRIVATE = (
    *("_resource", "_instrumentation_scope", "_context", "_parent", "_name", "_kind"),
    *("_start_time", "_end_time", "_status", "_attributes", "_events", "_links"),
)


@dataclass(slots=True)
class _Container:
    """The part of the interface of the SDK's `BoundedList` that is read here."""

    _dq: Sequence[Any]
    dropped: int


def read_public(span: ReadableSpan) -> Found:
    """Reads any span."""
    return (
        *(span.resource, span.instrumentation_scope, span.context, span.parent, span.name, span.kind),
        *(span.start_time, span.end_time, span.status, span.attributes, span.dropped_attributes),
        _Container(span.events, span.dropped_events),
        _Container(span.links, span.dropped_links),
    )


_read_private = attrgetter(*_PRIVATE)


def read_sdk(span: ReadableSpan) -> Found:
    """Reads the SDK's own spans faster.

    The SDK's public properties copy a span's contents on each access, some of them under a lock; an ended
    span no longer changes.
    """
    found = _read_private(span)
    attributes = found[9]
    is_own = type(attributes) is BoundedAttributes and type(found[10]) is BoundedList is type(found[11])
    if not is_own:
        return read_public(span)
    return (*found[:9], attributes._dict, attributes.dropped, *found[10:])


READERS: dict[type[ReadableSpan], Callable[[ReadableSpan], Found]] = {}
"""How to read spans of other classes, by class; whoever defines such a class adds it at import."""


def _has_known_sdk() -> bool:
    """Whether this SDK has the private attributes that `read_sdk` reads."""
    try:
        _read_private(ReadableSpan("probe"))
        queue: object = attrgetter("_dq")(BoundedList(1))
        return isinstance(BoundedAttributes()._dict, dict) and isinstance(queue, deque)
    except AttributeError:
        return False


if _has_known_sdk():
    READERS[ReadableSpan] = read_sdk


def read(span: ReadableSpan) -> Found:
    """Reads a span in the fastest way that its class allows."""
    return READERS.get(type(span), read_public)(span)
