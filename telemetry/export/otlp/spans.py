"""Encodes spans as OTLP bytes directly (opentelemetry-proto, `trace/v1/trace.proto`).

Repeated data is encoded once: attributes by key and value, names with their kind, resources and scopes. Bad
data costs at most its own span: an attribute that OTLP cannot represent is omitted and counted in the span's
own `dropped_attributes_count`, invalid Unicode characters are replaced, and a span that cannot be encoded at
all is counted and omitted. Instances of subclasses are never cached.

An encoder belongs to one thread.
"""

import reprlib
import struct
import traceback
from collections.abc import Sequence
from typing import Any, TypeVar

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceState

from . import field_numbers as numbers
from . import reading
from .attributes import LONGEST_CACHED, MOST_CACHED, AttributeEncoder
from .split import Batch
from .values import encode_text
from .wire import FIXED32, FIXED64, LENGTH_DELIMITED, VARINT, delimited, tag, varint

# The bytes that precede each field, built once.
_IDENTIFIER_BYTES, _TRACE_IDENTIFIER_BYTES = varint(8), varint(16)
_TRACE_ID = tag(numbers.SPAN_TRACE_ID, LENGTH_DELIMITED) + _TRACE_IDENTIFIER_BYTES
_SPAN_ID = tag(numbers.SPAN_SPAN_ID, LENGTH_DELIMITED) + _IDENTIFIER_BYTES
_PARENT_ID = tag(numbers.SPAN_PARENT_SPAN_ID, LENGTH_DELIMITED) + _IDENTIFIER_BYTES
_START_TIME, _END_TIME = (
    tag(number, FIXED64)[0] for number in (numbers.SPAN_START_TIME_UNIX_NANO, numbers.SPAN_END_TIME_UNIX_NANO)
)
_DROPPED_ATTRIBUTES = tag(numbers.SPAN_DROPPED_ATTRIBUTES_COUNT, VARINT)
_DROPPED_EVENTS = tag(numbers.SPAN_DROPPED_EVENTS_COUNT, VARINT)
_DROPPED_LINKS = tag(numbers.SPAN_DROPPED_LINKS_COUNT, VARINT)
_FLAGS = tag(numbers.SPAN_FLAGS, FIXED32)
_KINDS = {kind: tag(numbers.SPAN_KIND, VARINT) + varint(kind.value + 1) for kind in SpanKind}
_NO_STATUS = delimited(numbers.SPAN_STATUS, b"")  # the official encoder writes it empty
_STATUS_CODE = tag(numbers.STATUS_CODE, VARINT)
_EVENT_TIME = tag(numbers.EVENT_TIME_UNIX_NANO, FIXED64)[0]
_EVENT_ATTRIBUTE = tag(numbers.EVENT_ATTRIBUTES, LENGTH_DELIMITED)
_EVENT_DROPPED_ATTRIBUTES = tag(numbers.EVENT_DROPPED_ATTRIBUTES_COUNT, VARINT)
_LINK_TRACE_ID = tag(numbers.LINK_TRACE_ID, LENGTH_DELIMITED) + _TRACE_IDENTIFIER_BYTES
_LINK_SPAN_ID = tag(numbers.LINK_SPAN_ID, LENGTH_DELIMITED) + _IDENTIFIER_BYTES
_LINK_ATTRIBUTE = tag(numbers.LINK_ATTRIBUTES, LENGTH_DELIMITED)
_LINK_DROPPED_ATTRIBUTES = tag(numbers.LINK_DROPPED_ATTRIBUTES_COUNT, VARINT)
_LINK_FLAGS = tag(numbers.LINK_FLAGS, FIXED32)
_SPAN = tag(numbers.SCOPE_SPANS_SPANS, LENGTH_DELIMITED)
_MOST_HEADS = 1_024
_SPAN_HEADS = [_SPAN + varint(size) for size in range(_MOST_HEADS)]
_RESOURCE_ATTRIBUTE = tag(numbers.RESOURCE_ATTRIBUTES, LENGTH_DELIMITED)
_SCOPE_ATTRIBUTE = tag(numbers.SCOPE_ATTRIBUTES, LENGTH_DELIMITED)

_PACK_TIMES = struct.Struct("<BQBQ").pack
_PACK_EVENT_TIME = struct.Struct("<BQ").pack
_PACK_FLAGS = struct.Struct("<I").pack
_HAS_IS_REMOTE, _IS_REMOTE = 0x100, 0x200
_LOCAL_PARENT = _FLAGS + _PACK_FLAGS(_HAS_IS_REMOTE)
_REMOTE_PARENT = _FLAGS + _PACK_FLAGS(_HAS_IS_REMOTE | _IS_REMOTE)
_LOCAL_LINK = _LINK_FLAGS + _PACK_FLAGS(_HAS_IS_REMOTE)
_REMOTE_LINK = _LINK_FLAGS + _PACK_FLAGS(_HAS_IS_REMOTE | _IS_REMOTE)

