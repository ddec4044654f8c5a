"""One attempt to send a batch; the circuit breaker records its result."""

import logging
import traceback
from dataclasses import dataclass

from opentelemetry.instrumentation.utils import suppress_instrumentation

from .breaker import ConnectionCheck, Permit
from .otlp.result import CLOSED, Disposition, ExportResult, from_request_size, no_answer
from .otlp.transport import Transport

logger = logging.getLogger(__name__)

_CONNECT_SECONDS = 2.0
"""The limit of a connection check: it survives one lost SYN."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to send a batch, as passed to `on_attempt`."""

    spans: int
    payload_bytes: int
    """Encoded size, before compression."""
    duration_seconds: float
    result: ExportResult
    age_seconds: float
    """From the end of its first span (or its write to disk, if read from the spool) until the answer."""


def attempt(transport: Transport, payload: bytes, permit: Permit, timeout_seconds: float) -> ExportResult:
    """Sends once and reports the result to the permit; never raises. Thread-safe.

    Suppresses instrumentation within the transport: a traced export would create more spans to export.

    Args:
        transport: sends the payload.
        payload: an encoded export request; if it is too large, it is not sent at all.
        permit: used for this attempt only.
        timeout_seconds: limit for the whole attempt.
    """
    with permit, suppress_instrumentation():
        try:
            result = from_request_size(payload) or transport.send(payload, timeout_seconds)
        except Exception as error:  # noqa: BLE001 - reported as the attempt's result
            # The message may repeat request data, including headers: only type and location are logged.
            kind = type(error).__name__
            logger.debug(
                "the transport raised %s\n%s", kind, "".join(traceback.format_tb(error.__traceback__))
            )
            detail = f"{kind} raised in the transport"
            result = no_answer("transport_raised", detail)
        if result.disposition is Disposition.DELIVERED:
            permit.success()
        elif result.disposition is Disposition.RETRYABLE:
            permit.failure(retry_after_seconds=result.retry_after_seconds, is_answered=result.is_answered)
        else:
            # The Collector answered, so it is up: it is busy, or this request is at fault.
            permit.ignore()
    return result


def check_connection(transport: Transport, check: ConnectionCheck) -> None:
    """Connects once without sending anything, and reports to the check; never raises. Thread-safe.

    Args:
        transport: connects.
        check: used for this attempt only.
    """
    failure = None
    with suppress_instrumentation():
        try:
            failure = transport.connect_only(_CONNECT_SECONDS)
        except Exception as error:  # noqa: BLE001 - a call will tell what is wrong
            logger.debug("the transport raised %s instead of connecting", type(error).__name__)
    if failure is None or failure.kind != CLOSED:  # a transport that was closed says nothing of the server
        check.settle(is_reachable=failure is None)
