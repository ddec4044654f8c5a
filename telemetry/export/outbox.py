"""The outbox: encoded batches that wait for the Collector, bounded in bytes, and the flushes awaiting them.

Everything except creating and awaiting a flush belongs to one thread, the worker's.
"""

import threading
from collections import deque
from dataclasses import dataclass, field

from .otlp.split import Batch
from .spool.segment import Record


@dataclass(slots=True, eq=False)
class QueuedBatch:
    """A batch in the backlog, and the flushes that wait for it."""

    batch: Batch
    ended_at_ns: int
    """When its first span ended, on the wall clock; if read from the spool, when it was written there."""
    record: Record | None = None
    """Its record on disk, if any."""
    flushes: "list[Flush]" = field(default_factory=list)


class Flush:
    """A wait for batches. Any thread may create and await it; everything else belongs to the worker."""

    def __init__(self) -> None:
        self._pending: set[QueuedBatch] = set()
        self._is_over = threading.Event()
        self._is_whole = True
        self.is_abandoned = False
        """Whether nobody waits for it any more."""

    def wait(self, timeout_seconds: float) -> bool:
        """Waits, and returns whether everything was delivered in time."""
        is_over = self._is_over.wait(min(max(0.0, timeout_seconds), threading.TIMEOUT_MAX))
        self.is_abandoned = True
        return is_over and self._is_whole

    def begin(self, batches: tuple[QueuedBatch, ...], *, is_whole: bool) -> None:
        """Starts to wait for these batches; finishes at once if there are none.

        Args:
            batches: all unfinished batches in memory.
            is_whole: False if other spans are lost or wait on disk, so that the flush cannot succeed.
        """
        self._is_whole &= is_whole
        for queued in batches:
            self.add(queued)
            queued.flushes.append(self)
        self._finish_if_empty()

    def add(self, queued: QueuedBatch) -> None:
        """Adds a batch to wait for."""
        self._pending.add(queued)

    def finish(self, queued: QueuedBatch, *, is_delivered: bool) -> None:
        """Records that a batch is finished."""
        self._is_whole &= is_delivered
        self._pending.discard(queued)
        self._finish_if_empty()

    def replace(self, queued: QueuedBatch) -> None:
        """Stops waiting for a batch that was split; its halves were added."""
        self._pending.discard(queued)

    def fail(self) -> None:
        """Ends the flush as failed: nothing more will be sent."""
        self._is_whole = False
        self._is_over.set()

    def _finish_if_empty(self) -> None:
        if not self._pending:
            self._is_over.set()


class Outbox:
    """Batches in the order in which they are sent. Those in flight still count against the limit.

    Args:
        limit_bytes: limit for all payloads together.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._waiting: deque[QueuedBatch] = deque()
        self._late: deque[QueuedBatch] = deque()
        self._in_flight: set[QueuedBatch] = set()
        self.size_bytes = 0
        """Size of the payloads held, including those in flight; any thread may read it."""

    def __len__(self) -> int:
        return len(self._waiting) + len(self._late)

    @property
    def has_fresh(self) -> bool:
        """Whether a batch waits that is not late."""
        return bool(self._waiting)

    @property
    def is_late_awaited(self) -> bool:
        """Whether somebody waits for the next of the late batches."""
        return bool(self._late) and any(not flush.is_abandoned for flush in self._late[0].flushes)

    @property
    def is_crowded(self) -> bool:
        """Whether fresh batches might soon find no room."""
        return self.size_bytes * 2 > self._limit_bytes

    @property
    def spans_waiting(self) -> int:
        """The number of spans in all batches that wait."""
        return sum(queued.batch.spans for queued in (*self._late, *self._waiting))

    @property
    def in_flight(self) -> int:
        """Number of batches taken and not yet returned."""
        return len(self._in_flight)

    @property
    def batches(self) -> tuple[QueuedBatch, ...]:
        """All batches held: in flight and waiting."""
        return (*self._in_flight, *self._late, *self._waiting)

    def put(self, queued: QueuedBatch) -> bool:
        """Appends a batch; returns False if it does not fit."""
        if not self.fits(queued.batch):
            return False
        self.size_bytes += len(queued.batch.payload)
        self._waiting.append(queued)
        return True

    def make_late(self) -> None:
        """Makes all waiting batches late: they come after those that are added from now on."""
        self._late.extend(self._waiting)
        self._waiting.clear()

    def take(self) -> QueuedBatch:
        """Takes the next batch, which is in flight until `done`, `requeue` or `replace`."""
        queued = (self._waiting or self._late).popleft()
        self._in_flight.add(queued)
        return queued

    def requeue(self, queued: QueuedBatch) -> None:
        """Puts a batch back, to be sent again before all others."""
        self._in_flight.remove(queued)
        self._waiting.appendleft(queued)

    def replace(self, queued: QueuedBatch, halves: tuple[Batch, Batch]) -> None:
        """Replaces a batch with its halves, sent before all others; its flushes wait for both.

        They may exceed the limit by the size of the resource and scope that the second half repeats.
        """
        self.done(queued)
        if queued.record is not None:
            queued.record.split()
        for half in reversed(halves):
            self.size_bytes += len(half.payload)
            other = QueuedBatch(half, queued.ended_at_ns, queued.record, list(queued.flushes))
            for flush in other.flushes:
                flush.add(other)
            self._waiting.appendleft(other)

    def fits(self, batch: Batch) -> bool:
        """Returns whether there is room for the batch."""
        return self.size_bytes + len(batch.payload) <= self._limit_bytes

    def mark_in_flight(self, queued: QueuedBatch) -> None:
        """Adds a batch from the spool, in flight at once; it may exceed the limit."""
        self.size_bytes += len(queued.batch.payload)
        self._in_flight.add(queued)

    def restore(self, batches: list[QueuedBatch]) -> None:
        """Puts back the batches from `take_all` that were not moved, before all others."""
        self._waiting.extendleft(reversed(batches))
        self.size_bytes += sum(len(queued.batch.payload) for queued in batches)

    def take_all(self) -> list[QueuedBatch]:
        """Removes and returns every waiting batch; they belong to the caller from then on."""
        batches = [*self._late, *self._waiting]
        self._late.clear()
        self._waiting.clear()
        self.size_bytes -= sum(len(queued.batch.payload) for queued in batches)
        return batches

    def forget_abandoned(self) -> None:
        """Removes abandoned flushes: those that timed out would otherwise stay with their batches."""
        for queued in self.batches:
            queued.flushes = [flush for flush in queued.flushes if not flush.is_abandoned]

    def done(self, queued: QueuedBatch) -> None:
        """Removes a finished batch."""
        self._in_flight.remove(queued)
        self.size_bytes -= len(queued.batch.payload)
