"""Reads the spool: chooses the next record, and acknowledges or requeues held ones."""

import math
from collections import deque
from collections.abc import Callable

from ..ledger import ON_DISK, DropReason, Ledger
from .format import Header
from .queue import SegmentQueue
from .segment import Record
from .steady_clock import SteadyClock

_READ_AGAIN_SECONDS = 1.0

_Found = tuple[Record, Header | None, bytes]
"""A held record, and the header and payload read for it."""


class SpoolReader:
    """A reader of records, the oldest first, that takes acknowledgements. For use by one thread.

    Args:
        segments: the queue of segments to read.
        ledger: records the spans dropped on the way.
        max_age_seconds: older records are dropped.
        on_trouble: called with a description of each failure.
        clock: monotonic seconds.
        steady_clock: tells the age of records.
    """

    def __init__(
        self,
        segments: SegmentQueue,
        ledger: Ledger,
        max_age_seconds: float,
        on_trouble: Callable[[str], None],
        *,
        clock: Callable[[], float],
        steady_clock: SteadyClock,
    ) -> None:
        self._segments = segments
        self._ledger = ledger
        self._max_age_seconds = max_age_seconds
        self._on_trouble = on_trouble
        self._clock = clock
        self._steady_clock = steady_clock
        self._requeued: deque[Record] = deque()
        self._read_at = -math.inf

    @property
    def has_waiting(self) -> bool:
        """Whether a record is waiting to be sent."""
        if self._clock() < self._read_at:
            return False
        return bool(self._requeued) or any(segment.waiting for segment in self._segments)

    def next(self) -> tuple[Record, bytes] | None:
        """Returns the oldest waiting record and its payload; it is held until `acknowledge` or `requeue`.

        A record that is too old or damaged is dropped on the way, and counted.
        """
        while self.has_waiting:
            found = self._next_requeued() if self._requeued else self._next_unread()
            if found is None:
                continue
            record, header, payload = found
            if header is None or not header.fits(payload):
                self._give_up(record, DropReason.SPOOL_CORRUPT)
            elif self._is_too_old(record):
                self._give_up(record, DropReason.SPOOL_EXPIRED)
            else:
                return record, payload
        return None

    def acknowledge(self, record: Record, spans: int) -> None:
        """Finishes a batch of a held record; the last of its batches finishes the record."""
        segment = record.segment
        record.parts -= 1
        if record.parts:
            segment.counted[record.offset] = segment.counted.get(record.offset, 0) + spans
            return
        segment.held.pop(record.offset, None)
        segment.counted.pop(record.offset, None)
        try:
            segment.acknowledge(record.offset, record.spans)
        except FileNotFoundError:
            pass  # somebody removed the folder: there is nothing left to mark
        except OSError as error:
            what = "a sent batch cannot be marked and may be sent again"
            self._on_trouble(f"{what}: {error.strerror or error}")
        self._segments.remove_if_done(segment)

    def requeue(self, record: Record) -> None:
        """Requeues a held record that has left memory: `next()` returns it again, before all others."""
        self._requeued.append(record)

    def clear(self) -> None:
        """Forgets the requeued records."""
        self._requeued.clear()

    def _is_too_old(self, record: Record) -> bool:
        age_ns = self._steady_clock.now_ns() - record.written_at_ns - record.segment.correction_ns
        return age_ns > self._max_age_seconds * 1e9

    def _next_requeued(self) -> _Found | None:
        record = self._requeued[0]
        try:
            found = record.segment.read(record.offset)
        except FileNotFoundError:
            found = None
        except OSError as error:
            self._cannot_read(error)
            return None
        self._requeued.popleft()
        return (record, None, b"") if found is None else (record, *found)

    def _next_unread(self) -> _Found | None:
        segment = next(segment for segment in self._segments if segment.waiting)
        try:
            found = segment.next_record()
        except FileNotFoundError:
            found = None
        except OSError as error:
            self._cannot_read(error)
            return None
        if found is None:
            # More records were written than can be found again.
            if segment is self._segments.current:
                self._segments.close_current()
            self._segments.lose(segment, DropReason.SPOOL_CORRUPT)
            return None
        header, offset, payload = found
        segment.held[offset] = header.spans
        return Record(segment, offset, header.spans, header.written_at_ns), header, payload

    def _cannot_read(self, error: OSError) -> None:
        self._read_at = self._clock() + _READ_AGAIN_SECONDS
        self._on_trouble(f"a record cannot be read: {error.strerror or error}")

    def _give_up(self, record: Record, reason: DropReason) -> None:
        self._ledger.drop(record.spans, reason, ON_DISK)
        record.segment.is_damaged |= reason is DropReason.SPOOL_CORRUPT
        record.parts = 1
        self.acknowledge(record, record.spans)
