"""Classifies answers: maps a gRPC status or an HTTP response to the disposition of the batch.

Follows the OTLP specification, "Failures" and "Partial Success". The transports deal with bytes and time;
only this module decides whether a batch is retried, sent in halves or dropped.
"""

import http.client
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

PROTOBUF = "application/x-protobuf"
"""The content type of OTLP over HTTP, in both directions."""
LONGEST_RESPONSE_BYTES = 4 * 2**20
"""A longer response is treated as an error (OTLP specification)."""
LARGEST_REQUEST_BYTES = 64 * 2**20
"""A larger request is never sent (OTLP specification)."""
LONGEST_WAIT_SECONDS = 3_600.0
"""The limit on what a server may ask for: a mistyped year must not end telemetry until the next restart."""
NO_OTLP = "no_otlp"
"""The kind of an accepted export whose answer suggests that it did not reach a Collector."""
GRPC_SERVER_LIMIT_BYTES = 4 * 2**20
"""The default message size limit of gRPC servers."""

_RETRYABLE_GRPC_CODES = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
_TOO_LARGE_FOR_GRPC = "larger than max"
_SAID_BY_THE_CLIENT = "CLIENT: "
"""Marks an error of the gRPC library on this side: an answer over the limit."""
_TOO_LARGE_UNPACKED = "Decompressed message larger than max"
"""The same library's text on either side: about an answer, unless the request is over a server's limit."""
_TOO_LARGE_FOR_HTTP = "request body too large"
"""The Collector's message with status 400 (confighttp)."""
_GRPC_DETAILS_KEY = "grpc-status-details-bin"
_MULTIPLE_CHOICES, _BAD_REQUEST, _CONTENT_TOO_LARGE, _TOO_MANY_REQUESTS = 300, 400, 413, 429
_RETRYABLE_HTTP_STATUSES = frozenset({502, 503, 504})
_DETAIL_CHARACTERS = 200


class Disposition(Enum):
    """What happens to a batch after one attempt."""

    DELIVERED = auto()
    RETRYABLE = auto()
    """Retried; the Collector is unhealthy."""
    THROTTLED = auto()
    """Retried, but the Collector is healthy and only asks for patience."""
    TOO_LARGE = auto()
    """Sent in halves."""
    PERMANENT = auto()
    """Never sent again."""


@dataclass(frozen=True, slots=True)
class ExportResult:
    """The result of one attempt."""

    disposition: Disposition
    kind: str = ""
    """A bounded name for metrics (`unavailable`, `http_503`)."""
    detail: str = ""
    """A human-readable explanation; for a delivered batch, the Collector's message."""
    retry_after_seconds: float | None = None
    """The requested wait, at most `LONGEST_WAIT_SECONDS`; None for the usual backoff."""
    rejected: int = 0
    """Spans of a delivered batch that the Collector rejected (partial success)."""

    @property
    def is_retryable(self) -> bool:
        """Whether the batch should be retried unchanged."""
        return self.disposition in {Disposition.RETRYABLE, Disposition.THROTTLED}

    @property
    def is_full_success(self) -> bool:
        """Whether everything was delivered and nothing was rejected."""
        return self.disposition is Disposition.DELIVERED and not self.rejected

    def without_halves(self) -> "ExportResult":
        """Returns the result for a batch that cannot be halved: `TOO_LARGE` becomes `PERMANENT`."""
        if self.disposition is not Disposition.TOO_LARGE:
            return self
        return replace(self, disposition=Disposition.PERMANENT)


def no_answer(kind: str, detail: str) -> ExportResult:
    """Returns the result of an attempt that ended without an answer: the batch is retried."""
    return ExportResult(Disposition.RETRYABLE, kind, detail)


def from_request_size(payload: bytes) -> ExportResult | None:
    """Returns the result of a request that is too large for any server; None if it may be sent."""
    if len(payload) <= LARGEST_REQUEST_BYTES:
        return None
    return ExportResult(Disposition.TOO_LARGE, "request_too_large", "a request over 64 MiB is never sent")


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
        Disposition.DELIVERED, detail=_escaped(partial.error_message), rejected=max(0, partial.rejected_spans)
    )


