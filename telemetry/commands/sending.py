"""Sends batches by hand: one after the other, until they are delivered or nobody takes them."""

import random
import time
from collections.abc import Callable

from ..export.attempt import attempt
from ..export.backoff import Backoff
from ..export.breaker import CircuitBreaker, Rejected
from ..export.otlp.result import Disposition, ExportResult
from ..export.otlp.split import Batch
from ..export.otlp.transport import Transport

_MOST_REFUSALS = 3
"""Batches refused for good, one after the other: the fault is then not theirs."""


class GivenUpError(Exception):
    """The Collector takes nothing; the message says why."""


class HandSender:
    """Sends batches and counts what became of them. For use by one thread.

    Args:
        transport: where they go.
        timeout_seconds: limit for one attempt.
        patience_seconds: how long a batch is tried again before all is given up.
        clock: monotonic seconds.
        sleep: waits for a number of seconds.
        jitter: numbers from 0 to 1.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        timeout_seconds: float,
        patience_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.delivered = self.rejected = 0
        """The numbers of spans that the Collector took, and that it took but rejected."""
        self.refusal: str | None = None
        """Why the latest batch was refused for good."""
        self._transport = transport
        self._timeout_seconds = timeout_seconds
        self._patience_seconds = patience_seconds
        self._clock = clock
        self._sleep = sleep
        self._backoff = Backoff(clock, jitter)
        self._refusals = 0
        # A person decides here when to stop.
        self._breaker = CircuitBreaker()
        self._breaker.disable()

    def send(self, payload: bytes, spans: int) -> bool:
        """Sends a batch; returns False if it was refused, as a whole or in part, and would be again.

        Raises:
            GivenUpError: the Collector cannot be reached, is busy for too long, or refuses everything.
        """
        is_taken = self._send(Batch(payload, spans))
        self._refusals = 0 if is_taken else self._refusals + 1
        if self._refusals >= _MOST_REFUSALS:
            raise GivenUpError(f"it refuses {self._refusals} batches in a row: {self.refusal}")
        return is_taken

    def _send(self, batch: Batch) -> bool:
        result = self._try(batch.payload)
        if result.disposition is Disposition.DELIVERED:
            rejected = min(result.rejected, batch.spans)
            self.rejected += rejected
            self.delivered += batch.spans - rejected
            return True
        if result.disposition is Disposition.TOO_LARGE:
            try:
                first, second = batch.halves()
            except ValueError:  # a single span, or a record of another version
                pass
            else:
                is_first_taken = self._send(first)
                return self._send(second) and is_first_taken
        self.refusal = result.detail or result.kind
        return False

    def _try(self, payload: bytes) -> ExportResult:
        began = self._clock()
        while True:
            permit = self._breaker.acquire()
            if isinstance(permit, Rejected):  # never: it is disabled
                raise GivenUpError("the breaker is open")
            result = attempt(self._transport, payload, permit, self._timeout_seconds)
            if not result.is_retryable:
                self._backoff.succeed()
                return result
            self._backoff.fail(result.retry_after_seconds or 0.0)
            if self._backoff.until - began > self._patience_seconds:
                raise GivenUpError(result.detail or result.kind)
            self._sleep(max(0.0, self._backoff.until - self._clock()))
