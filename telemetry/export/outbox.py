"""The outbox: encoded batches that wait for the Collector, bounded in bytes, and who waits for them.

Everything but making and awaiting a flush belongs to one thread, the worker's.
"""

import threading
from collections import deque
from dataclasses import dataclass, field

from .otlp.split import Batch
from .spool.segment import Record


@dataclass(slots=True, eq=False)
class QueuedBatch:
    """A batch on its way, and the flushes that wait for its fate."""

    batch: Batch
    ended_at_ns: int
    """When its first span ended, on the wall clock; of what lay on disk when it was written there."""
    record: Record | None = None
    """Where it lies on disk as well."""
    flushes: "list[Flush]" = field(default_factory=list)


class Flush:
    """Waits for batches. Made and awaited by any thread; everything else belongs to the worker."""

    def __init__(self) -> None:
        self._pending: set[QueuedBatch] = set()
        self._is_over = threading.Event()
        self._is_whole = True
        self.is_abandoned = False
        """Whether nobody waits any more."""

    def wait(self, timeout_seconds: float) -> bool:
        """True when everything was delivered in time; False when any of it was not."""
        is_over = self._is_over.wait(min(max(0.0, timeout_seconds), threading.TIMEOUT_MAX))
        self.is_abandoned = True
        return is_over and self._is_whole

    def begin(self, batches: tuple[QueuedBatch, ...], *, is_whole: bool) -> None:
        """Waits for these; over at once if there are none.

        Args:
            batches: what has no fate yet.
            is_whole: False if there is more that nobody waits for.
        """
        self._is_whole &= is_whole
        for queued in batches:
            self.add(queued)
            queued.flushes.append(self)
        self._finish_if_empty()

    def add(self, queued: QueuedBatch) -> None:
        """Waits for one more."""
        self._pending.add(queued)

    def settle(self, queued: QueuedBatch, *, is_delivered: bool) -> None:
        """One has its fate."""
        self._is_whole &= is_delivered
        self._pending.discard(queued)
        self._finish_if_empty()

    def replace(self, queued: QueuedBatch) -> None:
        """One was split; its halves were added."""
        self._pending.discard(queued)

    def fail(self) -> None:
        """Nothing more will be sent."""
        self._is_whole = False
        self._is_over.set()

    def _finish_if_empty(self) -> None:
        if not self._pending:
            self._is_over.set()


class Outbox:
    """Batches in the order in which they are sent. What is in flight still counts against the bound.

    Args:
        limit_bytes: of all payloads together.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._waiting: deque[QueuedBatch] = deque()
        self._in_flight: set[QueuedBatch] = set()
        self.size_bytes = 0
        """Payloads held, those in flight included; any thread may read it."""

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def in_flight(self) -> int:
        """Batches that were taken and have not come back."""
        return len(self._in_flight)

    @property
    def batches(self) -> tuple[QueuedBatch, ...]:
        """Everything held."""
        return (*self._in_flight, *self._waiting)

    def put(self, queued: QueuedBatch) -> bool:
        """Adds a batch at the end; False if it does not fit."""
        if not self.fits(queued.batch):
            return False
        self.size_bytes += len(queued.batch.payload)
        self._waiting.append(queued)
        return True

    def take(self) -> QueuedBatch:
        """The next batch; it is in flight until `done`, `requeue` or `replace`."""
        queued = self._waiting.popleft()
        self._in_flight.add(queued)
        return queued

    def requeue(self, queued: QueuedBatch) -> None:
        """It is to be sent again, before all others."""
        self._in_flight.remove(queued)
        self._waiting.appendleft(queued)

    def replace(self, queued: QueuedBatch, halves: tuple[Batch, Batch]) -> None:
        """It is to be sent as two, before all others; whoever waits for it waits for both.

        They may be over the bound by what the second one repeats of resource and scope.
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
        """Whether there is room for one more."""
        return self.size_bytes + len(batch.payload) <= self._limit_bytes

    def mark_in_flight(self, queued: QueuedBatch) -> None:
        """It is in flight at once: it was never among those that wait, and may be over the bound."""
        self.size_bytes += len(queued.batch.payload)
        self._in_flight.add(queued)

    def restore(self, batches: list[QueuedBatch]) -> None:
        """What `take_all` gave and nobody wanted waits again, before all others."""
        self._waiting.extendleft(reversed(batches))
        self.size_bytes += sum(len(queued.batch.payload) for queued in batches)

    def take_all(self) -> list[QueuedBatch]:
        """Every batch that waits; they are the caller's from now on."""
        batches = list(self._waiting)
        self._waiting.clear()
        self.size_bytes -= sum(len(queued.batch.payload) for queued in batches)
        return batches

    def forget_abandoned(self) -> None:
        """Drops the flushes that nobody awaits any more: each that timed out would stay with its batches."""
        for queued in self.batches:
            queued.flushes = [flush for flush in queued.flushes if not flush.is_abandoned]

    def done(self, queued: QueuedBatch) -> None:
        """It has its fate."""
        self._in_flight.remove(queued)
        self.size_bytes -= len(queued.batch.payload)
