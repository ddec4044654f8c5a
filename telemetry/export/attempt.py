"""One attempt to send: a call of the breaker, which learns how it went."""

import logging
import traceback

from opentelemetry.instrumentation.utils import suppress_instrumentation

from .breaker import Permit
from .otlp.response import Fate, Outcome
from .otlp.transport import Transport

logger = logging.getLogger(__name__)

_LARGEST_REQUEST_BYTES = 64 * 2**20
"""No more is ever sent at once (OTLP specification)."""


def attempt(transport: Transport, payload: bytes, permit: Permit, timeout_seconds: float) -> Outcome:
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
            outcome = (
                transport.send(payload, timeout_seconds)
                if len(payload) <= _LARGEST_REQUEST_BYTES
                else Outcome(Fate.SPLIT, "request_too_large", "a request over 64 MiB is never sent")
            )
        except Exception as error:  # noqa: BLE001 - told as the attempt's outcome
            # Its text may repeat what was to be sent, headers included: only type and place are told.
            kind = type(error).__name__
            logger.debug(
                "the transport raised %s\n%s", kind, "".join(traceback.format_tb(error.__traceback__))
            )
            outcome = Outcome(Fate.RETRY, "transport_raised", f"{kind} within the transport")
        if outcome.fate is Fate.DELIVERED:
            permit.success()
        elif outcome.fate is Fate.RETRY:
            permit.failure(retry_after_seconds=outcome.retry_after_seconds)
        else:
            # The Collector answered: it is there, and is busy, or this request is the trouble.
            permit.ignore()
    return outcome
