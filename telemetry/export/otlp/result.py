"""The result of one attempt to send a batch, whatever the transport."""

from dataclasses import dataclass, replace
from enum import Enum, auto

LARGEST_REQUEST_BYTES = 64 * 2**20
"""A larger request is never sent (OTLP specification)."""
CLOSED = "closed"
"""The kind of an attempt on a transport that was closed meanwhile."""
NO_OTLP = "no_otlp"
"""The kind of an accepted export whose answer suggests that it did not reach a Collector."""


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
    is_answered: bool = True
    """Whether the server answered, as far as the transport can tell."""
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
    return ExportResult(Disposition.RETRYABLE, kind, detail, is_answered=False)


def from_request_size(payload: bytes) -> ExportResult | None:
    """Returns the result of a request that is too large for any server; None if it may be sent."""
    if len(payload) <= LARGEST_REQUEST_BYTES:
        return None
    return ExportResult(Disposition.TOO_LARGE, "request_too_large", "a request over 64 MiB is never sent")
