"""What an answer means: from a gRPC status or an HTTP response to what becomes of the batch.

Rules of the OTLP specification, "Failures" and "Partial Success". The transports read bytes and time; whether
a batch is sent again, sent in halves or given up is decided here alone.
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
"""More is no answer but a fault (OTLP specification)."""
LARGEST_REQUEST_BYTES = 64 * 2**20
"""No more is ever sent at once (OTLP specification)."""
LONGEST_WAIT_SECONDS = 3_600.0
"""However long a server asks for: a mistyped year must not end telemetry until the next restart."""
NO_OTLP = "no_otlp"
"""The kind of an accepted export whose answer suggests that no Collector took it."""
GRPC_SERVER_LIMIT_BYTES = 4 * 2**20
"""What gRPC servers take by default."""

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
"""gRPC's own library on this side, of an answer over the limit."""
_TOO_LARGE_UNPACKED = "Decompressed message larger than max"
"""The same library's words on either side: of an answer, unless the request is over a server's limit."""
_TOO_LARGE_FOR_HTTP = "request body too large"
"""The Collector's words with status 400 (confighttp)."""
_GRPC_DETAILS_KEY = "grpc-status-details-bin"
_MULTIPLE_CHOICES, _BAD_REQUEST, _CONTENT_TOO_LARGE, _TOO_MANY_REQUESTS = 300, 400, 413, 429
_RETRYABLE_HTTP_STATUSES = frozenset({502, 503, 504})
_DETAIL_CHARACTERS = 200


class Disposition(Enum):
    """What becomes of a batch after one attempt."""

    DELIVERED = auto()
    RETRYABLE = auto()
    """To be sent again; the Collector is not well."""
    THROTTLED = auto()
    """To be sent again, but the Collector is well: it only asks for patience."""
    TOO_LARGE = auto()
    """To be sent in halves."""
    PERMANENT = auto()
    """Never to be sent again."""


@dataclass(frozen=True, slots=True)
class ExportResult:
    """The result of one attempt."""

    disposition: Disposition
    kind: str = ""
    """A bounded name for metrics (`unavailable`, `http_503`)."""
    detail: str = ""
    """For people; of a delivered batch, what the Collector had to say."""
    retry_after_seconds: float | None = None
    """The wait that was asked for, `LONGEST_WAIT_SECONDS` at most; None for the usual back-off."""
    rejected: int = 0
    """Spans of a delivered batch that the Collector did not take (partial success)."""

    @property
    def is_retryable(self) -> bool:
        """Whether the batch is to be sent again as it is."""
        return self.disposition in {Disposition.RETRYABLE, Disposition.THROTTLED}

    @property
    def is_full_success(self) -> bool:
        """Whether everything was delivered and nothing of it rejected."""
        return self.disposition is Disposition.DELIVERED and not self.rejected

    def without_halves(self) -> "ExportResult":
        """The same for a batch that cannot be halved: too large is permanent then."""
        if self.disposition is not Disposition.TOO_LARGE:
            return self
        return replace(self, disposition=Disposition.PERMANENT)


def no_answer(kind: str, detail: str) -> ExportResult:
    """The result of an attempt that ended without an answer: the batch is sent again."""
    return ExportResult(Disposition.RETRYABLE, kind, detail)


def from_request_size(payload: bytes) -> ExportResult | None:
    """The result of a request that is too large for any server; None for one that may be sent."""
    if len(payload) <= LARGEST_REQUEST_BYTES:
        return None
    return ExportResult(Disposition.TOO_LARGE, "request_too_large", "a request over 64 MiB is never sent")


def from_accepted(body: bytes) -> ExportResult:
    """Reads the body that came with success; an empty one is a full success."""
    if not body:
        return ExportResult(Disposition.DELIVERED)
    try:
        answer = ExportTraceServiceResponse.FromString(body)
    except DecodeError:
        return _suspected("no OTLP")
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
        retry_after_seconds: of RetryInfo; 0 means the usual back-off, None that there was none.
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
            return _suspected(f"{_escaped(kind)}, no OTLP")
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
        retry_after_seconds: of `Retry-After`.
        location: of a redirect, which is never followed: as a GET it would answer 200, and the spans be lost.
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
    """Success by its status, from something that a Collector would not answer."""
    detail = f"the answer is {what}: is this endpoint a Collector?"
    return ExportResult(Disposition.DELIVERED, NO_OTLP, detail)


def _escaped(text: str) -> str:
    """A server's text as one line for people: what would not be printed as itself is shown escaped.

    Ends of lines and control sequences could else forge lines of a log, or change a terminal.
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def _bounded(seconds: float | None) -> float | None:
    return min(seconds, LONGEST_WAIT_SECONDS) if seconds else None


def _retry_info_seconds(call: grpc.Call) -> float | None:
    """RetryInfo, as servers send it: within the status details of the trailing metadata."""
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
    """`Retry-After` in both its forms, seconds and a date (RFC 9110, 10.2.3); None for nonsense."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
        # Without a zone it is of HTTP's oldest form, which means UTC.
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    # A date is the one thing that only the wall clock can be asked about.
    return max(0.0, (at - datetime.now(UTC)).total_seconds())
