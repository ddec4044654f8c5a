"""Adoption: what dead processes left for the same destination becomes this process's to send."""

from collections import deque
from collections.abc import Callable
from pathlib import Path

from ..ledger import ON_DISK, DropReason, Ledger
from .directory import SpoolDirectory
from .queue import SegmentQueue
from .segment import Segment


class Adoption:
    """Finds the files of dead processes and takes one at a time, verified. For one thread.

    Args:
        directory: where they are looked for.
        segments: gets what was adopted.
        ledger: records it, and what of it is damaged.
        on_trouble: called with what could not be done, in words.
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
        """Files that could not be read: they are tried again with the next search."""

    @property
    def is_pending(self) -> bool:
        """Whether a file waits to be adopted now."""
        return bool(self._unread)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left, not even what could not be read."""
        return not self._unread and not self._unreadable

    def search(self) -> None:
        """Takes the directories of dead processes."""
        self._unread.extend(self._unreadable)
        self._unreadable.clear()
        try:
            self._unread.extend(self._directory.take_orphans())
        except OSError as error:
            self._on_trouble(f"{self._directory.path} cannot be read: {error.strerror or error}")

    def adopt_next(self) -> None:
        """Verifies one file and takes its live records."""
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
        """Leaves every file to whoever comes next."""
        self._unread.clear()
        self._unreadable.clear()
