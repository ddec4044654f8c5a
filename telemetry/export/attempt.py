"""One attempt to send: a call of the breaker, which learns how it went."""

import logging
import traceback
from dataclasses import dataclass

from opentelemetry.instrumentation.utils import suppress_instrumentation

from .breaker import Permit
from .otlp.response import Disposition, ExportResult, from_request_size, no_answer
from .otlp.transport import Transport

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to send a batch, as whoever observes is told."""

    spans: int
    payload_bytes: int
    """Encoded, before compression."""
    duration_seconds: float
    result: ExportResult
    age_seconds: float
    """From the end of its first span until the answer; of what lay on disk from when it was written there."""


def attempt(transport: Transport, payload: bytes, permit: Permit, timeout_seconds: float) -> ExportResult:
    """Sends once and settles the permit; never raises. For any thread.

    Instrumentations of what the transport uses are suppressed: a traced export makes spans to export.

    Args:
        transport: what sends.
        payload: an encoded export request; too large a one is not sent at all.
        permit: of this attempt alone.
        timeout_seconds: for everything.
    """
    with permit, suppress_instrumentation():
        try:
            result = from_request_size(payload) or transport.send(payload, timeout_seconds)
        except Exception as error:  # noqa: BLE001 - told as the attempt's result
            # Its text may repeat what was to be sent, headers included: only type and place are told.
            kind = type(error).__name__
            logger.debug(
                "the transport raised %s\n%s", kind, "".join(traceback.format_tb(error.__traceback__))
            )
            detail = f"{kind} within the transport"
            result = no_answer("transport_raised", detail)
        if result.disposition is Disposition.DELIVERED:
            permit.success()
        elif result.disposition is Disposition.RETRYABLE:
            permit.failure(retry_after_seconds=result.retry_after_seconds)
        else:
            # The Collector answered: it is there, and is busy, or this request is the trouble.
            permit.ignore()
    return result
