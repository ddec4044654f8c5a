"""The backlog: all unfinished encoded batches, in memory or on disk, and the order in which they are sent.

Fresh batches wait in the outbox. While the breaker is not closed, when the outbox is full and at the end of
the run, they go to the spool, if there is one; in `always` mode each is on disk before it is sent. Fresh data
is sent first, then what has waited through an outage, in memory and in the spool, at a bounded pace.

Owned by one thread, the worker's.
"""

import math

from .ledger import ON_DISK, DropReason, Ledger
from .otlp.result import Disposition, ExportResult
from .otlp.split import Batch
from .outbox import Flush, Outbox, QueuedBatch
from .pace import ReplayPace
from .spool.spool import Spool

_TRY_SECONDS = 1.0
"""Time between attempts to open a spool that an earlier run still holds."""


class Backlog:
    """Batches that wait or are in flight. Not thread-safe.

    Args:
        limit_bytes: limit for the payloads in memory.
        spool: keeps batches on disk; None for no spool.
        ledger: records each move and each result.
        generation: identifies the run in the ledger.
        is_write_ahead: whether every batch is written to disk first.
    """

    def __init__(
        self, limit_bytes: int, spool: Spool | None, ledger: Ledger, generation: int, *, is_write_ahead: bool
    ) -> None:
        self._outbox = Outbox(limit_bytes)
        self.pace = ReplayPace()
        self._spool: Spool | None = None
        self._unopened = spool
        self._ledger = ledger
        self._generation = generation
        self._is_write_ahead = is_write_ahead

    @property
    def size_bytes(self) -> int:
        """Size of the payloads in memory, including those in flight; any thread may read it."""
        return self._outbox.size_bytes

    @property
    def in_flight(self) -> int:
        """Number of batches handed out and not yet returned."""
        return self._outbox.in_flight

    @property
    def has_batches(self) -> bool:
        """Whether a batch waits in memory."""
        return bool(self._outbox)

    @property
    def has_spooled(self) -> bool:
        """Whether the spool has something to send."""
        return self._spool is not None and self._spool.has_waiting

    def may_send_at(self, *, is_ending: bool, is_paced: bool) -> float:
        """Returns when the next batch may be sent, on the pace's clock; infinity if there is none.

        Args:
            is_ending: whether the run ends: then nothing in memory waits, and the spool is left to the next
                process.
            is_paced: whether what has waited is sent at its pace.
        """
        if self._outbox.has_fresh:
            return -math.inf
        if self._outbox:
            is_urgent = is_ending or not is_paced or self._outbox.is_late_awaited or self._outbox.is_crowded
            return -math.inf if is_urgent else self.pace.next_at
        if is_ending or not self.has_spooled:
            return math.inf
        return self.pace.next_at if is_paced else -math.inf

    def begin_replay(self, now: float, jitter: float, outage_seconds: float) -> None:
        """Starts to send what has waited through an outage.

        Args:
            now: on the pace's clock, in seconds.
            jitter: 0 to 1.
            outage_seconds: how long nothing was sent.
        """
        self._outbox.make_late()
        waiting = self._outbox.spans_waiting + self._ledger.read().spooled
        self.pace.begin_after_outage(now, jitter, spans_waiting=waiting, outage_seconds=outage_seconds)

    @property
    def spool_rest_seconds(self) -> float | None:
        """Seconds until the spool next needs `maintain()`; None if there is no spool."""
        if self._unopened is not None:
            return _TRY_SECONDS
        return None if self._spool is None else self._spool.rest_seconds

    def begin(self) -> None:
        """Opens the spool; while an earlier run still holds it, this one works without a spool."""
        if self._unopened is not None and self._unopened.open():
            self._spool, self._unopened = self._unopened, None

    def maintain(self) -> None:
        """Runs the spool's periodic maintenance; opens it first if that was not possible before."""
        if self._unopened is not None:
            self.begin()
        elif self._spool is not None:
            self._spool.maintain()

    def add(self, batch: Batch, ended_at_ns: int, *, spill: bool) -> bool:
        """Adds a fresh batch; returns False if it was dropped (no room, or the run was given up).

        Args:
            batch: the newly encoded batch.
            ended_at_ns: when its first span ended, on the wall clock.
            spill: whether it goes to the spool, if there is one, because it will not be sent soon.
        """
        is_kept = self._outbox.fits(batch) and (self._spool is None or not spill)
        record = None
        if self._spool is not None and (self._is_write_ahead or not is_kept):
            record = self._spool.append(batch.payload, batch.spans, is_held=is_kept)
            if record is not None and not self._ledger.spool(batch.spans, self._generation):
                self._spool.acknowledge(record, batch.spans)  # the run was given up, and these spans with it
                return False
        if (record is not None and not is_kept) or self._outbox.put(QueuedBatch(batch, ended_at_ns, record)):
            return True
        reason = DropReason.BUFFER_FULL if self._spool is None else self._spool.refusal
        self._ledger.drop(batch.spans, reason, self._generation)
        return False

    def spill(self) -> None:
        """Moves the batches waiting in memory to the spool, as far as it accepts them."""
        if self._spool is None or not self._outbox:
            return
        batches = self._outbox.take_all()
        while batches and self._spill(batches[0], self._spool):
            del batches[0]
        self._outbox.restore(batches)

    def next(self, now: float) -> QueuedBatch | None:
        """Takes the next batch, which is in flight from then on; None if there is none.

        The spool may have had nothing more than records that are too old or corrupt.
        """
        if not self._outbox:
            return self._next_spooled(now)
        is_late = not self._outbox.has_fresh
        queued = self._outbox.take()
        if is_late:
            self.pace.sent(queued.batch.spans, now)
        return queued

    def _next_spooled(self, now: float) -> QueuedBatch | None:
        found = None if self._spool is None else self._spool.next()
        if found is None:
            return None
        record, payload = found
        queued = QueuedBatch(Batch(payload, record.spans), record.written_at_ns, record)
        self._outbox.mark_in_flight(queued)
        self.pace.sent(record.spans, now)
        return queued

    def requeue(self, queued: QueuedBatch) -> None:
        """Puts a batch back, to be sent again before all others."""
        self._outbox.requeue(queued)

    def split(self, queued: QueuedBatch) -> None:
        """Replaces a batch with its two halves.

        Raises:
            ValueError: it cannot be split.
        """
        self._outbox.replace(queued, queued.batch.halves())
        for flush in queued.flushes:
            flush.replace(queued)

    def finish(self, queued: QueuedBatch, result: ExportResult) -> None:
        """Finishes a batch: records it as delivered, rejected or dropped, and notifies its flushes."""
        self._outbox.done(queued)
        is_delivered = result.disposition is Disposition.DELIVERED
        place = self._generation if queued.record is None else ON_DISK
        spans = queued.batch.spans
        if is_delivered:
            rejected = min(result.rejected, spans)
            self._ledger.reject(rejected, place)
            self._ledger.deliver(spans - rejected, place)
        else:
            self._ledger.drop(spans, DropReason.NOT_RETRYABLE, place)
        if queued.record is not None and self._spool is not None:
            self._spool.acknowledge(queued.record, spans)
        for flush in queued.flushes:
            flush.finish(queued, is_delivered=is_delivered and not result.rejected)

    def watch(self, flush: Flush, *, is_whole: bool) -> None:
        """Makes a flush wait for everything in memory; data waiting on disk makes it fail.

        Args:
            flush: the flush to begin.
            is_whole: False if some of its spans are already lost.
        """
        self._outbox.forget_abandoned()
        flush.begin(self._outbox.batches, is_whole=is_whole and not self.has_spooled)

    def end(self) -> None:
        """Ends the run: spills everything, including batches in flight, whose results nobody awaits."""
        if self._spool is not None:
            for queued in self._outbox.batches:
                if not self._spill(queued, self._spool):
                    break
            self._spool.pause()
        for queued in self._outbox.batches:
            for flush in queued.flushes:
                flush.fail()

    def _spill(self, queued: QueuedBatch, spool: Spool) -> bool:
        record = queued.record
        if record is not None and record.spans == queued.batch.spans:
            spool.requeue(record)
        else:
            written = spool.append(queued.batch.payload, queued.batch.spans, is_held=False)
            if written is None:
                return False
            if record is not None:  # half of a record, now a record of its own
                spool.acknowledge(record, queued.batch.spans)
            elif not self._ledger.spool(queued.batch.spans, self._generation):
                spool.acknowledge(written, queued.batch.spans)
        for flush in queued.flushes:
            flush.finish(queued, is_delivered=False)
        return True
