"""The export worker: one thread that takes spans from the queue, encodes them, and decides what to send when.

    request threads: offer -> queue -> worker: encode -> backlog -> permit -> pool: send -> worker: finish

Other threads only touch the ends of the queue and the results of the pool. The encoder, the backlog with its
outbox and spool, the backoff and the flushes belong to the worker, so none of them needs a lock.
"""

import logging
import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from opentelemetry.sdk.trace import ReadableSpan

from ..settings.batching import Batching
from .attempt import Attempt, attempt, check_connection
from .backlog import Backlog
from .backoff import LONGEST_SECONDS, Backoff
from .breaker import BreakerState, CircuitBreaker, ConnectionCheck, Permit, Rejected
from .cpu import CpuMeter, Stage
from .ledger import DropReason, Ledger
from .limits import Limits
from .otlp.result import Disposition, ExportResult, no_answer
from .otlp.spans import Encoder
from .otlp.transport import Transport
from .outbox import Flush, QueuedBatch
from .pool import SendPool
from .reentrant_event import ReentrantEvent
from .spool.spool import Spool
from .status import ExportStatus

logger = logging.getLogger(__name__)

_PAUSE_SECONDS = 1.0
_SECONDS_BETWEEN_LINES = 60.0


class ExportWorker:
    """Exporter of the spans of one run. Any thread may call `offer`, `flush` and `close`.

    Args:
        build: creates the transport, on the worker's own thread.
        breaker: consulted before each attempt.
        ledger: counts the disposition of each span.
        generation: identifies the run in the ledger.
        limits: bounds.
        batching: when a batch is made.
        spool: keeps batches on disk; None for no spool.
        status: records the results of the latest attempts.
        cpu: counts the CPU time of the run's threads.
        on_attempt: called after each attempt, on the worker's thread.
        clock: monotonic seconds.
        wall_clock: nanoseconds since 1970, as in the end times of spans.
        jitter: numbers from 0 to 1.
    """

    def __init__(
        self,
        build: Callable[[], Transport],
        breaker: CircuitBreaker,
        ledger: Ledger,
        generation: int,
        *,
        limits: Limits,
        batching: Batching,
        spool: Spool | None = None,
        status: ExportStatus,
        cpu: CpuMeter,
        on_attempt: Callable[[Attempt], None],
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], int] = time.time_ns,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.batching = batching
        """When a batch is made; any thread may replace it as a whole."""
        self._build = build
        self._breaker = breaker
        self._ledger = ledger
        self._generation = generation
        self._limits = limits
        self._most_queued = limits.queue_spans
        self._status = status
        self._cpu = cpu
        self._on_attempt = on_attempt
        self._clock = clock
        self._wall_clock = wall_clock
        self._jitter = jitter
        self._queue: deque[ReadableSpan] = deque()
        self._results: deque[tuple[QueuedBatch, ExportResult, float]] = deque()
        self._flushes: deque[Flush] = deque()
        self._is_checking = self._is_checked = False
        """Whether a connection check is under way, and has ended, as the pool says."""
        self._wake = ReentrantEvent()
        self._closing = threading.Event()
        self._give_up_at: float | None = None
        self._backlog = Backlog(
            limits.buffer_bytes, spool, ledger, generation, is_write_ahead=limits.is_write_ahead
        )
        self._backoff = Backoff(clock, jitter)
        self._breaker_closed = True
        self._broken_since = -math.inf
        self._encoder = Encoder()
        self._transport: Transport | None = None
        self._pool = SendPool(limits.in_flight, "telemetry-send", partial(cpu.note, Stage.SEND))
        self._lost = self._lost_reported = 0
        """Spans dropped before they were sent, and the number of drops already reported by a flush."""
        self._ask_breaker_at = self._due_at = self._error_logged_at = -math.inf
        self._thread = threading.Thread(target=self._run, name="telemetry-export", daemon=True)

    def start(self) -> str | None:
        """Starts the thread; returns the reason if none can start, as at interpreter exit.

        Without a thread, spans wait for `close()` and `join()`, which then sends them.
        """
        self._due_at = self._clock() + self.batching.delay_seconds
        try:
            self._thread.start()
        except RuntimeError as error:
            return str(error)
        return None

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def buffered_bytes(self) -> int:
        """Size of the encoded batches in memory."""
        return self._backlog.size_bytes

    def offer(self, span: ReadableSpan) -> None:
        """Queues an ended, sampled span; if the queue is full, drops and counts it. Never waits."""
        queue = self._queue
        queued = len(queue)
        if not self._ledger.admit(self._generation, is_full=queued >= self._most_queued):
            return
        queue.append(span)
        if queued + 1 >= self.batching.size:
            self._wake.set()

    def rebatch(self, batching: Batching) -> None:
        """Applies new batching from now on, also to the spans already queued."""
        self.batching = batching
        self._wake.set()

    def flush(self, timeout_seconds: float) -> bool:
        """Sends all spans that have ended so far; returns whether all were delivered in time."""
        flush = Flush()
        self._flushes.append(flush)
        self._wake.set()
        if not self._thread.is_alive():
            flush.fail()
        return flush.wait(timeout_seconds)

    def close(self, give_up_at: float) -> None:
        """Makes the worker send the remaining spans until `give_up_at` (on the clock), and end."""
        self._give_up_at = give_up_at
        self._closing.set()
        self._wake.set()

    def join(self, timeout_seconds: float) -> None:
        """Waits for the worker to end; after the timeout, attempts under way are abandoned.

        If its thread has not started, does all its work here, until the moment given to `close()`.
        """
        if self._thread.ident is None:
            self._run()
            return
        self._thread.join(min(max(0.0, timeout_seconds), threading.TIMEOUT_MAX))
        transport = self._transport
        if transport is not None:
            transport.close()

    def _run(self) -> None:
        try:
            self._backlog.begin()
        except Exception:
            logger.exception("the spool could not be opened")
        self._backlog.pace.begin(self._clock(), self._jitter())
        while True:
            self._wake.clear()
            try:
                self._step()
            except Exception as error:  # noqa: BLE001 - it is logged there
                self._pause_after(error)
            if self._is_over():
                break
            self._cpu.note(Stage.ENCODE)
            self._wake.wait(self._seconds_until_next())
        self._end()

    def _pause_after(self, error: Exception) -> None:
        """Logs an unexpected error and pauses, to retry with later spans; the present ones stay counted."""
        now = self._clock()
        if now - self._error_logged_at > _SECONDS_BETWEEN_LINES:
            self._error_logged_at = now
            logger.error("the export worker failed unexpectedly; it retries each second", exc_info=error)
        # The error may recur at once and forever, which must not burn CPU time.
        self._closing.wait(_PAUSE_SECONDS)

    def _step(self) -> None:
        self._settle_results()
        now = self._clock()
        # The delay may have been made shorter.
        self._due_at = min(self._due_at, now + self.batching.delay_seconds)
        self._look_at_breaker(now)
        # Taken before the queue: spans that ended before a flush was requested are in the queue by now.
        flushes = [self._flushes.popleft() for _ in range(len(self._flushes))]
        is_urgent = bool(flushes) or self._give_up_at is not None
        self._encode_queue(is_due=is_urgent or now >= self._due_at, spill=not self._breaker_closed)
        if now >= self._due_at:
            self._due_at = now + self.batching.delay_seconds
        if flushes:
            self._begin(flushes)
        self._backlog.maintain()
        self._dispatch()

    def _look_at_breaker(self, now: float) -> None:
        breaker_closed = self._breaker.state in {BreakerState.CLOSED, BreakerState.DISABLED}
        if breaker_closed and not self._breaker_closed:
            self._backlog.begin_replay(now, self._jitter(), now - self._broken_since)
        elif not breaker_closed and self._breaker_closed:
            self._broken_since = now
        self._breaker_closed = breaker_closed
        if not breaker_closed:
            self._backlog.spill()

    def _begin(self, flushes: list[Flush]) -> None:
        lost = self._lost + self._ledger.read().dropped.get(DropReason.QUEUE_FULL, 0)
        for flush in flushes:
            self._backlog.watch(flush, is_whole=lost == self._lost_reported)
        self._lost_reported = lost

    def _encode_queue(self, *, is_due: bool, spill: bool) -> None:
        """Encodes full batches, or everything that is due.

        Args:
            is_due: whether a batch that is not full is encoded too.
            spill: whether batches go to the spool, if there is one.
        """
        size = self.batching.size
        # Spans that arrive meanwhile are left to the next round, or nothing might ever be sent.
        for _ in range(0, len(self._queue), size):
            if not is_due and len(self._queue) < size:
                return
            spans = [self._queue.popleft() for _ in range(min(size, len(self._queue)))]
            batch = self._encoder.encode(spans)
            self._ledger.drop(len(spans) - batch.spans, DropReason.UNENCODABLE, self._generation)
            self._lost += len(spans) - batch.spans
            if batch.spans < len(spans):
                self._status.record_unencodable(self._encoder.latest_unencodable, self._clock())
            if batch.spans:
                ended_at_ns = spans[0].end_time or self._wall_clock()
                if not self._backlog.add(batch, ended_at_ns, spill=spill):
                    self._lost += batch.spans
                self._backlog.pace.fresh(batch.spans, self._clock())

    def _dispatch(self) -> None:
        while self._backlog.in_flight < self._limits.in_flight:
            now = self._clock()
            if now < self._may_send_at():
                return
            permit = self._breaker.acquire()
            if isinstance(permit, Rejected):
                self._wait_for_breaker(permit, now)
                return
            transport = self._connected(permit)
            if transport is None:
                return
            running = self._backlog.in_flight
            queued = self._backlog.next(now)
            if queued is None:
                permit.ignore()
                return
            self._pool.submit(partial(self._send, transport, queued, permit), running=running)

    def _wait_for_breaker(self, rejected: Rejected, now: float) -> None:
        """Decides when to ask again, and sees whether the Collector takes connections, if that is due."""
        wait = rejected.retry_after_seconds
        if self._give_up_at is not None:
            wait = rejected.call_after_seconds or wait  # the end does not wait for somebody to listen
        elif not self._is_checking and (transport := self._connected(None)) is not None:
            check = self._breaker.check_connection()
            if check is not None:
                self._is_checking = True
                self._pool.submit(partial(self._check, transport, check), running=self._backlog.in_flight)
        if wait is None or rejected.state is BreakerState.HALF_OPEN:
            # A push of metrics may have the probe, and its answer wakes nobody here.
            wait = min(LONGEST_SECONDS, wait or LONGEST_SECONDS)
        # An answer to the probe or the check under way ends this wait sooner.
        self._ask_breaker_at = now + max(wait, LONGEST_SECONDS if self._is_checking else 0.01)

    def _check(self, transport: Transport, check: ConnectionCheck) -> None:
        """Makes one connection, on a thread of the pool; never raises."""
        check_connection(transport, check)
        self._is_checked = True
        self._wake.set()

    def _may_send_at(self) -> float:
        """Returns when the next batch may be sent; infinity if there is none."""
        return max(
            self._backoff.until,
            self._ask_breaker_at,
            # The probe of an open breaker is a single batch: it is not paced.
            self._backlog.may_send_at(is_ending=self._give_up_at is not None, is_paced=self._breaker_closed),
        )

    def _connected(self, permit: Permit | None) -> Transport | None:
        """Returns the transport, created when it is needed; None, with the permit failed, if that fails."""
        if self._transport is None:
            try:
                self._transport = self._build()
            except Exception as error:  # noqa: BLE001 - most likely a bad certificate, which may be fixed
                if permit is not None:
                    permit.failure()
                result = no_answer("configuration", f"{type(error).__name__}: {error}")
                self._status.record(result, self._clock())
                self._backoff.fail()
        return self._transport

    def _send(self, transport: Transport, queued: QueuedBatch, permit: Permit) -> None:
        """Makes one attempt, on a thread of the pool; never raises."""
        started = self._clock()
        seconds = self._limits.attempt_seconds
        if self._give_up_at is not None:
            seconds = min(seconds, max(0.0, self._give_up_at - started))
        result = attempt(transport, queued.batch.payload, permit, seconds)
        self._results.append((queued, result, self._clock() - started))
        self._wake.set()

    def _settle_results(self) -> None:
        if self._is_checked:
            self._is_checking = self._is_checked = False
            self._ask_breaker_at = -math.inf
        while self._results:
            queued, result, duration_seconds = self._results.popleft()
            if queued.batch.spans == 1:
                result = result.without_halves()
            self._status.record(result, self._clock())
            self._finish(queued, result)
            batch = queued.batch
            age_seconds = max(0.0, (self._wall_clock() - queued.ended_at_ns) / 1e9)
            self._on_attempt(Attempt(batch.spans, len(batch.payload), duration_seconds, result, age_seconds))

    def _finish(self, queued: QueuedBatch, result: ExportResult) -> None:
        if result.is_retryable:
            self._ask_breaker_at = -math.inf  # set for a probe, which this may have been
            self._backoff.fail(result.retry_after_seconds or 0.0)
            self._backlog.requeue(queued)
            return
        self._backoff.succeed()
        self._ask_breaker_at = -math.inf
        if result.disposition is Disposition.TOO_LARGE:
            try:
                self._backlog.split(queued)
            except ValueError:  # a spool record written by another version
                self._backlog.finish(queued, result.without_halves())
        else:
            self._backlog.finish(queued, result)

    def _seconds_until_next(self) -> float:
        moments = [self._due_at]
        if self._backlog.in_flight < self._limits.in_flight:
            moments.append(self._may_send_at())
        if self._give_up_at is not None:
            moments.append(self._give_up_at)
        wait = min(moments) - self._clock()
        rest = self._backlog.spool_rest_seconds
        return max(0.0, wait if rest is None else min(wait, rest))

    def _is_over(self) -> bool:
        if self._give_up_at is None:
            return False
        is_left = bool(self._queue or self._backlog.has_batches or self._backlog.in_flight or self._results)
        if not is_left or self._clock() >= self._give_up_at:
            return True
        # Nothing is in flight, and nothing may be sent before the deadline: there is no point in waiting.
        asleep_until = max(self._backoff.until, self._ask_breaker_at)
        return not self._backlog.in_flight and asleep_until >= self._give_up_at

    def _end(self) -> None:
        self._pool.close()
        try:
            self._settle_results()  # batches answered while this run ended are not sent again
            self._encode_queue(is_due=True, spill=True)
            self._backlog.end()
        except Exception:
            logger.exception("the export worker failed while shutting down")
        if self._transport is not None:
            self._transport.close()
        self._ledger.close(self._generation)
        self._cpu.note(Stage.ENCODE)
        while self._flushes:
            self._flushes.popleft().fail()
