"""The segments of one process, in the order in which they are sent, and their removal."""

from collections.abc import Callable, Iterator
from itertools import chain

from ..ledger import ON_DISK, DropReason, Ledger
from .directory import SpoolDirectory
from .segment import Segment
from .steady_clock import SteadyClock


class SegmentQueue:
    """A queue of adopted segments, then the process's own. For use by one thread.

    There may be thousands: what is done for each record takes the same time however many there are.

    Args:
        directory: where the files are.
        ledger: records the spans dropped here.
        clock: tells their age.
        max_bytes: the limit of all files, damaged ones included.
        on_trouble: called with a description of each failure.
    """

    def __init__(
        self,
        directory: SpoolDirectory,
        ledger: Ledger,
        clock: SteadyClock,
        max_bytes: int,
        on_trouble: Callable[[str], None],
    ) -> None:
        self.current: Segment | None = None
        """The segment being written; it is kept even while it is empty."""
        self.size_bytes = 0
        """The total size of all files."""
        self._directory = directory
        self._ledger = ledger
        self._clock = clock
        self._max_bytes = max_bytes
        self._on_trouble = on_trouble
        # Ordered sets.
        self._adopted: dict[Segment, None] = {}
        self._own: dict[Segment, None] = {}

    def __iter__(self) -> Iterator[Segment]:
        return chain(self._adopted, self._own)

    def __bool__(self) -> bool:
        return bool(self._adopted or self._own)

    def __contains__(self, segment: Segment) -> bool:
        return segment in self._adopted or segment in self._own

    def find_oldest(self) -> float | None:
        """Returns when the oldest live record was written, on the wall clock; None if there is none.

        Looks at every segment.
        """
        oldest = min(
            (
                each.oldest_ns + each.correction_ns
                for each in self
                if each.live_records and each.oldest_ns is not None
            ),
            default=None,
        )
        return None if oldest is None else (oldest - self._clock.correction_ns) / 1e9

    def add_adopted(self, segment: Segment) -> None:
        """Inserts a segment after those adopted earlier, and ahead of this process's own."""
        segment.correction_ns = self._clock.correction_ns
        self._adopted[segment] = None
        self.size_bytes += segment.size
        self.remove_if_done(segment)

    def append(self, payload: bytes, spans: int, now_ns: int) -> tuple[Segment, int]:
        """Appends a record to the segment being written, a new one if there is none.

        Returns the segment, and the record's offset in it.

        Raises:
            OSError: the disk is full, broken, or not writable; or this process has no directory.
        """
        if self.current is None:
            self.current = Segment(self._directory.next_file())
            self.current.correction_ns = self._clock.correction_ns
            self._own[self.current] = None
        segment = self.current
        offset = segment.append(payload, spans, now_ns)
        self.size_bytes += segment.size - offset
        return segment, offset

    def close_current(self) -> None:
        """Closes the segment being written."""
        current, self.current = self.current, None
        if current is not None:
            current.close()
            self.remove_if_done(current)

    def expire(self, max_age_seconds: float) -> None:
        """Drops each file whose records are all older than the maximum age.

        Only whole files: a record that is merely forgotten would be found when the file is read again.
        """
        now_ns = self._clock.now_ns()
        for segment in tuple(self):
            is_old = now_ns - segment.newest_ns - segment.correction_ns > max_age_seconds * 1e9
            if segment.live_records and not segment.held and is_old:
                if segment is self.current:
                    self.close_current()
                self.lose(segment, DropReason.SPOOL_EXPIRED)

    def lose(self, segment: Segment, reason: DropReason) -> None:
        """Drops a segment's records that are not held, and counts their spans."""
        segment.is_damaged |= reason is DropReason.SPOOL_CORRUPT
        self._ledger.drop(segment.lose_waiting(), reason, ON_DISK)
        self.remove_if_done(segment)

    def lose_own(self) -> None:
        """Drops this process's own segments after somebody removed its directory."""
        self.current = None
        for segment in tuple(self._own):
            segment.close()
            self.lose(segment, DropReason.SPOOL_CORRUPT)

    def remove_if_done(self, segment: Segment) -> None:
        """Removes the file of a segment without live records; quarantines a damaged one."""
        if segment.live_records or segment is self.current or segment not in self:
            return
        self._adopted.pop(segment, None)
        self._own.pop(segment, None)
        self.size_bytes -= segment.size
        try:
            if segment.is_damaged:
                self._directory.quarantine.add(segment.path)
                self._directory.quarantine.shrink(self._max_bytes - self.size_bytes)
            else:
                segment.path.unlink()
        except FileNotFoundError:
            pass  # somebody has removed it
        except OSError as error:
            self._on_trouble(f"{segment.path} cannot be removed: {error.strerror or error}")
        self._directory.finish(segment.path)

    def clear(self) -> None:
        """Forgets all segments, leaving their files in place."""
        self._adopted.clear()
        self._own.clear()
        self.size_bytes = 0
