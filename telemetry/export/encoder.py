"""Spans to OTLP bytes, written directly (opentelemetry-proto, `trace/v1/trace.proto`).

What repeats is encoded once: attributes by key and value, names by kind, resources and scopes. Whatever a
span holds costs at most that span: an attribute that OTLP cannot carry is left out and counted in the
span's own `dropped_attributes_count`, text that is not Unicode has its bad characters replaced, and a span
that cannot be written at all is counted and left out.

An encoder belongs to one thread.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode

from .wire import delimited, fields, varint

_MOST_CACHED = 4_096
"""Entries of each cache, each of `_LONGEST_CACHED` bytes at most; a full cache is emptied."""
_LONGEST_CACHED = 256
_DEEPEST_VALUE = 32
"""Nesting of a value; a list in itself would never end."""

_PACK_TIMES = struct.Struct("<BQBQ").pack
_PACK_DOUBLE = struct.Struct("<d").pack
_PACK_FLAGS = struct.Struct("<I").pack
_START_TIME_TAG, _END_TIME_TAG, _EVENT_TIME_TAG = 7 << 3 | 1, 8 << 3 | 1, 1 << 3 | 1
_PACK_EVENT_TIME = struct.Struct("<BQ").pack
_HAS_IS_REMOTE, _IS_REMOTE = 0x100, 0x200
_NO_STATUS = b"\x7a\x00"  # the field is there, empty: the official encoder writes it so
_KINDS = {kind: varint(6 << 3) + varint(kind.value + 1) for kind in SpanKind}
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class Batch:
    """An encoded `ExportTraceServiceRequest`."""

    payload: bytes
    spans: int

    def halves(self) -> "tuple[Batch, Batch]":
        """Two batches with half of the spans each, in order.

        Raises:
            ValueError: there is but one span, or the payload is not what this module writes.
        """
        if self.spans < 2:  # noqa: PLR2004 - one has no halves
            raise ValueError(f"a batch of {self.spans} span(s) has no halves")
        middle = self.spans // 2
        first: list[bytes] = []
        second: list[bytes] = []
        seen = 0
        for _, resource_spans, _ in fields(memoryview(self.payload)):
            resource, scopes = _apart(resource_spans, repeated=2)
            for scope_spans in scopes:
                scope, spans = _apart(scope_spans, repeated=2)
                cut = max(0, min(len(spans), middle - seen))
                seen += len(spans)
                for half, part in ((first, spans[:cut]), (second, spans[cut:])):
                    if part:
                        body = scope + b"".join(delimited(2, bytes(span)) for span in part)
                        half.append(delimited(1, resource + delimited(2, body)))
        return Batch(b"".join(first), middle), Batch(b"".join(second), self.spans - middle)


class Encoder:
    """Writes spans as OTLP. For one thread.

    After `encode()`, `unencodable` and `lost_attributes` hold what was left out so far.
    """

    def __init__(self) -> None:
        self.unencodable = 0
        """Spans that could not be written."""
        self.lost_attributes = 0
        """Attributes that OTLP cannot carry."""
        self._text_attributes: dict[tuple[str, str], bytes] = {}
        self._integer_attributes: dict[tuple[str, int], bytes] = {}
        self._names: dict[tuple[str, SpanKind], bytes] = {}
        # By identity, for a resource's hash is its JSON; held, so that no other object gets the same id.
        self._resources: dict[int, tuple[Resource, bytes]] = {}
        self._scopes: dict[int, tuple[InstrumentationScope | None, bytes]] = {}

    def encode(self, spans: Sequence[ReadableSpan]) -> Batch:
        """Encodes spans as one request, in order within each resource and scope.

        A span that cannot be written is left out: `spans` of the batch says how many are in it.
        """
        # By what is written of resource and scope: equal ones share it, whichever objects they are.
        groups: dict[bytes, dict[bytes, list[bytes]]] = {}
        count = 0
        for span in spans:
            try:
                encoded = self._encode_span(span)
                resource, scope = self._resource(span.resource), self._scope(span.instrumentation_scope)
            except Exception:  # noqa: BLE001 - whatever a span holds, its neighbours go on
                self.unencodable += 1
                continue
            count += 1
            groups.setdefault(resource, {}).setdefault(scope, []).append(encoded)
        return Batch(
            b"".join(
                delimited(
                    1,
                    resource
                    + b"".join(delimited(2, scope + b"".join(written)) for scope, written in scopes.items()),
                )
                for resource, scopes in groups.items()
            ),
            count,
        )

    def _encode_span(self, span: ReadableSpan) -> bytes:
        """A span as an entry of `ScopeSpans.spans`, tag and length included."""
        context = cast("SpanContext", span.context)
        parts = [
            b"\x0a\x10",
            context.trace_id.to_bytes(16, "big"),
            b"\x12\x08",
            context.span_id.to_bytes(8, "big"),
        ]
        if context.trace_state:
            parts.append(delimited(3, _text(context.trace_state.to_header())))
        flags = _HAS_IS_REMOTE
        parent = span.parent
        if parent is not None:
            parts += (b"\x22\x08", parent.span_id.to_bytes(8, "big"))
            if parent.is_remote:
                flags |= _IS_REMOTE
        key = (span.name, span.kind)
        name = self._names.get(key)
        if name is None:
            name = delimited(5, _text(span.name)) + _KINDS[span.kind]
            _keep(self._names, key, name, len(span.name))
        parts.append(name)
        parts.append(_PACK_TIMES(_START_TIME_TAG, span.start_time, _END_TIME_TAG, span.end_time))
        lost = self._append_attributes(parts, b"\x4a", span.attributes) + span.dropped_attributes
        if lost:
            parts.append(b"\x50" + varint(lost))
        self._append_children(parts, span)
        parts.append(b"\x85\x01")
        parts.append(_PACK_FLAGS(flags))
        body = b"".join(parts)
        return b"\x12" + varint(len(body)) + body

    def _append_children(self, parts: list[bytes], span: ReadableSpan) -> None:
        parts.extend(self._encode_event(event) for event in span.events)
        if span.dropped_events:
            parts.append(b"\x60" + varint(span.dropped_events))
        parts.extend(self._encode_link(link) for link in span.links)
        if span.dropped_links:
            parts.append(b"\x70" + varint(span.dropped_links))
        status = span.status
        is_plain = status.status_code is StatusCode.UNSET and not status.description
        parts.append(_NO_STATUS if is_plain else _encode_status(status.status_code.value, status.description))

    def _encode_event(self, event: Event) -> bytes:
        parts = [_PACK_EVENT_TIME(_EVENT_TIME_TAG, event.timestamp), delimited(2, _text(event.name))]
        lost = self._append_attributes(parts, b"\x1a", event.attributes) + event.dropped_attributes
        if lost:
            parts.append(b"\x20" + varint(lost))
        return delimited(11, b"".join(parts))

    def _encode_link(self, link: Link) -> bytes:
        context = link.context
        parts = [
            b"\x0a\x10",
            context.trace_id.to_bytes(16, "big"),
            b"\x12\x08",
            context.span_id.to_bytes(8, "big"),
        ]
        lost = self._append_attributes(parts, b"\x22", link.attributes) + link.dropped_attributes
        if lost:
            parts.append(b"\x28" + varint(lost))
        flags = _HAS_IS_REMOTE | (_IS_REMOTE if context.is_remote else 0)
        parts += (b"\x35", _PACK_FLAGS(flags))
        return delimited(13, b"".join(parts))

    def _append_attributes(
        self, parts: list[bytes], field_tag: bytes, attributes: Mapping[str, Any] | None
    ) -> int:
        """Appends each attribute as a field with this tag; returns how many had to be left out."""
        if not attributes:
            return 0
        lost = 0
        texts, integers = self._text_attributes, self._integer_attributes
        for key, value in _plain(attributes).items():
            # Exact types: True, 1 and 1.0 are equal keys and different attributes.
            kind = type(value)
            encoded = (
                texts.get((key, value))
                if kind is str
                else integers.get((key, value))
                if kind is int
                else None
            )
            if encoded is None:
                try:
                    encoded = _encode_key_value(key, value)
                except (TypeError, ValueError, OverflowError, AttributeError, RecursionError):
                    lost += 1
                    continue
                if kind is str:
                    _keep(texts, (key, value), encoded, len(encoded))
                elif kind is int:
                    _keep(integers, (key, value), encoded, len(encoded))
            parts.append(field_tag)
            parts.append(encoded)
        self.lost_attributes += lost
        return lost

    def _resource(self, resource: Resource) -> bytes:
        """`ResourceSpans` without its spans."""
        known = self._resources.get(id(resource))
        if known is None:
            parts: list[bytes] = []
            self._append_attributes(parts, b"\x0a", resource.attributes)
            known = (resource, delimited(1, b"".join(parts)) + _schema_url(resource))
            _keep(self._resources, id(resource), known, 0)
        return known[1]

    def _scope(self, scope: InstrumentationScope | None) -> bytes:
        """`ScopeSpans` without its spans."""
        known = self._scopes.get(id(scope))
        if known is None:
            parts: list[bytes] = []
            if scope is not None:
                if scope.name:
                    parts.append(delimited(1, _text(scope.name)))
                if scope.version:
                    parts.append(delimited(2, _text(scope.version)))
                self._append_attributes(parts, b"\x1a", scope.attributes)
            known = (scope, delimited(1, b"".join(parts)) + _schema_url(scope))
            _keep(self._scopes, id(scope), known, 0)
        return known[1]


_Key = TypeVar("_Key")
_Kept = TypeVar("_Kept")


def _keep(cache: dict[_Key, _Kept], key: _Key, encoded: _Kept, length: int) -> None:
    if length > _LONGEST_CACHED:
        return
    if len(cache) >= _MOST_CACHED:
        cache.clear()
    cache[key] = encoded


def _schema_url(owner: Resource | InstrumentationScope | None) -> bytes:
    return b"" if owner is None or not owner.schema_url else delimited(3, _text(owner.schema_url))


def _encode_status(code: int, description: str | None) -> bytes:
    message = b"" if not description else delimited(2, _text(description))
    return delimited(15, message + (b"\x18" + varint(code) if code else b""))


def _encode_key_value(key: str, value: Any) -> bytes:
    """A `KeyValue` message with its length, without a tag."""
    body = (delimited(1, _text(key)) if key else b"") + delimited(2, _encode_value(value, _DEEPEST_VALUE))
    return varint(len(body)) + body


def _encode_value(value: Any, depth: int) -> bytes:
    """An `AnyValue` message.

    Raises:
        TypeError: OTLP has no such type.
        ValueError: the value is out of its range, or nested too deeply.
    """
    write = _WRITERS.get(type(value))
    if write is not None:
        return write(value, depth)
    for kind, write in _WRITERS.items():
        if isinstance(value, kind):
            return write(value, depth)
    raise TypeError(f"OTLP has no type for {type(value).__name__}")


def _encode_integer(value: int, _: int) -> bytes:
    if value not in _INT64:
        raise ValueError("an integer does not fit into 64 bits")
    return b"\x18" + varint(value & 0xFFFF_FFFF_FFFF_FFFF)


def _encode_list(values: Sequence[Any], depth: int) -> bytes:
    deeper = _one_deeper(depth)
    return delimited(5, b"".join(delimited(1, _encode_value(each, deeper)) for each in values))


def _encode_mapping(values: Mapping[Any, Any], depth: int) -> bytes:
    deeper = _one_deeper(depth)
    pairs = (
        (delimited(1, _text(name)) if name else b"") + delimited(2, _encode_value(each, deeper))
        for name, each in ((str(key), each) for key, each in values.items())
    )
    return delimited(6, b"".join(delimited(1, pair) for pair in pairs))


def _one_deeper(depth: int) -> int:
    if not depth:
        raise ValueError("a value is nested too deeply")
    return depth - 1


_WRITERS: dict[type, Callable[[Any, int], bytes]] = {
    type(None): lambda _, __: b"",
    bool: lambda value, _: b"\x10\x01" if value else b"\x10\x00",
    str: lambda value, _: delimited(1, _text(value)),
    int: _encode_integer,
    float: lambda value, _: b"\x21" + _PACK_DOUBLE(value),
    bytes: lambda value, _: delimited(7, value),
    Sequence: _encode_list,
    Mapping: _encode_mapping,
}


def _plain(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same as a plain dictionary, for the SDK's own mapping is slow to iterate."""
    copy = getattr(attributes, "copy", None)
    return attributes if copy is None else cast("Mapping[str, Any]", copy())


def _text(text: str) -> bytes:
    """UTF-8, as protobuf demands; a lone surrogate becomes a question mark."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace")


def _apart(message: memoryview, *, repeated: int) -> tuple[bytes, list[memoryview]]:
    """A message's other fields, and the contents of a repeated one."""
    others, contents = [], []
    for number, content, whole in fields(message):
        if number == repeated:
            contents.append(content)
        else:
            others.append(whole)
    return b"".join(others), contents
