"""From what the Collector answered to what becomes of the batch (OTLP specification, "Failures")."""

from dataclasses import dataclass
from enum import Enum, auto

import grpc


class Fate(Enum):
    """What becomes of a batch after one attempt."""

    DELIVERED = auto()
    RETRY = auto()
    """To be sent again; the Collector is not well."""
    THROTTLE = auto()
    """To be sent again, but the Collector is well: it only asks for patience."""
    SPLIT = auto()
    """Too large as it is: to be sent in halves."""
    POISON = auto()
    """Never to be sent again."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One attempt's result."""

    fate: Fate
    kind: str = ""
    """A bounded name for metrics (`unavailable`, `http_503`)."""
    detail: str = ""
    """For people; of a delivered batch, what the Collector had to say."""
    retry_after_seconds: float | None = None
    """The wait that was asked for, `LONGEST_WAIT_SECONDS` at most; None for the usual back-off."""
    rejected: int = 0
    """Spans of a delivered batch that the Collector did not take (partial success)."""


LONGEST_WAIT_SECONDS = 3_600.0
"""However long a server asks for: a mistyped year must not end telemetry until the next restart."""

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
GRPC_SERVER_LIMIT_BYTES = 4 * 2**20
"""What gRPC servers take if nobody told them otherwise."""
_TOO_LARGE_FOR_GRPC = "larger than max"
_SAID_BY_THE_CLIENT = "CLIENT: "
"""gRPC's own library on this side, of an answer over the limit."""
_TOO_LARGE_UNPACKED = "Decompressed message larger than max"
"""The same library's words on either side: of an answer, unless the request is over a server's limit."""
_TOO_LARGE_FOR_HTTP = "request body too large"
"""The Collector's words with status 400 (confighttp)."""
_CONTENT_TOO_LARGE, _TOO_MANY_REQUESTS = 413, 429
_RETRYABLE_HTTP_STATUSES = frozenset({502, 503, 504})


def from_grpc(
    code: grpc.StatusCode, detail: str, *, retry_after_seconds: float | None, payload_bytes: int
) -> Outcome:
    """Classifies a gRPC status other than OK.

    Args:
        code: the status.
        detail: its message.
        retry_after_seconds: of RetryInfo; 0 means the usual back-off, None that there was none.
        payload_bytes: how large the request was.
    """
    kind, text = code.name.lower(), f"{code.name}: {detail}"
    if code in _RETRYABLE_GRPC_CODES:
        return Outcome(Fate.RETRY, kind, text, _bounded(retry_after_seconds))
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        is_small = payload_bytes <= GRPC_SERVER_LIMIT_BYTES
        if _SAID_BY_THE_CLIENT in detail or (_TOO_LARGE_UNPACKED in detail and is_small):
            return Outcome(Fate.POISON, "answer_too_large", text)
        if retry_after_seconds is not None:
            return Outcome(Fate.THROTTLE, kind, text, _bounded(retry_after_seconds))
        if _TOO_LARGE_FOR_GRPC in detail or not is_small:
            return Outcome(Fate.SPLIT, kind, text)
    return Outcome(Fate.POISON, kind, text)


def from_http(
    status: int, detail: str, *, retry_after_seconds: float | None = None, location: str | None = None
) -> Outcome:
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
        return Outcome(Fate.THROTTLE, kind, text, _bounded(retry_after_seconds))
    if status in _RETRYABLE_HTTP_STATUSES:
        return Outcome(Fate.RETRY, kind, text, _bounded(retry_after_seconds))
    if status == _CONTENT_TOO_LARGE or _TOO_LARGE_FOR_HTTP in detail:
        return Outcome(Fate.SPLIT, kind, text)
    return Outcome(Fate.POISON, kind, text)


def _bounded(seconds: float | None) -> float | None:
    return min(seconds, LONGEST_WAIT_SECONDS) if seconds else None
