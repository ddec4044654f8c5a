"""Parses traces in Jaeger's OTLP JSON: into raw spans by service, and into whole traces for display."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_ERROR_CODES = {2, "STATUS_CODE_ERROR"}
_KINDS = dict(enumerate(("", "internal", "server", "client", "producer", "consumer")))


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a span."""

    name: str
    offset_ms: float
    """Relative to the span's start."""
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Span:
    """A span, parsed for display."""

    span_id: str
    parent_id: str
    service: str
    name: str
    kind: str
    start_ns: int
    duration_ms: float
    is_error: bool
    status_message: str
    attributes: Mapping[str, str]
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace: its spans with their depths, parents before their children."""

    trace_id: str
    spans: tuple[tuple[Span, int], ...]

    @property
    def root(self) -> Span:
        """The root span, or the earliest top-level span if the root is missing."""
        return self.spans[0][0]

    @property
    def start_ns(self) -> int:
        """The start of the earliest span."""
        return min(span.start_ns for span, _ in self.spans)

    @property
    def duration_ms(self) -> float:
        """The time from the earliest start to the latest end."""
        ends = (span.start_ns / 1e6 + span.duration_ms for span, _ in self.spans)
        return max(ends) - self.start_ns / 1e6

    @property
    def services(self) -> tuple[str, ...]:
        """The names of the services, in the order of their first span."""
        return tuple(dict.fromkeys(span.service for span, _ in self.spans))

    @property
    def errors(self) -> int:
        """The number of failed spans."""
        return sum(span.is_error for span, _ in self.spans)


def spans_by_service(answer: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Returns the raw spans of a response by service name; a service may have none.

    Jaeger drops one of two equal spans, but keeps its resource and scope.
    """
    spans: dict[str, list[dict[str, Any]]] = {}
    for service, raw in _spans_by_resource(answer):
        spans.setdefault(service, []).extend(raw)
    return spans


def traces_of(answer: Mapping[str, Any]) -> list[Trace]:
    """Parses all traces in a response: one OTLP message, in which zero or empty fields are left out."""
    spans: dict[str, list[Span]] = {}
    for service, raw in _spans_by_resource(answer):
        for each in raw:
            spans.setdefault(each["traceId"], []).append(_span(each, service))
    return [Trace(trace_id, _nested(found)) for trace_id, found in spans.items()]


def _spans_by_resource(answer: Mapping[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yields the service name and the raw spans of each resource."""
    for resource in answer.get("result", {}).get("resourceSpans", ()):
        service = _attributes(resource.get("resource", {}).get("attributes", ())).get("service.name", "?")
        yield service, [raw for scope in resource.get("scopeSpans", ()) for raw in scope.get("spans", ())]


def _span(raw: Mapping[str, Any], service: str) -> Span:
    start, end = int(raw.get("startTimeUnixNano", 0)), int(raw.get("endTimeUnixNano", 0))
    kind = raw.get("kind", 0)
    status = raw.get("status", {})
    return Span(
        span_id=raw["spanId"],
        parent_id=raw.get("parentSpanId", ""),
        service=service,
        name=raw.get("name", ""),
        kind=_KINDS.get(kind, str(kind).removeprefix("SPAN_KIND_").lower()),
        start_ns=start,
        duration_ms=(end - start) / 1e6,
        is_error=status.get("code") in _ERROR_CODES,
        status_message=status.get("message", ""),
        attributes=_attributes(raw.get("attributes", ())),
        events=tuple(
            Event(
                each.get("name", ""),
                (int(each.get("timeUnixNano", 0)) - start) / 1e6,
                _attributes(each.get("attributes", ())),
            )
            for each in raw.get("events", ())
        ),
    )


def _nested(spans: list[Span]) -> tuple[tuple[Span, int], ...]:
    """Orders spans: parents before children, siblings by start; a span without its parent is top-level."""
    ids = {span.span_id for span in spans}
    children: dict[str, list[Span]] = {}
    for span in sorted(spans, key=lambda span: span.start_ns):
        parent = span.parent_id if span.parent_id in ids and span.parent_id != span.span_id else ""
        children.setdefault(parent, []).append(span)
    ordered: list[tuple[Span, int]] = []
    # Not recursive: a trace may be deeper than Python's stack.
    left = [(span, 0) for span in reversed(children.pop("", []))]
    while left:
        span, depth = left.pop()
        ordered.append((span, depth))
        left += [(child, depth + 1) for child in reversed(children.pop(span.span_id, []))]
    # Spans in a parent cycle belong to no tree.
    ordered += [(span, 0) for circle in children.values() for span in circle]
    return tuple(ordered)


def _attributes(pairs: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    return {pair["key"]: _text(pair.get("value", {})) for pair in pairs}


def _text(value: Mapping[str, Any]) -> str:
    for kind, content in value.items():
        match kind:
            case "arrayValue":
                return ", ".join(_text(each) for each in content.get("values", ()))
            case "kvlistValue":
                pairs = _attributes(content.get("values", ()))
                return ", ".join(f"{key}={text}" for key, text in pairs.items())
            case "boolValue":
                return str(content).lower()
            case _:
                return str(content)
    return ""