_NO_TRACE_STATE = SpanContext(1, 1, is_remote=False).trace_state
"""The instance shared by all contexts without a trace state."""
_NO_RESOURCE = Resource({})
_NAMES = reprlib.Repr()
"""Shortens names, and survives a `__repr__` that raises."""
_NAMES.maxstring = 100


class Encoder:
    """An encoder of spans to OTLP. For use by one thread.

    After `encode()`, `unencodable` and `lost_attributes` count the spans and attributes omitted so far, and
    `latest_unencodable` names the last such span.
    """

    def __init__(self) -> None:
        self.unencodable = 0
        """The number of spans that could not be encoded."""
        self.latest_unencodable = ""
        """The last of them and the reason, for logging."""
        self._attributes = AttributeEncoder()
        # Most spans share these: a trace's spans share its state, and so do all traces the sampler began.
        self._latest_state = _NO_TRACE_STATE
        self._latest_state_bytes = b""
        self._latest_status = Status(StatusCode.UNSET)
        self._latest_status_bytes = _NO_STATUS
        self._names: dict[str, tuple[SpanKind, bytes]] = {}
        # Keyed by id, as hashing a resource builds its JSON; the reference prevents reuse of the id.
        self._resources: dict[int, tuple[Resource, bytes]] = {}
        self._scopes: dict[int, tuple[InstrumentationScope | None, bytes]] = {}

    @property
    def lost_attributes(self) -> int:
        """The number of attributes that OTLP cannot represent."""
        return self._attributes.lost

    def encode(self, spans: Sequence[ReadableSpan]) -> Batch:
        """Encodes spans as one request, in order within each resource and scope.

        A span that cannot be encoded is omitted; the batch's `spans` is the number of those included.
        """
        # Keyed by the encoded resource and scope, so that equal but distinct objects share a group.
        groups: dict[bytes, dict[bytes, list[bytes]]] = {}
        group: list[bytes] = []
        of_resource, of_scope = _NO_RESOURCE, None
        count = 0
        for span in spans:
            try:
                found = reading.read(span)
                encoded = self._encode_span(found)
                if found[0] is not of_resource or found[1] is not of_scope:
                    of_resource, of_scope = found[0], found[1]
                    scopes = groups.setdefault(self._resource(of_resource), {})
                    group = scopes.setdefault(self._scope(of_scope), [])
            except Exception as error:  # noqa: BLE001 - a bad span must not affect the others
                self.unencodable += 1
                why = traceback.format_exception_only(error)[-1].strip()
                self.latest_unencodable = f"{_NAMES.repr(getattr(span, 'name', None))} ({why})"
                continue
            count += 1
            group.append(encoded)
        return Batch(
            b"".join(
                delimited(
                    numbers.REQUEST_RESOURCE_SPANS,
                    resource_bytes
                    + b"".join(
                        delimited(numbers.RESOURCE_SPANS_SCOPE_SPANS, scope_bytes + b"".join(written))
                        for scope_bytes, written in scopes.items()
                    ),
                )
                for resource_bytes, scopes in groups.items()
            ),
            count,
        )

    def _encode_span(self, found: reading.Found) -> bytes:
        """Encodes a span's fields as an entry of `ScopeSpans.spans`, including tag and length."""
        _, _, context, parent, name, kind, start_time, end_time, status, attributes, lost, events, links = (
            found
        )
        trace_id, span_id, _, _, trace_state, _ = context
        if type(name) is not str:
            name = _name(name)
        known = self._names.get(name)
        parts = [
            _TRACE_ID,
            trace_id.to_bytes(16),
            _SPAN_ID,
            span_id.to_bytes(8),
            known[1] if known is not None and known[0] is kind else self._encode_name(name, kind),
            _PACK_TIMES(_START_TIME, start_time, _END_TIME, end_time),
        ]
        if trace_state is not _NO_TRACE_STATE and trace_state:
            parts.append(
                self._latest_state_bytes
                if trace_state is self._latest_state
                else self._encode_state(trace_state)
            )
        if attributes:
            lost += self._attributes.append(parts, attributes)
        if lost:
            parts.append(_DROPPED_ATTRIBUTES + varint(lost))
        if events is not None or links is not None:
            self._append_events_and_links(parts, events, links)
        parts.append(
            self._latest_status_bytes if status is self._latest_status else self._encode_status(status)
        )
        parts.append(_LOCAL_PARENT if parent is None else _append_parent(parts, parent))
        body = b"".join(parts)
        size = len(body)
        return (_SPAN_HEADS[size] if size < _MOST_HEADS else _SPAN + varint(size)) + body

    def _append_events_and_links(self, parts: list[bytes], events: Any, links: Any) -> None:
        if events is not None:
            parts.extend(self._encode_event(event) for event in events._dq)
            if events.dropped:
                parts.append(_DROPPED_EVENTS + varint(events.dropped))
        if links is not None:
            parts.extend(self._encode_link(link) for link in links._dq)
            if links.dropped:
                parts.append(_DROPPED_LINKS + varint(links.dropped))

    def _encode_status(self, status: Status) -> bytes:
        encoded = self._latest_status_bytes = _encode_status(status)
        self._latest_status = status
        return encoded

    def _encode_state(self, trace_state: TraceState) -> bytes:
        encoded = self._latest_state_bytes = delimited(
            numbers.SPAN_TRACE_STATE, encode_text(trace_state.to_header())
        )
        self._latest_state = trace_state
        return encoded

    def _encode_name(self, name: str, kind: SpanKind) -> bytes:
        """Encodes name and kind. Caches only the latest kind of each name, as hashing an enum is slow."""
        encoded = delimited(numbers.SPAN_NAME, encode_text(name)) + _KINDS[kind]
        _keep(self._names, name, (kind, encoded), len(encoded))
        return encoded

    def _encode_event(self, event: Event) -> bytes:
        name = event.name if type(event.name) is str else _name(event.name)
        parts = [
            _PACK_EVENT_TIME(_EVENT_TIME, event.timestamp),
            delimited(numbers.EVENT_NAME, encode_text(name)),
        ]
        lost = self._attributes.append(parts, event.attributes, _EVENT_ATTRIBUTE) + event.dropped_attributes
        if lost:
            parts.append(_EVENT_DROPPED_ATTRIBUTES + varint(lost))
        return delimited(numbers.SPAN_EVENTS, b"".join(parts))

    def _encode_link(self, link: Link) -> bytes:
        context = link.context
        parts = [
            _LINK_TRACE_ID,
            context.trace_id.to_bytes(16, "big"),
            _LINK_SPAN_ID,
            context.span_id.to_bytes(8, "big"),
        ]
        lost = self._attributes.append(parts, link.attributes, _LINK_ATTRIBUTE) + link.dropped_attributes
        if lost:
            parts.append(_LINK_DROPPED_ATTRIBUTES + varint(lost))
        parts.append(_REMOTE_LINK if context.is_remote else _LOCAL_LINK)
        return delimited(numbers.SPAN_LINKS, b"".join(parts))

    def _resource(self, resource: Resource) -> bytes:
        """Encodes `ResourceSpans` without its spans."""
        known = self._resources.get(id(resource))
        if known is None:
            parts: list[bytes] = []
            self._attributes.append(parts, resource.attributes, _RESOURCE_ATTRIBUTE)
            written = delimited(numbers.RESOURCE_SPANS_RESOURCE, b"".join(parts))
            known = (resource, written + _schema_url(resource))
            _keep(self._resources, id(resource), known, 0)
        return known[1]

    def _scope(self, scope: InstrumentationScope | None) -> bytes:
        """Encodes `ScopeSpans` without its spans."""
        known = self._scopes.get(id(scope))
        if known is None:
            parts: list[bytes] = []
            if scope is not None:
                if scope.name:
                    parts.append(delimited(numbers.SCOPE_NAME, encode_text(scope.name)))
                if scope.version:
                    parts.append(delimited(numbers.SCOPE_VERSION, encode_text(scope.version)))
                self._attributes.append(parts, scope.attributes, _SCOPE_ATTRIBUTE)
            written = delimited(numbers.SCOPE_SPANS_SCOPE, b"".join(parts))
            known = (scope, written + _schema_url(scope))
            _keep(self._scopes, id(scope), known, 0)
        return known[1]


