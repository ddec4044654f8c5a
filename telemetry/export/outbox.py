"""The outbox: encoded batches that wait for the Collector, bounded in bytes, and who waits for them.

Everything but making and awaiting a flush belongs to one thread, the worker's.
"""

import threading
from collections import deque
from dataclasses import dataclass, field

from .encoder import Batch


@dataclass(slots=True, eq=False)
class Parcel:
    """A batch on its way, and the flushes that wait for its fate."""

    batch: Batch
    flushes: "list[Flush]" = field(default_factory=list)


class Flush:
    """Waits for parcels. Made and awaited by any thread; everything else belongs to the worker."""

    def __init__(self) -> None:
        self._pending: set[Parcel] = set()
        self._is_over = threading.Event()
        self._is_whole = True

    def wait(self, timeout_seconds: float) -> bool:
        """True when everything was delivered in time; False when any of it was not."""
        return self._is_over.wait(timeout_seconds) and self._is_whole

    def begin(self, parcels: tuple[Parcel, ...]) -> None:
        """Waits for these; over at once if there are none."""
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
        if self.size_bytes + len(parcel.batch.payload) > self._limit_bytes:
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
        for half in reversed(halves):
            self.size_bytes += len(half.payload)
            other = Parcel(half, list(parcel.flushes))
            for flush in other.flushes:
                flush.add(other)
            self._waiting.appendleft(other)

    def done(self, parcel: Parcel) -> None:
        """It has its fate."""
        self._in_flight.remove(parcel)
        self.size_bytes -= len(parcel.batch.payload)
