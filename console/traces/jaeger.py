"""Jaeger's query API (api/v3, OTLP JSON), and what the page shows of it.

Only the four paths that every Jaeger 2 answers. One that it does not know it answers with its page, and 200.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx

from stack.settings import HOST

_TIMEOUT_SECONDS = 5.0
_ERROR_CODES = {2, "STATUS_CODE_ERROR"}
_KINDS = dict(enumerate(("", "internal", "server", "client", "producer", "consumer")))


class JaegerError(Exception):
    """Jaeger did not answer as it should; the message is for the reader of the page."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a span."""

    name: str
    offset_ms: float
    """From its span's start."""
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Span:
    """A span as the page shows it."""

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
    """A trace: its spans with how deep each stands, parents before their children."""

    trace_id: str
    spans: tuple[tuple[Span, int], ...]

    @property
    def root(self) -> Span:
        """The first span; of a trace whose root is missing, the earliest of what is there."""
        return self.spans[0][0]

    @property
    def start_ns(self) -> int:
        """When the first span began."""
        return min(span.start_ns for span, _ in self.spans)

    @property
    def duration_ms(self) -> float:
        """From the first begin to the last end."""
        ends = (span.start_ns / 1e6 + span.duration_ms for span, _ in self.spans)
        return max(ends) - self.start_ns / 1e6

    @property
    def services(self) -> tuple[str, ...]:
        """In the order in which they are first met."""
        return tuple(dict.fromkeys(span.service for span, _ in self.spans))

    @property
    def errors(self) -> int:
        """How many spans failed."""
        return sum(span.is_error for span, _ in self.spans)


class Jaeger:
    """Asks Jaeger; each call is one request.

    Args:
        port: of its query API on this machine.
    """

    def __init__(self, port: int) -> None:
        self._url = f"http://{HOST}:{port}/api/v3"

    async def services(self) -> list[str]:
        """Names of services that it has spans of.

        Raises:
            JaegerError: it does not answer.
        """
        answer = await self._get("services")
        return sorted(answer.get("services") or ())

    async def operations(self, service: str) -> list[str]:
        """Names of a service's spans.

        Raises:
            JaegerError: it does not answer.
        """
        answer = await self._get("operations", service=service)
        return sorted({each.get("name", "") for each in answer.get("operations") or ()})

    async def search(
        self,
        service: str,
        *,
        operation: str = "",
        at_least_ms: float = 0.0,
        since: datetime,
        until: datetime,
        limit: int,
    ) -> list[Trace]:
        """The latest traces of a service, newest first.

        Raises:
            JaegerError: it does not answer.
        """
        query = {
            "query.service_name": service,
            "query.start_time_min": _rfc3339(since),
            "query.start_time_max": _rfc3339(until),
            "query.num_traces": str(limit),
        }
        if operation:
            query["query.operation_name"] = operation
        if at_least_ms > 0:
            query["query.duration_min"] = f"{at_least_ms:g}ms"
        answer = await self._get("traces", **query)
        found = traces_of(answer)
        return sorted(found, key=lambda trace: trace.start_ns, reverse=True)

    async def trace(self, trace_id: str) -> Trace | None:
        """One trace; None when it is not there.

        Raises:
            JaegerError: it does not answer, or says that this is no trace id.
        """
        found = traces_of(await self._get(f"traces/{quote(trace_id, safe='')}"))
        return found[0] if found else None

    async def _get(self, path: str, **query: str) -> dict[str, Any]:
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=_TIMEOUT_SECONDS) as client:
                answer = await client.get(f"{self._url}/{path}", params=query)
        except httpx.HTTPError as error:
            raise JaegerError(f"Jaeger does not answer ({type(error).__name__})") from error
        if answer.status_code == httpx.codes.NOT_FOUND:
            return {}
        if answer.headers.get("content-type", "").startswith("text/html"):
            raise JaegerError(f"{path} is no API of this Jaeger")
        try:
            body = answer.json()
        except ValueError as error:
            raise JaegerError(f"Jaeger answers {answer.status_code} with no JSON") from error
        if not isinstance(body, dict):
            raise JaegerError(f"Jaeger answers {answer.status_code} with no answer of its API")
        if not answer.is_success:
            raise JaegerError(f"Jaeger answers {answer.status_code}: {_message(body)}")
        return body


def traces_of(answer: Mapping[str, Any]) -> list[Trace]:
    """The traces in an answer, which is one OTLP message for all of them, without what is 0 or empty."""
    spans: dict[str, list[Span]] = {}
    for resource in answer.get("result", {}).get("resourceSpans", ()):
        service = _attributes(resource.get("resource", {}).get("attributes", ())).get("service.name", "?")
        for scope in resource.get("scopeSpans", ()):
            for raw in scope.get("spans", ()):
                spans.setdefault(raw["traceId"], []).append(_span(raw, service))
    return [Trace(trace_id, _nested(found)) for trace_id, found in spans.items()]


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
    """Parents before children, siblings by their start; a span whose parent is missing stands at the top."""
    ids = {span.span_id for span in spans}
    children: dict[str, list[Span]] = {}
    for span in sorted(spans, key=lambda span: span.start_ns):
        parent = span.parent_id if span.parent_id in ids and span.parent_id != span.span_id else ""
        children.setdefault(parent, []).append(span)
    ordered: list[tuple[Span, int]] = []
    # Without recursion: a trace may be deeper than Python's stack.
    left = [(span, 0) for span in reversed(children.pop("", []))]
    while left:
        span, depth = left.pop()
        ordered.append((span, depth))
        left += [(child, depth + 1) for child in reversed(children.pop(span.span_id, []))]
    # Parents that are one another's children are in no tree.
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


def _message(body: Mapping[str, Any]) -> str:
    error = body.get("error", body)
    return str(error.get("message", error) if isinstance(error, dict) else error)[:200]


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
