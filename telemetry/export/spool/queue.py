"""The segments of one process, in the order in which they are sent, and their removal."""

from collections import deque
from collections.abc import Callable, Iterator

from ..ledger import ON_DISK, DropReason, Ledger
from .directory import SpoolDirectory
from .segment import Segment


class SegmentQueue:
    """A queue of adopted segments, then the process's own. For use by one thread.

    Args:
        directory: where the files are.
        ledger: records the spans dropped here.
        on_trouble: called with a description of each failure.
    """

    def __init__(self, directory: SpoolDirectory, ledger: Ledger, on_trouble: Callable[[str], None]) -> None:
        self.current: Segment | None = None
        """The segment being written; it is kept even while it is empty."""
        self._directory = directory
        self._ledger = ledger
        self._on_trouble = on_trouble
        self._segments: deque[Segment] = deque()

    def __iter__(self) -> Iterator[Segment]:
        return iter(self._segments)

    def __bool__(self) -> bool:
        return bool(self._segments)

    @property
    def size_bytes(self) -> int:
        """The total size of all files."""
        return sum(segment.size for segment in self._segments)

    @property
    def oldest_at_seconds(self) -> float | None:
        """When the oldest live record was written, on the wall clock; None if there is none."""
        oldest = min(
            (each.oldest_ns for each in self._segments if each.live_records and each.oldest_ns is not None),
            default=None,
        )
        return None if oldest is None else oldest / 1e9

    def add_adopted(self, segment: Segment) -> None:
        """Inserts a segment after those adopted earlier, and ahead of this process's own."""
        self._segments.insert(len(self._segments) - len(self._own()), segment)
        self.remove_if_done(segment)

    def open_current(self) -> Segment:
        """Returns the segment being written; creates one if there is none.

        Raises:
            OSError: this process has no directory.
        """
        if self.current is None:
            self.current = Segment(self._directory.next_file())
            self._segments.append(self.current)
        return self.current

    def close_current(self) -> None:
        """Closes the segment being written."""
        current, self.current = self.current, None
        if current is not None:
            current.close()
            self.remove_if_done(current)

    def expire(self, now_ns: int, max_age_seconds: float) -> None:
        """Drops each file whose records are all older than the maximum age, by the wall clock.

        Only whole files: a record that is merely forgotten would be found when the file is read again.
        """
        for segment in tuple(self._segments):
            is_old = now_ns - segment.newest_ns > max_age_seconds * 1e9
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
        for segment in self._own():
            segment.close()
            self.lose(segment, DropReason.SPOOL_CORRUPT)

    def remove_if_done(self, segment: Segment) -> None:
        """Removes the file of a segment without live records; quarantines a damaged one."""
        if segment.live_records or segment is self.current or segment not in self._segments:
            return
        self._segments.remove(segment)
        try:
            if segment.is_damaged:
                self._directory.quarantine(segment.path)
            else:
                segment.path.unlink()
        except FileNotFoundError:
            pass  # somebody has removed it
        except OSError as error:
            self._on_trouble(f"{segment.path} cannot be removed: {error.strerror or error}")
        self._directory.finish(segment.path)

    def clear(self) -> None:
        """Forgets all segments, leaving their files in place."""
        self._segments.clear()

    def _own(self) -> list[Segment]:
        return [each for each in self._segments if each.path.parent == self._directory.own]
