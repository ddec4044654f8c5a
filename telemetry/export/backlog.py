"""The backlog: every encoded batch that has no fate yet, in memory or on disk, and which one is next.

Fresh batches wait in the outbox. While the breaker is not closed, when the outbox is full and at the end they
go to the spool, where there is one; in `always` mode each is on disk before it is sent. Fresh data is sent
first, the spool after it and at a bounded pace.

For one thread, the worker's.
"""

from .ledger import ON_DISK, DropReason, Ledger
from .otlp.response import Fate, Outcome
from .otlp.spans import Batch
from .outbox import Flush, Outbox, Parcel
from .spool.pace import ReplayPace
from .spool.spool import Spool

_TRY_SECONDS = 1.0
"""Until a spool that an earlier run has not left yet is tried again."""


class Backlog:
    """Parcels on their way. For one thread.

    Args:
        outbox: what waits in memory.
        spool: what waits on disk; None for none.
        ledger: told of each move and each fate.
        generation: the run in the ledger.
        is_write_ahead: whether every batch is written to disk first.
    """

    def __init__(
        self, outbox: Outbox, spool: Spool | None, ledger: Ledger, generation: int, *, is_write_ahead: bool
    ) -> None:
        self.outbox = outbox
        self.pace = ReplayPace()
        self._spool: Spool | None = None
        self._unopened = spool
        self._ledger = ledger
        self._generation = generation
        self._is_write_ahead = is_write_ahead

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

    def add(self, batch: Batch, ended_at_ns: int, *, is_closed: bool) -> bool:
        """Takes a fresh batch; False if it fitted nowhere, and was dropped.

        Args:
            batch: just encoded.
            ended_at_ns: when its first span ended, on the wall clock.
            is_closed: whether the breaker lets it be sent soon.
        """
        is_kept = self.outbox.fits(batch) and (is_closed or self._spool is None)
        record = None
        if self._spool is not None and (self._is_write_ahead or not is_kept):
            record = self._spool.append(batch.payload, batch.spans, is_held=is_kept)
            if record is not None and not self._ledger.spool(batch.spans, self._generation):
                self._spool.settle(record, batch.spans)  # the run was given up, and these spans with it
                return False
        if (record is not None and not is_kept) or self.outbox.put(Parcel(batch, ended_at_ns, record)):
            return True
        reason = DropReason.BUFFER_FULL if self._spool is None else self._spool.refusal
        self._ledger.drop(batch.spans, reason, self._generation)
        return False

    def stow(self) -> None:
        """Moves what waits in memory to the spool, as far as that takes it."""
        if self._spool is None or not self.outbox:
            return
        parcels = self.outbox.take_all()
        while parcels and self._stow(parcels[0], self._spool):
            del parcels[0]
        self.outbox.restore(parcels)

    def next_fresh(self) -> Parcel | None:
        """The next parcel that waits in memory; it is on its way now."""
        return self.outbox.take() if self.outbox else None

    def next_spooled(self, now: float) -> Parcel | None:
        """The next batch of the spool; it is on its way now."""
        found = None if self._spool is None else self._spool.next()
        if found is None:
            return None
        record, payload = found
        parcel = Parcel(Batch(payload, record.spans), record.written_at_ns, record)
        self.outbox.send(parcel)
        self.pace.sent(record.spans, now)
        return parcel

    def put_back(self, parcel: Parcel) -> None:
        """A parcel is to be sent again, before all others."""
        self.outbox.put_back(parcel)

    def split(self, parcel: Parcel) -> None:
        """A parcel is to be sent in halves.

        Raises:
            ValueError: it cannot be taken apart.
        """
        self.outbox.replace(parcel, parcel.batch.halves())
        for flush in parcel.flushes:
            flush.replace(parcel)

    def settle(self, parcel: Parcel, outcome: Outcome) -> None:
        """A parcel has its fate, delivered or not retryable."""
        self.outbox.done(parcel)
        is_delivered = outcome.fate is Fate.DELIVERED
        place = self._generation if parcel.record is None else ON_DISK
        spans = parcel.batch.spans
        if is_delivered:
            rejected = min(outcome.rejected, spans)
            self._ledger.reject(rejected, place)
            self._ledger.deliver(spans - rejected, place)
        else:
            self._ledger.drop(spans, DropReason.NOT_RETRYABLE, place)
        if parcel.record is not None and self._spool is not None:
            self._spool.settle(parcel.record, spans)
        for flush in parcel.flushes:
            flush.settle(parcel, is_delivered=is_delivered and not outcome.rejected)

    def watch(self, flush: Flush, *, is_whole: bool) -> None:
        """Has a flush wait for everything in memory; what waits on disk makes it a failure.

        Args:
            flush: begins now.
            is_whole: False if something of it is lost already.
        """
        self.outbox.forget_abandoned()
        flush.begin(self.outbox.parcels, is_whole=is_whole and not self.has_spooled)

    def end(self) -> None:
        """The run is over: everything goes to the spool, what was on its way too, for nobody waits for it."""
        if self._spool is not None:
            for parcel in self.outbox.parcels:
                if not self._stow(parcel, self._spool):
                    break
            self._spool.pause()
        for parcel in self.outbox.parcels:
            for flush in parcel.flushes:
                flush.fail()

    def _stow(self, parcel: Parcel, spool: Spool) -> bool:
        record = parcel.record
        if record is not None and record.spans == parcel.batch.spans:
            spool.give_back(record)
        else:
            written = spool.append(parcel.batch.payload, parcel.batch.spans, is_held=False)
            if written is None:
                return False
            if record is not None:  # half of a record, which is now one of its own
                spool.settle(record, parcel.batch.spans)
            elif not self._ledger.spool(parcel.batch.spans, self._generation):
                spool.settle(written, parcel.batch.spans)
        for flush in parcel.flushes:
            flush.settle(parcel, is_delivered=False)
        return True
