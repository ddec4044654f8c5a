"""The outbox: encoded batches that wait for the Collector, bounded in bytes, and who waits for them.

Everything but making and awaiting a flush belongs to one thread, the worker's.
"""

import threading
from collections import deque
from dataclasses import dataclass, field

from .otlp.spans import Batch
from .spool.segment import Record


@dataclass(slots=True, eq=False)
class Parcel:
    """A batch on its way, and the flushes that wait for its fate."""

    batch: Batch
    ended_at_ns: int
    """When its first span ended, on the wall clock; of what lay on disk when it was written there."""
    record: Record | None = None
    """Where it lies on disk as well."""
    flushes: "list[Flush]" = field(default_factory=list)


class Flush:
    """Waits for parcels. Made and awaited by any thread; everything else belongs to the worker."""

    def __init__(self) -> None:
        self._pending: set[Parcel] = set()
        self._is_over = threading.Event()
        self._is_whole = True
        self.is_abandoned = False
        """Whether nobody waits any more."""

    def wait(self, timeout_seconds: float) -> bool:
        """True when everything was delivered in time; False when any of it was not."""
        is_over = self._is_over.wait(min(max(0.0, timeout_seconds), threading.TIMEOUT_MAX))
        self.is_abandoned = True
        return is_over and self._is_whole

    def begin(self, parcels: tuple[Parcel, ...], *, is_whole: bool) -> None:
        """Waits for these; over at once if there are none.

        Args:
            parcels: what has no fate yet.
            is_whole: False if there is more that nobody waits for.
        """
        self._is_whole &= is_whole
        for parcel in parcels:
            self.add(parcel)
            parcel.flushes.append(self)
        self._finish_if_empty()

    def add(self, parcel: Parcel) -> None:
        """Waits for one more."""
        self._pending.add(parcel)

    def settle(self, parcel: Parcel, *, is_delivered: bool) -> None:
        """One has its fate."""
        self._is_whole &= is_delivered
        self._pending.discard(parcel)
        self._finish_if_empty()

    def replace(self, parcel: Parcel) -> None:
        """One was split; its halves were added."""
        self._pending.discard(parcel)

    def fail(self) -> None:
        """Nothing more will be sent."""
        self._is_whole = False
        self._is_over.set()

    def _finish_if_empty(self) -> None:
        if not self._pending:
            self._is_over.set()


class Outbox:
    """Parcels in the order in which they are sent. What is in flight still counts against the bound.

    Args:
        limit_bytes: of all payloads together.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._waiting: deque[Parcel] = deque()
        self._in_flight: set[Parcel] = set()
        self.size_bytes = 0
        """Payloads held, those in flight included; any thread may read it."""

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def in_flight(self) -> int:
        """Parcels that were taken and have not come back."""
        return len(self._in_flight)

    @property
    def parcels(self) -> tuple[Parcel, ...]:
        """Everything held."""
        return (*self._in_flight, *self._waiting)

    def put(self, parcel: Parcel) -> bool:
        """Adds a parcel at the end; False if it does not fit."""
        if not self.fits(parcel.batch):
            return False
        self.size_bytes += len(parcel.batch.payload)
        self._waiting.append(parcel)
        return True

    def take(self) -> Parcel:
        """The next parcel; it is in flight until `done`, `put_back` or `replace`."""
        parcel = self._waiting.popleft()
        self._in_flight.add(parcel)
        return parcel

    def put_back(self, parcel: Parcel) -> None:
        """It is to be sent again, before all others."""
        self._in_flight.remove(parcel)
        self._waiting.appendleft(parcel)

    def replace(self, parcel: Parcel, halves: tuple[Batch, Batch]) -> None:
        """It is to be sent as two, before all others; whoever waits for it waits for both.

        They may be over the bound by what the second one repeats of resource and scope.
        """
        self.done(parcel)
        if parcel.record is not None:
            parcel.record.parts += 1
        for half in reversed(halves):
            self.size_bytes += len(half.payload)
            other = Parcel(half, parcel.ended_at_ns, parcel.record, list(parcel.flushes))
            for flush in other.flushes:
                flush.add(other)
            self._waiting.appendleft(other)

    def fits(self, batch: Batch) -> bool:
        """Whether there is room for one more."""
        return self.size_bytes + len(batch.payload) <= self._limit_bytes

    def send(self, parcel: Parcel) -> None:
        """It is in flight at once: it was never among those that wait, and may be over the bound."""
        self.size_bytes += len(parcel.batch.payload)
        self._in_flight.add(parcel)

    def restore(self, parcels: list[Parcel]) -> None:
        """What `take_all` gave and nobody wanted waits again, before all others."""
        self._waiting.extendleft(reversed(parcels))
        self.size_bytes += sum(len(parcel.batch.payload) for parcel in parcels)

    def take_all(self) -> list[Parcel]:
        """Every parcel that waits; they are the caller's from now on."""
        parcels = list(self._waiting)
        self._waiting.clear()
        self.size_bytes -= sum(len(parcel.batch.payload) for parcel in parcels)
        return parcels

    def forget_abandoned(self) -> None:
        """Drops the flushes that nobody awaits any more: each that timed out would stay with its parcels."""
        for parcel in self.parcels:
            parcel.flushes = [flush for flush in parcel.flushes if not flush.is_abandoned]

    def done(self, parcel: Parcel) -> None:
        """It has its fate."""
        self._in_flight.remove(parcel)
        self.size_bytes -= len(parcel.batch.payload)