def from_grpc_error(call: grpc.Call, payload_bytes: int) -> ExportResult:
    """Classifies a call that failed.

    Args:
        call: the failed call.
        payload_bytes: how large the request was.
    """
    return from_grpc(
        call.code(),
        _escaped(call.details() or ""),
        retry_after_seconds=_retry_info_seconds(call),
        payload_bytes=payload_bytes,
    )


def from_grpc(
    code: grpc.StatusCode, detail: str, *, retry_after_seconds: float | None, payload_bytes: int
) -> ExportResult:
    """Classifies a gRPC status other than OK.

    Args:
        code: the status.
        detail: its message.
        retry_after_seconds: from RetryInfo; 0 means the usual backoff, None means that there was none.
        payload_bytes: how large the request was.
    """
    kind, text = code.name.lower(), f"{code.name}: {detail}"
    if code in _RETRYABLE_GRPC_CODES:
        return ExportResult(Disposition.RETRYABLE, kind, text, _bounded(retry_after_seconds))
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        is_small = payload_bytes <= GRPC_SERVER_LIMIT_BYTES
        if _SAID_BY_THE_CLIENT in detail or (_TOO_LARGE_UNPACKED in detail and is_small):
            return ExportResult(Disposition.PERMANENT, "answer_too_large", text)
        if retry_after_seconds is not None:
            return ExportResult(Disposition.THROTTLED, kind, text, _bounded(retry_after_seconds))
        if _TOO_LARGE_FOR_GRPC in detail or not is_small:
            return ExportResult(Disposition.TOO_LARGE, kind, text)
    return ExportResult(Disposition.PERMANENT, kind, text)


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
            return _suspected(f"{_escaped(kind)}, not OTLP")
        return from_accepted(body)
    text = body[:_DETAIL_CHARACTERS].decode(errors="replace").strip()
    location = response.headers.get("Location") if response.status < _BAD_REQUEST else None
    return from_http(
        response.status,
        _escaped(f"{response.reason} {text}".strip()),
        retry_after_seconds=_retry_after_seconds(response.headers.get("Retry-After")),
        location=None if location is None else _escaped(location[:_DETAIL_CHARACTERS]),
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
        return ExportResult(Disposition.THROTTLED, kind, text, _bounded(retry_after_seconds))
    if status in _RETRYABLE_HTTP_STATUSES:
        return ExportResult(Disposition.RETRYABLE, kind, text, _bounded(retry_after_seconds))
    if status == _CONTENT_TOO_LARGE or _TOO_LARGE_FOR_HTTP in detail:
        return ExportResult(Disposition.TOO_LARGE, kind, text)
    return ExportResult(Disposition.PERMANENT, kind, text)


def _suspected(what: str) -> ExportResult:
    """Returns the result of a success status with an answer that a Collector would not give."""
    detail = f"the answer is {what}: is this endpoint a Collector?"
    return ExportResult(Disposition.DELIVERED, NO_OTLP, detail)


def _escaped(text: str) -> str:
    """Returns a server's text as one readable line, with its unprintable characters escaped.

    Otherwise newlines and control sequences could forge log lines or change a terminal.
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def _bounded(seconds: float | None) -> float | None:
    return min(seconds, LONGEST_WAIT_SECONDS) if seconds else None


def _retry_info_seconds(call: grpc.Call) -> float | None:
    """Reads the delay of RetryInfo from the status details in the trailing metadata."""
    metadata: Iterable[tuple[str, Any]] = call.trailing_metadata() or ()
    info = RetryInfo()
    for value in (value for key, value in metadata if key == _GRPC_DETAILS_KEY):
        with suppress(DecodeError):
            for detail in Status.FromString(value).details:
                if detail.Unpack(info):
                    seconds: float = info.retry_delay.seconds + info.retry_delay.nanos / 1e9
                    return max(0.0, seconds)
    return None


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
