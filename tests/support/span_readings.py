"""Reads spans so that two of them can be compared: exact types, and what may differ made equal.

What may differ: times that the clock gave, and the frames of the SDK's and the library's own code in a
stack trace.
"""

import json
import re
import warnings
from collections.abc import Callable, Mapping
from traceback import format_exception_only
from typing import Any

from google.protobuf.message import Message
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Link, SpanContext, Status

from telemetry.export.otlp.spans import Encoder

_CLOCK_FROM, _CLOCK_UNTIL = 1_700_000_000_000_000_000, 2_700_000_000_000_000_000
"""Nanoseconds since the epoch that only the clock gives: the tests' own times are outside."""
_CLOCK_TEXT = re.compile(r"20[2-5]\d-\d\d-\d\dT[\d:.]+Z")
_FOREIGN = r"(?:/opentelemetry/|/telemetry/tracing/|/contextlib\.py)"
_CODE_LINE = r"(?:(?:[ |]*\|)? {4}(?! *[|+]).*\n)"
"""A line below a frame, perhaps within an exception group."""
_FOREIGN_FRAME = re.compile(rf'^[ |]*File "[^"]*{_FOREIGN}[^"]*", line .*\n{_CODE_LINE}*', re.MULTILINE)
_NOW = "now"


def outcome(call: Callable[[], Any]) -> Any:
    """Returns what a call returns, or the exception that it raises, in a comparable form."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - whatever it raises is what is compared
        return ("raised", type(error).__name__, format_exception_only(error)[-1].strip())


def moment(time: Any) -> Any:
    """Returns a time; one that the clock gave is as good as another."""
    is_clock = type(time) is int and _CLOCK_FROM < time < _CLOCK_UNTIL
    return _NOW if is_clock else describe(time)


def without_foreign_frames(text: str) -> str:
    """Returns a stack trace without the SDK's and the library's own frames."""
    return _FOREIGN_FRAME.sub("", text)


def describe(value: Any) -> Any:
    """Returns a value with the types within it; equal only to that of an equal value of the same type."""
    if isinstance(value, Mapping):
        return ("mapping", [(describe(key), describe(each)) for key, each in value.items()])
    if isinstance(value, (tuple, list)):
        return (type(value).__name__, [describe(each) for each in value])
    if isinstance(value, str):
        return (type(value).__name__, without_foreign_frames(str.__str__(value)))
    for kind in (int, float, bytes):
        if isinstance(value, kind):
            return (type(value).__name__, kind.__repr__(value))
    return repr(value)


def read_context(context: SpanContext | None) -> Any:
    """Returns all of a span context."""
    if context is None:
        return None
    return (type(context).__name__, *context[:4], list(dict(context.trace_state or {}).items()), context[5])


def read_status(status: Status) -> Any:
    """Returns a status."""
    return (status.status_code, describe(status.description), status.is_ok, status.is_unset)


def read_link(link: Link) -> Any:
    """Returns a link."""
    return (read_context(link.context), describe(link.attributes), link.dropped_attributes)


def read_event(event: Any) -> Any:
    """Returns an event."""
    return (
        *(describe(event.name), moment(event.timestamp), describe(event.attributes)),
        event.dropped_attributes,
    )


def read_json(text: str) -> Any:
    """Returns what a span's JSON says."""
    return json.loads(text, object_pairs_hook=lambda pairs: [(key, _comparable(each)) for key, each in pairs])


def _comparable(value: Any) -> Any:
    if isinstance(value, str):
        return without_foreign_frames(_CLOCK_TEXT.sub(_NOW, value))
    return [_comparable(each) for each in value] if isinstance(value, list) else value


def _instrumentation_info(span: ReadableSpan) -> Any:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        info = span.instrumentation_info
    return (repr(info), [(each.category, str(each.message)) for each in caught])


_READERS: dict[str, Callable[[Any], Any]] = {
    "name": lambda span: describe(span.name),
    "context": lambda span: read_context(span.context),
    "get_span_context": lambda span: read_context(span.get_span_context()),
    "kind": lambda span: span.kind,
    "parent": lambda span: read_context(span.parent),
    "start_time": lambda span: moment(span.start_time),
    "end_time": lambda span: moment(span.end_time),
    "status": lambda span: read_status(span.status),
    "attributes": lambda span: describe(span.attributes),
    "attributes are read-only": lambda span: hasattr(type(span.attributes), "__setitem__"),
    "events": lambda span: (type(span.events), [read_event(event) for event in span.events]),
    "links": lambda span: (type(span.links), [read_link(link) for link in span.links]),
    "resource": lambda span: (dict(span.resource.attributes), span.resource.schema_url),
    "instrumentation_scope": lambda span: repr(span.instrumentation_scope),
    "instrumentation_info": _instrumentation_info,
    "dropped_attributes": lambda span: span.dropped_attributes,
    "dropped_events": lambda span: span.dropped_events,
    "dropped_links": lambda span: span.dropped_links,
    "to_json": lambda span: read_json(span.to_json()),
}


def read_span(span: Any) -> dict[str, Any]:
    """Returns all that the public face of a span tells."""
    if not isinstance(span, ReadableSpan):
        return {"not recording": repr(span), "is_recording": span.is_recording()}
    found = {name: outcome(lambda read=read: read(span)) for name, read in _READERS.items()}
    if hasattr(span, "is_recording"):
        found["is_recording"] = span.is_recording()
    return found


def _normalized(message: Message) -> str:
    for resource_spans in message.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                for field in ("start_time_unix_nano", "end_time_unix_nano"):
                    if moment(getattr(span, field)) == _NOW:
                        setattr(span, field, 1)
                for event in span.events:
                    if moment(event.time_unix_nano) == _NOW:
                        event.time_unix_nano = 1
                    for attribute in event.attributes:
                        if attribute.value.HasField("string_value"):
                            text = without_foreign_frames(attribute.value.string_value)
                            attribute.value.string_value = text
    return str(message)


def encode_ours(spans: list[ReadableSpan]) -> tuple[str, int, int]:
    """Returns the library's message, and how many spans and attributes it could not hold."""
    encoder = Encoder()
    message = ExportTraceServiceRequest.FromString(encoder.encode(spans).payload)
    return (_normalized(message), encoder.unencodable, encoder.lost_attributes)


def encode_official(spans: list[ReadableSpan]) -> list[Any]:
    """Returns the official encoder's message of each span; some cannot be encoded."""
    return [outcome(lambda span=span: _normalized(encode_spans([span]))) for span in spans]
