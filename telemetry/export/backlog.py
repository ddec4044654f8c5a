"""The backlog: every encoded batch that has no fate yet, in memory or on disk, and which one is next.

Fresh batches wait in the outbox. While the breaker is not closed, when the outbox is full and at the end they
go to the spool, where there is one; in `always` mode each is on disk before it is sent. Fresh data is sent
first, the spool after it and at a bounded pace.

For one thread, the worker's.
"""

from .ledger import ON_DISK, DropReason, Ledger
from .otlp.response import Disposition, ExportResult
from .otlp.split import Batch
from .outbox import Flush, Outbox, QueuedBatch
from .spool.pace import ReplayPace
from .spool.spool import Spool

_TRY_SECONDS = 1.0
"""Until a spool that an earlier run has not left yet is tried again."""


class Backlog:
    """Batches on their way. For one thread.

    Args:
        limit_bytes: of the payloads in memory.
        spool: what waits on disk; None for none.
        ledger: told of each move and each fate.
        generation: the run in the ledger.
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
        """Payloads in memory, those in flight included; any thread may read it."""
        return self._outbox.size_bytes

    @property
    def in_flight(self) -> int:
        """Batches that were given out and have not come back."""
        return self._outbox.in_flight

    @property
    def has_fresh(self) -> bool:
        """Whether a batch waits in memory."""
        return bool(self._outbox)

    @property
    def has_spooled(self) -> bool:
        """Whether the spool has something to send."""
        return self._spool is not None and self._spool.has_waiting

    @property
    def spool_rest_seconds(self) -> float | None:
        """How long the spool can be left alone; None where there is none."""
        if self._unopened is not None:
            return _TRY_SECONDS
        return None if self._spool is None else self._spool.rest_seconds

    def begin(self) -> None:
        """Opens the spool; while an earlier run still writes to it, this one does without."""
        if self._unopened is not None and self._unopened.open():
            self._spool, self._unopened = self._unopened, None

    def maintain(self) -> None:
        """Whatever the spool has to do now and then."""
        if self._unopened is not None:
            self.begin()
        elif self._spool is not None:
            self._spool.maintain()

    def add(self, batch: Batch, ended_at_ns: int, *, spill: bool) -> bool:
        """Takes a fresh batch; False if it fitted nowhere, and was dropped.

        Args:
            batch: just encoded.
            ended_at_ns: when its first span ended, on the wall clock.
            spill: whether it goes to the spool, where there is one, for it will not be sent soon.
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
        """Moves what waits in memory to the spool, as far as that takes it."""
        if self._spool is None or not self._outbox:
            return
        batches = self._outbox.take_all()
        while batches and self._spill(batches[0], self._spool):
            del batches[0]
        self._outbox.restore(batches)

    def next_fresh(self) -> QueuedBatch | None:
        """The next batch that waits in memory; it is on its way now."""
        return self._outbox.take() if self._outbox else None

    def next_spooled(self, now: float) -> QueuedBatch | None:
        """The next batch of the spool; it is on its way now."""
        found = None if self._spool is None else self._spool.next()
        if found is None:
            return None
        record, payload = found
        queued = QueuedBatch(Batch(payload, record.spans), record.written_at_ns, record)
        self._outbox.mark_in_flight(queued)
        self.pace.sent(record.spans, now)
        return queued

    def requeue(self, queued: QueuedBatch) -> None:
        """A batch is to be sent again, before all others."""
        self._outbox.requeue(queued)

    def split(self, queued: QueuedBatch) -> None:
        """A batch is to be sent in halves.

        Raises:
            ValueError: it cannot be taken apart.
        """
        self._outbox.replace(queued, queued.batch.halves())
        for flush in queued.flushes:
            flush.replace(queued)

    def settle(self, queued: QueuedBatch, result: ExportResult) -> None:
        """A batch has its fate: delivered, or given up."""
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
            flush.settle(queued, is_delivered=is_delivered and not result.rejected)

    def watch(self, flush: Flush, *, is_whole: bool) -> None:
        """Has a flush wait for everything in memory; what waits on disk makes it a failure.

        Args:
            flush: begins now.
            is_whole: False if something of it is lost already.
        """
        self._outbox.forget_abandoned()
        flush.begin(self._outbox.batches, is_whole=is_whole and not self.has_spooled)

    def end(self) -> None:
        """The run is over: everything goes to the spool, what was on its way too, for nobody waits for it."""
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
            if record is not None:  # half of a record, which is now one of its own
                spool.acknowledge(record, queued.batch.spans)
            elif not self._ledger.spool(queued.batch.spans, self._generation):
                spool.acknowledge(written, queued.batch.spans)
        for flush in queued.flushes:
            flush.settle(queued, is_delivered=False)
        return True
