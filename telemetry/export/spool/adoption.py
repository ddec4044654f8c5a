"""Adoption: this process takes over the batches that dead processes left for the same destination."""

from collections import deque
from collections.abc import Callable
from pathlib import Path

from ..ledger import ON_DISK, DropReason, Ledger
from .directory import SpoolDirectory
from .queue import SegmentQueue
from .segment import Segment


class Adoption:
    """A search for the files of dead processes, verified and adopted one by one. For use by one thread.

    Args:
        directory: the directory to search.
        segments: receives the adopted segments.
        ledger: records the adopted spans, and the damaged ones as dropped.
        on_trouble: called with a description of each failure.
    """

    def __init__(
        self,
        directory: SpoolDirectory,
        segments: SegmentQueue,
        ledger: Ledger,
        on_trouble: Callable[[str], None],
    ) -> None:
        self._directory = directory
        self._segments = segments
        self._ledger = ledger
        self._on_trouble = on_trouble
        self._unread: deque[Path] = deque()
        self._unreadable: list[Path] = []
        """Files that could not be read; the next search retries them."""

    @property
    def is_pending(self) -> bool:
        """Whether a file is waiting to be adopted."""
        return bool(self._unread)

    @property
    def is_cut_short(self) -> bool:
        """Whether the latest search left dead processes' directories, and another one may begin."""
        return self._directory.has_more_orphans

    @property
    def is_done(self) -> bool:
        """Whether no file is left, not even an unreadable one."""
        return not self._unread and not self._unreadable

    def search(self) -> None:
        """Takes over the directories of dead processes."""
        self._unread.extend(self._unreadable)
        self._unreadable.clear()
        try:
            self._unread.extend(self._directory.take_orphans())
        except OSError as error:
            self._on_trouble(f"{self._directory.path} cannot be read: {error.strerror or error}")

    def adopt_next(self) -> None:
        """Verifies one file and adopts its live records."""
        segment = Segment(self._unread.popleft())
        try:
            lost = segment.survey()
        except FileNotFoundError:
            self._directory.finish(segment.path)  # somebody has removed it
            return
        except OSError as error:
            self._unreadable.append(segment.path)
            self._on_trouble(f"{segment.path} cannot be read now: {error.strerror or error}")
            return
        self._ledger.adopt(segment.live_spans + lost)
        self._ledger.drop(lost, DropReason.SPOOL_CORRUPT, ON_DISK)
        self._segments.add_adopted(segment)

    def clear(self) -> None:
        """Leaves every file to the next process."""
        self._unread.clear()
        self._unreadable.clear()
