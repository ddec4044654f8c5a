"""The ledger: counts every span exactly once, so that each is accounted for.

This identity holds at every reading:

    ended + adopted = delivered + rejected + sum(dropped) + in_memory + spooled

Each term is counted where it happens and none is derived from the others. `adopted` and `spooled`
count spans on disk; without a spool they stay 0. A span both in memory and on disk counts as on disk.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

_MINUTE_SECONDS = 60.0
ON_DISK = 0
"""The generation of spans in the spool: it never closes, because the spool outlives every run."""
_NO_GENERATION = 2**62
"""The generation of spans that ended while nothing was running."""
_MOST_NOTES = 4_096
"""Number of uncounted ended spans at which the thread that ends a span counts them itself."""


class DropReason(StrEnum):
    """The reason a span was dropped."""

    QUEUE_FULL = "queue_full"
    BUFFER_FULL = "buffer_full"
    NOT_RETRYABLE = "not_retryable"
    UNENCODABLE = "unencodable"
    SHUTDOWN = "shutdown"
    SPOOL_FULL = "spool_full"
    SPOOL_EXPIRED = "spool_expired"
    SPOOL_CORRUPT = "spool_corrupt"


@dataclass(frozen=True, slots=True)
class LedgerReading:
    """One consistent snapshot of a ledger; every figure is a number of spans."""

    ended: int
    adopted: int
    delivered: int
    rejected: int
    dropped: Mapping[DropReason, int]
    in_memory: int
    spooled: int

    @property
    def is_balanced(self) -> bool:
        """Whether the identity holds and no span was finished more often than it was admitted."""
        finished = self.delivered + self.rejected + sum(self.dropped.values())
        is_possible = self.in_memory >= 0 and self.spooled >= 0
        return is_possible and self.ended + self.adopted == finished + self.in_memory + self.spooled


class Ledger:
    """Counts of spans from their end to their disposition. Thread-safe; its lock guards bookkeeping only.

    Pending spans belong to a generation: one run of the pipeline, from its start to its stop, or `ON_DISK`
    for those in the spool. Closing a generation atomically drops its spans in memory; later results for them
    are ignored, so a late answer from the Collector never counts a span twice.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Reentrant: a signal handler that reads or closes may interrupt a thread that holds it.
        self._lock = threading.RLock()
        self._notes: deque[int] = deque()
        """The generation of each span that ended and is not counted yet, negated if the span was dropped."""
        self._last_generation = ON_DISK
        self._pending: dict[int, int] = {ON_DISK: 0}
        self._ended = 0
        self._adopted = 0
        self._delivered = 0
        self._rejected = 0
        self._dropped: Counter[DropReason] = Counter()
        # Drops of the last minute, one entry per second: bounded, however many spans are dropped.
        self._recent_drops: deque[tuple[int, int]] = deque()

    def begin(self) -> int:
        """Opens a generation and returns its number, which identifies it in the other methods."""
        with self._lock:
            self._last_generation += 1
            self._pending[self._last_generation] = 0
            return self._last_generation

    def admit(self, generation: int, *, is_full: bool) -> bool:
        """Counts an ended span; returns False if it was dropped: the queue is full or the generation closed.

        Never waits for the lock, because a span may end while the same thread holds it: in a finaliser that
        the garbage collector runs, or in a signal handler. The next call that reads or changes the ledger
        counts the span.
        """
        is_admitted = not is_full and generation in self._pending
        self._notes.append(generation if is_admitted else -generation)
        if len(self._notes) >= _MOST_NOTES and self._lock.acquire(blocking=False):
            try:
                self._count_notes()
            finally:
                self._lock.release()
        return is_admitted

    def refuse(self) -> None:
        """Counts a span that ended while nothing was running. Never waits for the lock, like `admit`."""
        self.admit(_NO_GENERATION, is_full=True)

    def spool(self, spans: int, generation: int) -> bool:
        """Moves spans from memory to the spool; returns False if their generation closed and dropped them."""
        with self._lock:
            self._count_notes()
            if generation not in self._pending:
                return False
            self._leave(spans, generation)
            self._pending[ON_DISK] += spans
            return True

    def adopt(self, spans: int) -> None:
        """Counts spans that an earlier process left on disk."""
        with self._lock:
            self._count_notes()
            self._adopted += spans
            self._pending[ON_DISK] += spans

    def deliver(self, spans: int, generation: int) -> None:
        """Moves pending spans to delivered, unless their generation is closed."""
        with self._lock:
            self._count_notes()
            if generation in self._pending:
                self._delivered += spans
                self._leave(spans, generation)

    def reject(self, spans: int, generation: int) -> None:
        """Moves pending spans to rejected by the Collector, unless their generation is closed."""
        with self._lock:
            self._count_notes()
            if spans and generation in self._pending:
                self._rejected += spans
                self._leave(spans, generation)

    def drop(self, spans: int, reason: DropReason, generation: int) -> None:
        """Moves pending spans to dropped, unless their generation is closed."""
        with self._lock:
            self._count_notes()
            if spans and generation in self._pending:
                self._drop(reason, spans)
                self._leave(spans, generation)

    def close(self, generation: int) -> None:
        """Drops the generation's spans in memory and refuses any that come later."""
        with self._lock:
            self._count_notes()
            given_up = self._pending.get(generation, 0)
            if given_up:
                self._drop(DropReason.SHUTDOWN, given_up)
            self._pending.pop(generation, None)

    def read(self) -> LedgerReading:
        """Returns one consistent snapshot."""
        with self._lock:
            self._count_notes()
            return LedgerReading(
                ended=self._ended,
                adopted=self._adopted,
                delivered=self._delivered,
                rejected=self._rejected,
                dropped=dict(self._dropped),
                in_memory=sum(self._pending.values()) - self._pending[ON_DISK],
                spooled=self._pending[ON_DISK],
            )

    def dropped_in_last_minute(self) -> int:
        """Returns the number of spans dropped in the last 60 seconds."""
        with self._lock:
            self._count_notes()
            self._forget_old_drops()
            return sum(spans for _, spans in self._recent_drops)

    def reset_after_fork(self) -> None:
        """Starts from zero in a forked child: the parent counts the spans from before the fork."""
        self.__init__(clock=self._clock)  # type: ignore[misc]

    def _count_notes(self) -> None:
        """Counts the spans noted so far. Called with the lock held."""
        notes: list[int] = []
        with suppress(IndexError):  # there are no more
            notes.extend(iter(self._notes.popleft, None))
        for note, spans in Counter(notes).items():
            generation = abs(note)
            is_open = generation in self._pending
            self._ended += spans
            if note > 0 and is_open:
                self._pending[generation] += spans
            else:
                # An admitted span may belong to a generation that was closed at that moment.
                self._drop(DropReason.QUEUE_FULL if is_open else DropReason.SHUTDOWN, spans)

    def _leave(self, spans: int, generation: int) -> None:
        self._pending[generation] -= spans

    def _drop(self, reason: DropReason, spans: int) -> None:
        self._dropped[reason] += spans
        self._forget_old_drops()
        second = int(self._clock())
        if self._recent_drops and self._recent_drops[-1][0] == second:
            spans += self._recent_drops.pop()[1]
        self._recent_drops.append((second, spans))

    def _forget_old_drops(self) -> None:
        oldest = self._clock() - _MINUTE_SECONDS
        while self._recent_drops and self._recent_drops[0][0] < oldest:
            self._recent_drops.popleft()
