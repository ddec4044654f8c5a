"""Reads a recording span for the encoder."""

from typing import Any

from opentelemetry.sdk.util import BoundedList

from ..export.otlp import reading


def read_recording_span(span: Any) -> reading.Found:
    """Reads a `RecordingSpan` without making containers that nobody asked for."""
    events, links = span._event_list, span._link_list
    if (events is not None and type(events) is not BoundedList) or (
        links is not None and type(links) is not BoundedList
    ):
        return reading.read_public(span)
    origin, bounded = span._origin, span._bounded
    return (
        origin.resource,
        origin.scope,
        span._context,
        span._parent,
        span._name,
        span._kind,
        span._start_time,
        span._end_time,
        span._status,
        span._given or span._values,
        span._dropped if bounded is None else bounded.dropped,
        events,
        links,
    )
