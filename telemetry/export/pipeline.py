"""The export pipeline: takes ended spans from the request threads and exports them.

    on_end (request thread) -> ledger -> queue -> worker -> outbox -> breaker -> transport -> Collector

The pipeline starts with its first span, so it may be built before a fork. It can be stopped and started
again, and starts afresh in a forked child.
"""

import logging
import math
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import TraceFlags

from ..config import TelemetryConfig
from ..fork import call_in_forked_child
from ..settings.batching import Batching
from .attempt import Attempt
from .breaker import CircuitBreaker
from .cpu import CpuMeter
from .ledger import Ledger
from .limits import Limits
from .otlp.reading import FLAGS_INDEX
from .otlp.transport import Transport, build_transport, load_transport
from .spool.spool import Spool, SpoolStatus
from .status import ExportStatus, StatusReading
from .worker import ExportWorker

logger = logging.getLogger(__name__)

_SAMPLED = TraceFlags.SAMPLED
_LONGEST_WRITING_SECONDS = 0.5
"""The longest part of the shutdown timeout that is reserved for writing unsent spans to the spool."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the pipeline, between a start and a stop."""

    generation: int
    worker: ExportWorker


class ExportPipeline(SpanProcessor):
    """A span processor that counts every span, never blocks its caller and can be restarted.

    Thread-safe. Works with any `TracerProvider`: `provider.add_span_processor(ExportPipeline(config))`.

    Args:
        config: where and how to send.
        on_attempt: called after each attempt, on the worker's thread.
        on_run: called when the first span of a run has ended, on its thread, or when the spool is replayed.
        build: creates the transport; by default the configured one.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        config: TelemetryConfig,
        *,
        on_attempt: Callable[[Attempt], None] = lambda _: None,
        on_run: Callable[[], None] = lambda: None,
        build: Callable[[TelemetryConfig], Transport] = build_transport,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        load_transport(config)
        self.config = config
        self.ledger = Ledger(clock=clock)
        self.breaker = CircuitBreaker(config.breaker, clock=clock)
        is_sending = not config.sdk_disabled and "otlp" in {config.traces_exporter, config.metrics_exporter}
        self.cpu = CpuMeter(has_grpc=is_sending and config.protocol == "grpc")
        self.limits = Limits(
            queue_spans=config.max_queue_size,
            buffer_bytes=config.buffer_max_bytes,
            in_flight=config.max_in_flight,
            attempt_seconds=config.attempt_timeout_seconds,
            is_write_ahead=config.spool_mode == "always",
        )
        self._batching = config.batching
        self._on_attempt = on_attempt
        self._on_run = on_run
        self._build = build
        self._clock = clock
        self._lock = threading.RLock()
        self._run: Run | None = None
        self._is_stopped = False
        self._is_starting = self._is_refusal_told = False
        self._dropped_before = 0
        """The spans that had been dropped at the previous flush."""
        self._late_until = -math.inf
        self._status = ExportStatus("spans", self.ledger)
        self._spool = self._make_spool()
        call_in_forked_child(self._reset_after_fork)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Does nothing: only ended spans are exported."""

    def on_end(self, span: ReadableSpan) -> None:
        """Queues a sampled span without blocking; if the queue is full, drops and counts it."""
        context = span.context
        if context is None or not context[FLAGS_INDEX] & _SAMPLED:
            return
        run = self._run or self._start()
        if run is not None:
            run.worker.offer(span)
        elif not self._send_late(span):
            self._refuse()

    def start(self) -> None:
        """Accepts spans again after `stop()`; the worker itself starts with the first span."""
        with self._lock:
            self._is_refusal_told = False
            # At exit, nobody would stop it again.
            self._is_stopped = self._late_until > -math.inf

    def replay(self) -> None:
        """Starts the worker, if there is a spool, to send the spans that an earlier process left in it.

        Meant for serving processes: one that only forks others would take the spans from them.
        """
        if self._spool is not None and self._run is None:
            self._start()

    @property
    def is_stopped(self) -> bool:
        """Whether spans are refused now."""
        return self._is_stopped

    def stop(self, timeout_seconds: float) -> bool:
        """Sends the queued spans and ends the worker within the timeout; returns False if any are unsent."""
        return self.drain(self.detach(), timeout_seconds)

    def detach(self, *, goes_on: bool = False) -> Run | None:
        """Stops accepting spans at once; leaves the queued ones to `drain()`.

        Args:
            goes_on: whether later spans begin another run, unless the pipeline is stopped already.
        """
        with self._lock:
            self._is_stopped |= not goes_on
            run, self._run = self._run, None
            return run

    def send_late_spans(self, seconds: float) -> None:
        """Sends spans of the main thread even while stopped, each as it ends, for so many seconds.

        Meant for the interpreter's exit, when functions registered with `atexit` may still end some.
        """
        self._late_until = self._clock() + seconds

    def drain(self, run: Run | None, timeout_seconds: float) -> bool:
        """Sends the remaining spans of a detached run within the timeout; returns False if any are unsent.

        If there is a spool, the last part of the timeout is reserved for writing to it.
        """
        if run is None:
            return self.ledger.read().spooled == 0
        dropped_before = sum(self.ledger.read().dropped.values())
        kept_seconds = 0.0 if self._spool is None else min(_LONGEST_WRITING_SECONDS, timeout_seconds / 4)
        run.worker.close(self._clock() + timeout_seconds - kept_seconds)
        run.worker.join(timeout_seconds)
        self.ledger.close(run.generation)
        reading = self.ledger.read()
        lost = sum(reading.dropped.values()) - dropped_before
        if lost:
            words = "shutdown dropped %d span(s) that were not sent within %g s, or ended after it began"
            logger.warning(words, lost, timeout_seconds)
        if reading.spooled:
            logger.warning("%d unsent span(s) remain in the spool for the next process", reading.spooled)
        return lost == 0 and reading.spooled == 0

    def shutdown(self) -> None:
        """Calls `stop()` with the configured timeout; for the tracer provider."""
        self.stop(self.config.shutdown_seconds)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Sends all spans that have ended so far.

        Returns False if the timeout expires first, if any span is not delivered, or if a span was dropped
        since the previous flush.
        """
        run = self._run
        is_sent = True if run is None else run.worker.flush(timeout_millis / 1000)
        reading = self.ledger.read()
        dropped = sum(reading.dropped.values())
        is_whole, self._dropped_before = dropped == self._dropped_before, dropped
        return is_sent if run is not None else is_whole and reading.spooled == 0

    @property
    def batching(self) -> Batching:
        """When a batch is made; may be replaced while the pipeline runs."""
        return self._batching

    @batching.setter
    def batching(self, batching: Batching) -> None:
        with self._lock:
            self._batching = batching
            if self._run is not None:
                self._run.worker.rebatch(batching)

    @property
    def spool_status(self) -> SpoolStatus | None:
        """The state of the spool; None if none is configured."""
        return None if self._spool is None else self._spool.status

    @property
    def status(self) -> StatusReading:
        """The results of the latest attempts."""
        return self._status.reading

    @property
    def buffered_bytes(self) -> int:
        """Size of the encoded batches in memory."""
        run = self._run
        return 0 if run is None else run.worker.buffered_bytes

    @property
    def last_success_age_seconds(self) -> float | None:
        """Seconds since the Collector last took a batch; None if it never did."""
        at = self.status.last_success_at
        return None if at is None else self._clock() - at

    @property
    def is_worker_alive(self) -> bool:
        """False if the worker ended although nobody stopped it."""
        run = self._run
        return run is None or run.worker.is_alive

    def _start(self) -> Run | None:
        with self._lock:
            if self._run is not None or self._is_stopped or self._is_starting:
                return self._run
            # A span that ends in a finaliser may get here while this same thread is starting the worker.
            self._is_starting = True
            try:
                run = self._make_run()
                failure = run.worker.start()
                self._run = run
            finally:
                self._is_starting = False
        # A log handler may end a span and get here again, so no lock is held.
        self._on_run()
        if failure is not None:
            # At exit, that is soon enough.
            level = logging.DEBUG if "interpreter shutdown" in failure else logging.WARNING
            logger.log(level, "the export worker could not start (%s): spans are sent at the end", failure)
        return run

    def _make_run(self) -> Run:
        generation = self.ledger.begin()
        worker = ExportWorker(
            partial(self._build, self.config),
            self.breaker,
            self.ledger,
            generation,
            limits=self.limits,
            batching=self._batching,
            spool=self._spool,
            status=self._status,
            cpu=self.cpu,
            on_attempt=self._on_attempt,
            clock=self._clock,
        )
        return Run(generation, worker)

    def _send_late(self, span: ReadableSpan) -> bool:
        """Sends one span on the main thread, which alone outlives the exit; returns False if it may not."""
        left_seconds = self._late_until - self._clock()
        is_possible = threading.current_thread() is threading.main_thread() and not sys.is_finalizing()
        if left_seconds <= 0 or not is_possible:
            return False
        run = self._make_run()
        run.worker.offer(span)
        self.drain(run, left_seconds)
        return True

    def _refuse(self) -> None:
        self.ledger.refuse()
        if not self._is_refusal_told:
            self._is_refusal_told = True
            logger.warning("a span ended after shutdown; it is dropped and counted, as later ones are")

    def _reset_after_fork(self) -> None:
        # The child owns none of the parent's spans, threads or connections.
        self._lock = threading.RLock()
        self._run = None
        self._is_starting = self._is_refusal_told = False
        self._dropped_before = 0
        self._late_until = -math.inf
        if self._spool is not None:
            self._spool.forget_after_fork()
        self.ledger.reset_after_fork()
        self.breaker.reset_after_fork()
        self._status = ExportStatus("spans", self.ledger)
        self._spool = self._make_spool()

    def _make_spool(self) -> Spool | None:
        if self.config.spool is None:
            return None
        status = self._status
        return Spool(
            self.config.spool,
            self.ledger,
            on_trouble=lambda trouble: status.record_spool_trouble(trouble, self._clock()),
            clock=self._clock,
        )