_Key = TypeVar("_Key")
_Kept = TypeVar("_Kept")


def _keep(cache: dict[_Key, _Kept], key: _Key, encoded: _Kept, length: int) -> None:
    if length > LONGEST_CACHED:
        return
    if len(cache) >= MOST_CACHED:
        cache.clear()
    cache[key] = encoded


def _append_parent(parts: list[bytes], parent: SpanContext) -> bytes:
    """Appends the parent's id; returns the flags that show whether it is remote."""
    _, parent_id, is_remote, _, _, _ = parent
    parts += (_PARENT_ID, parent_id.to_bytes(8))
    return _REMOTE_PARENT if is_remote else _LOCAL_PARENT


def _schema_url(owner: Resource | InstrumentationScope | None) -> bytes:
    return (
        b""
        if owner is None or not owner.schema_url
        else delimited(numbers.SCHEMA_URL, encode_text(owner.schema_url))
    )


def _encode_status(status: Status) -> bytes:
    code, description = status.status_code, status.description
    if code is StatusCode.UNSET and not description:
        return _NO_STATUS
    message = b"" if not description else delimited(numbers.STATUS_MESSAGE, encode_text(description))
    return delimited(
        numbers.SPAN_STATUS, message + (_STATUS_CODE + varint(code.value) if code.value else b"")
    )


def _name(given: object) -> str:
    """Returns the text of a `str` subclass, or the type of anything else: the span is worth keeping."""
    return str.__str__(given) if isinstance(given, str) else f"<{type(given).__name__}>"
