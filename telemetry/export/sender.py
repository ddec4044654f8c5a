"""The sender: encodes the SDK's batches and brings them past the breaker to the Collector.

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
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from .breaker import CircuitBreaker, Permit, Rejected
from .encoder import Batch, Encoder
from .ledger import DropReason, Ledger
from .outcome import Fate, Outcome
from .transport import Transport

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
        build: Callable[[], Transport],
        breaker: CircuitBreaker,
        ledger: Ledger,
        generation: int,
        *,
        timeout_seconds: float,
        observe: Callable[[Attempt], None],
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        # Built with the first batch: a certificate that cannot be read must fail an export, not the app.
        self._build = build
        self._transport: Transport | None = None
        self._timeout_seconds = timeout_seconds
        self._encoder = Encoder()
        self._breaker = breaker
        self._ledger = ledger
        self._generation = generation
        self._observe = observe
        self._clock = clock
        self._jitter = jitter
        self._give_up_at: float | None = None
        self._is_stopping = threading.Event()
        self._is_abandoned = threading.Event()
        self._last_remark = ""
        self.status = SenderStatus()
        self.worker: threading.Thread | None = None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Brings one batch to its fate; returns only when it has one, or when shutdown gives it up."""
        thread = threading.current_thread()
        if thread.name != FLUSHER_NAME:
            self.worker = thread
        batch = self._encoder.encode(spans)
        self._ledger.drop(len(spans) - batch.spans, DropReason.UNENCODABLE, self._generation)
        waiting = deque([batch] if batch.spans else [])
        failures = 0
        while waiting and self._may_go_on():
            permit = self._breaker.acquire()
            if isinstance(permit, Rejected):
                self._pause(permit.retry_after_seconds)
                continue
            outcome = self._attempt(waiting[0], permit)
            if outcome.fate in {Fate.RETRY, Fate.THROTTLE}:
                failures += 1
                self._pause(max(outcome.retry_after_seconds or 0.0, self._backoff(failures)))
            else:
                failures = 0
                waiting.extendleft(reversed(self._settle(waiting.popleft(), outcome)))
        self._ledger.drop(sum(batch.spans for batch in waiting), DropReason.SHUTDOWN, self._generation)
        return SpanExportResult.FAILURE if waiting else SpanExportResult.SUCCESS

    def _settle(self, batch: Batch, outcome: Outcome) -> Sequence[Batch]:
        """Counts what has its fate; returns what is to be sent in its place."""
        if outcome.fate is Fate.DELIVERED:
            rejected = min(outcome.rejected, batch.spans)
            self._ledger.reject(rejected, self._generation)
            self._ledger.deliver(batch.spans - rejected, self._generation)
        elif outcome.fate is Fate.SPLIT and batch.spans > 1:
            return batch.halves()
        else:
            self._ledger.drop(batch.spans, DropReason.NOT_RETRYABLE, self._generation)
        return ()

    def stop(self, give_up_at: float) -> None:
        """Sends what is left until `give_up_at` (on the clock, in seconds), then gives the rest up."""
        self._give_up_at = give_up_at
        self._is_stopping.set()

    def shutdown(self) -> None:
        """Ends every wait and frees the connection; whatever is still held is given up."""
        self._is_stopping.set()
        self._is_abandoned.set()
        if self._transport is not None:
            self._transport.close()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - the SDK's signature
        """Nothing is buffered here: the pipeline's own `force_flush` waits on the ledger."""
        return True

    def _attempt(self, batch: Batch, permit: Permit) -> Outcome:
        started = self._clock()
        with permit:
            outcome = self._send(batch)
            if outcome.fate is Fate.DELIVERED:
                permit.success()
            elif outcome.fate is Fate.RETRY:
                permit.failure(retry_after_seconds=outcome.retry_after_seconds)
            else:
                # The Collector answered: it is there, and is busy, or this batch is the trouble.
                permit.ignore()
        now = self._clock()
        if outcome.fate is Fate.DELIVERED:
            self._tell_recovery()
            self._tell_remark(outcome)
            self.status = SenderStatus(last_success_at=now)
        else:
            self._tell_failure(outcome)
            self.status = SenderStatus(
                last_success_at=self.status.last_success_at,
                last_error=outcome.detail,
                is_last_failure_permanent=outcome.fate is Fate.POISON,
            )
        self._observe(Attempt(batch.spans, now - started, outcome))
        return outcome

    def _send(self, batch: Batch) -> Outcome:
        try:
            if self._transport is None:
                self._transport = self._build()
        except (OSError, ValueError) as error:  # of a certificate; it may be mended while the app runs
            return Outcome(Fate.RETRY, "configuration", f"{type(error).__name__}: {error}")
        return self._transport.send(batch.payload, self._timeout_seconds)

    def _tell_failure(self, outcome: Outcome) -> None:
        # One line for each outage and cause, not one for each batch.
        if self.status.last_error != outcome.detail:
            logger.warning("exporting spans failed (%s): %s", outcome.kind, outcome.detail)

    def _tell_recovery(self) -> None:
        if self.status.last_error is not None:
            logger.warning("exporting spans works again; last error was: %s", self.status.last_error)

    def _tell_remark(self, outcome: Outcome) -> None:
        if outcome.detail and outcome.detail != self._last_remark:
            logger.warning(
                "a batch was taken, %d of its spans rejected: %s", outcome.rejected, outcome.detail
            )
        self._last_remark = outcome.detail

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
