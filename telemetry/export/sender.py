"""The sender: takes batches from the SDK's worker and brings them past the breaker to the Collector.

Threads: `export()` runs on the worker (or, while flushing, on the flusher; the SDK lets in one at a
time). `stop()`, `abandon()` and the readings may be called from any thread.

An open breaker does not discard: the worker waits with its batch, the SDK's queue fills behind it up
to its bound, and the batch that waits is the probe, so the breaker closes without new traffic.
"""

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from .breaker import CircuitBreaker, Permit, Rejected
from .ledger import DropReason, Ledger
from .otlp import Transport, is_encodable
from .outcome import Fate, Outcome

logger = logging.getLogger(__name__)

FLUSHER_NAME = "telemetry-flush"
"""The thread that flushes beside the worker; it comes and goes."""
_FIRST_BACKOFF_SECONDS = 0.1
_LONGEST_BACKOFF_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to send a batch, as told to the observer."""

    spans: int
    duration_seconds: float
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class SenderStatus:
    """The latest attempts' story; replaced as a whole, so any thread may read it."""

    last_success_at: float | None = None
    """On the sender's clock, in seconds."""
    last_error: str | None = None
    is_last_failure_permanent: bool = False


class BreakerSpanExporter(SpanExporter):
    """Sends batches through a transport, each attempt one call of the breaker, and settles the ledger."""

    def __init__(
        self,
        transport: Transport,
        breaker: CircuitBreaker,
        ledger: Ledger,
        generation: int,
        *,
        observe: Callable[[Attempt], None],
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._transport = transport
        self._breaker = breaker
        self._ledger = ledger
        self._generation = generation
        self._observe = observe
        self._clock = clock
        self._jitter = jitter
        self._give_up_at: float | None = None
        self._is_stopping = threading.Event()
        self._is_abandoned = threading.Event()
        self.status = SenderStatus()
        self.worker: threading.Thread | None = None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Brings one batch to its fate; returns only when it has one, or when shutdown gives it up."""
        thread = threading.current_thread()
        if thread.name != FLUSHER_NAME:
            self.worker = thread
        failures = 0
        while spans and self._may_go_on():
            permit = self._breaker.acquire()
            if isinstance(permit, Rejected):
                self._pause(permit.retry_after_seconds)
                continue
            outcome = self._attempt(spans, permit)
            if outcome.fate is Fate.DELIVERED:
                self._ledger.deliver(len(spans), self._generation)
                return SpanExportResult.SUCCESS
            if outcome.fate is Fate.NOT_RETRYABLE:
                self._ledger.drop(len(spans), DropReason.NOT_RETRYABLE, self._generation)
                return SpanExportResult.FAILURE
            if outcome.fate is Fate.UNENCODABLE:
                spans = self._without_unencodable(spans)
                continue
            failures += 1
            self._pause(self._backoff(failures))
        self._ledger.drop(len(spans), DropReason.SHUTDOWN, self._generation)
        return SpanExportResult.FAILURE

    def stop(self, give_up_at: float) -> None:
        """Sends what is left until `give_up_at` (on the clock, in seconds), then gives the rest up."""
        self._give_up_at = give_up_at
        self._is_stopping.set()

    def shutdown(self) -> None:
        """Ends every wait and frees the connection; whatever is still held is given up."""
        self._is_stopping.set()
        self._is_abandoned.set()
        self._transport.close()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - the SDK's signature
        """Nothing is buffered here: the pipeline's own `force_flush` waits on the ledger."""
        return True

    def _attempt(self, spans: Sequence[ReadableSpan], permit: Permit) -> Outcome:
        started = self._clock()
        with permit:
            outcome = self._transport.send(spans)
            if outcome.fate is Fate.DELIVERED:
                permit.success()
            elif outcome.fate is Fate.RETRY:
                permit.failure()
            else:
                # The Collector answered: it is there, and is busy, or this batch is the trouble.
                permit.ignore()
        now = self._clock()
        if outcome.fate is Fate.DELIVERED:
            self._tell_recovery()
            self.status = SenderStatus(last_success_at=now)
        else:
            self._tell_failure(outcome)
            self.status = SenderStatus(
                last_success_at=self.status.last_success_at,
                last_error=outcome.detail,
                is_last_failure_permanent=outcome.fate in {Fate.NOT_RETRYABLE, Fate.UNENCODABLE},
            )
        self._observe(Attempt(len(spans), now - started, outcome))
        return outcome

    def _tell_failure(self, outcome: Outcome) -> None:
        # One line for each outage and cause, not one for each batch.
        if self.status.last_error != outcome.detail:
            logger.warning("exporting spans failed (%s): %s", outcome.kind, outcome.detail)

    def _tell_recovery(self) -> None:
        if self.status.last_error is not None:
            logger.warning("exporting spans works again; last error was: %s", self.status.last_error)

    def _without_unencodable(self, spans: Sequence[ReadableSpan]) -> Sequence[ReadableSpan]:
        good = [span for span in spans if is_encodable([span])]
        if len(good) == len(spans):
            # Each one passes alone: the fault is not a span's, and trying again would not end.
            good = []
        self._ledger.drop(len(spans) - len(good), DropReason.UNENCODABLE, self._generation)
        return good

    def _backoff(self, failures: int) -> float:
        # Full jitter: many workers must not return at the same instant.
        longest = _FIRST_BACKOFF_SECONDS * math.pow(2, min(failures - 1, 10))
        return self._jitter() * min(longest, _LONGEST_BACKOFF_SECONDS)

    def _may_go_on(self) -> bool:
        if self._is_abandoned.is_set():
            return False
        return self._give_up_at is None or self._clock() < self._give_up_at

    def _pause(self, seconds: float | None) -> None:
        """Waits before the next try; where shutdown leaves no time for that, until there is none."""
        wait = _LONGEST_BACKOFF_SECONDS if seconds is None else seconds
        if self._give_up_at is None:
            # Ends early when stopping begins: the caller then asks again, with the budget in force.
            self._is_stopping.wait(wait)
        elif seconds is None or self._clock() + wait >= self._give_up_at:
            self._is_abandoned.set()
        else:
            self._is_abandoned.wait(wait)
