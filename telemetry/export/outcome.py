"""From what the Collector answered to what becomes of the batch (OTLP specification, "Failures")."""

from dataclasses import dataclass
from enum import Enum, auto

import grpc


class Fate(Enum):
    """What becomes of a batch after one attempt."""

    DELIVERED = auto()
    RETRY = auto()
    THROTTLED = auto()
    """To be tried again, but the Collector is well: it only asks for patience."""
    NOT_RETRYABLE = auto()
    UNENCODABLE = auto()


@dataclass(frozen=True, slots=True)
class Outcome:
    """One attempt's result.

    `kind` is a bounded name for metrics (`unavailable`, `http_503`); `detail` is for people.
    """

    fate: Fate
    kind: str = ""
    detail: str = ""


DELIVERED = Outcome(Fate.DELIVERED)

_PERMANENT_GRPC_CODES = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        # Throttling would come with RetryInfo; alone it is mostly a batch over the server's size limit.
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)
_TOO_MANY_REQUESTS = 429
_RETRYABLE_HTTP_STATUSES = frozenset({502, 503, 504})


def from_grpc(code: grpc.StatusCode, detail: str) -> Outcome:
    """Classifies a gRPC status other than OK."""
    fate = Fate.NOT_RETRYABLE if code in _PERMANENT_GRPC_CODES else Fate.RETRY
    return Outcome(fate, code.name.lower(), f"{code.name}: {detail}")


def from_http(status: int, detail: str) -> Outcome:
    """Classifies an HTTP status of 400 or more."""
    if status == _TOO_MANY_REQUESTS:
        fate = Fate.THROTTLED
    else:
        fate = Fate.RETRY if status in _RETRYABLE_HTTP_STATUSES else Fate.NOT_RETRYABLE
    return Outcome(fate, f"http_{status}", f"HTTP {status}: {detail}")
