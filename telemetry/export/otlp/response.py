"""Classifies answers: maps an HTTP response to the disposition of the batch; for gRPC see `grpc_response.py`.

Follows the OTLP specification, "Failures" and "Partial Success". The transports deal with bytes and time;
only these modules decide whether a batch is retried, sent in halves or dropped.
"""

import http.client
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from .result import NO_OTLP, Disposition, ExportResult

PROTOBUF = "application/x-protobuf"
"""The content type of OTLP over HTTP, in both directions."""
LONGEST_RESPONSE_BYTES = 4 * 2**20
"""A longer response is treated as an error (OTLP specification)."""
LONGEST_WAIT_SECONDS = 3_600.0
"""The limit on what a server may ask for: a mistyped year must not end telemetry until the next restart."""
_TOO_LARGE_FOR_HTTP = "request body too large"
"""The Collector's message with status 400 (confighttp)."""
_MULTIPLE_CHOICES, _BAD_REQUEST, _CONTENT_TOO_LARGE, _TOO_MANY_REQUESTS = 300, 400, 413, 429
_RETRYABLE_HTTP_STATUSES = frozenset({502, 503, 504})
_DETAIL_CHARACTERS = 200


def from_accepted(body: bytes) -> ExportResult:
    """Classifies the body of a successful answer; an empty one is a full success."""
    if not body:
        return ExportResult(Disposition.DELIVERED)
    try:
        answer = ExportTraceServiceResponse.FromString(body)
    except DecodeError:
        return _suspected("not OTLP")
    partial = answer.partial_success
    return ExportResult(
        Disposition.DELIVERED, detail=escaped(partial.error_message), rejected=max(0, partial.rejected_spans)
    )


def from_http_response(response: http.client.HTTPResponse, body: bytes | None) -> ExportResult:
    """Classifies an HTTP response.

    Args:
        response: the response, read to its end.
        body: its body; None for one longer than `LONGEST_RESPONSE_BYTES`.
    """
    if body is None:
        return ExportResult(
            Disposition.PERMANENT,
            "answer_too_large",
            f"an answer of more than {LONGEST_RESPONSE_BYTES} bytes",
        )
    if response.status < _MULTIPLE_CHOICES:
        kind = response.headers.get_content_type()
        if body and kind != PROTOBUF:
            return _suspected(f"{escaped(kind)}, not OTLP")
        return from_accepted(body)
    text = body[:_DETAIL_CHARACTERS].decode(errors="replace").strip()
    location = response.headers.get("Location") if response.status < _BAD_REQUEST else None
    return from_http(
        response.status,
        escaped(f"{response.reason} {text}".strip()),
        retry_after_seconds=_retry_after_seconds(response.headers.get("Retry-After")),
        location=None if location is None else escaped(location[:_DETAIL_CHARACTERS]),
    )


def from_http(
    status: int, detail: str, *, retry_after_seconds: float | None = None, location: str | None = None
) -> ExportResult:
    """Classifies an HTTP status of 300 or more.

    Args:
        status: the status.
        detail: the reason, with the beginning of the answer's body.
        retry_after_seconds: from `Retry-After`.
        location: where a redirect leads; never followed, as a GET would return 200 and lose the spans.
    """
    kind, text = f"http_{status}", f"HTTP {status}: {detail}"
    if location is not None:
        text = f"HTTP {status} redirects to {location}: set the endpoint to where it should go"
    if status == _TOO_MANY_REQUESTS:
        return ExportResult(Disposition.THROTTLED, kind, text, bounded(retry_after_seconds))
    if status in _RETRYABLE_HTTP_STATUSES:
        return ExportResult(Disposition.RETRYABLE, kind, text, bounded(retry_after_seconds))
    if status == _CONTENT_TOO_LARGE or _TOO_LARGE_FOR_HTTP in detail:
        return ExportResult(Disposition.TOO_LARGE, kind, text)
    return ExportResult(Disposition.PERMANENT, kind, text)


def _suspected(what: str) -> ExportResult:
    """Returns the result of a success status with an answer that a Collector would not give."""
    detail = f"the answer is {what}: is this endpoint a Collector?"
    return ExportResult(Disposition.DELIVERED, NO_OTLP, detail)


def escaped(text: str) -> str:
    """Returns a server's text as one readable line, with its unprintable characters escaped.

    Otherwise newlines and control sequences could forge log lines or change a terminal.
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def bounded(seconds: float | None) -> float | None:
    """Returns the wait that a server asks for, at most `LONGEST_WAIT_SECONDS`; None for the usual backoff."""
    return min(seconds, LONGEST_WAIT_SECONDS) if seconds else None


def _retry_after_seconds(value: str | None) -> float | None:
    """Parses `Retry-After` in both forms, seconds and date (RFC 9110, 10.2.3); None if it is invalid."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
        # A date without a zone is in HTTP's oldest format, which means UTC.
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    # A date can only be compared with the wall clock.
    return max(0.0, (at - datetime.now(UTC)).total_seconds())
