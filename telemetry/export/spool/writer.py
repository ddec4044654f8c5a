"""Writes to the spool: enforces its limits, chooses the file, and syncs."""

import errno
from collections.abc import Callable

from ...settings.spool import SpoolSettings
from ..ledger import DropReason
from .directory import SpoolDirectory
from .format import HEADER_BYTES
from .queue import SegmentQueue
from .segment import Segment
from .steady_clock import SteadyClock

_SEGMENT_BYTES = 4 * 2**20
_SEGMENTS_AT_LEAST = 8
"""Even a small spool has this many, so that space is freed in steps."""
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class SpoolWriter:
    """A writer that appends records to the current segment. For use by one thread.

    Args:
        settings: the limits.
        directory: where new files are created.
        segments: the queue with the current segment.
        clock: tells when it jumps.
        on_trouble: called with a description of each failure.
    """

    def __init__(
        self,
        settings: SpoolSettings,
        directory: SpoolDirectory,
        segments: SegmentQueue,
        clock: SteadyClock,
        on_trouble: Callable[[str], None],
    ) -> None:
        self.refusal = DropReason.BUFFER_FULL
        """Why the latest `append()` was refused, as a drop reason."""
        self._settings = settings
        self._directory = directory
        self._segments = segments
        self._clock = clock
        self._on_trouble = on_trouble
        self._segment_bytes = min(_SEGMENT_BYTES, settings.max_bytes // _SEGMENTS_AT_LEAST)
        self.is_unsynced = False
        """Whether something was appended since the latest `sync()`."""

    def append(self, payload: bytes, spans: int, now_ns: int) -> tuple[Segment, int] | None:
        """Writes a record; returns its segment and offset, or None if it cannot be kept.

        Args:
            payload: the encoded batch.
            spans: how many are in it.
            now_ns: the time on the wall clock.
        """
        record_bytes = HEADER_BYTES + len(payload)
        try:
            self._make_room(record_bytes)
            self._close_segment_before(record_bytes)
            segment, offset = self._segments.append(payload, spans, now_ns)
        except OSError as error:
            self.refusal = DropReason.SPOOL_FULL if error.errno in _NO_SPACE else DropReason.BUFFER_FULL
            self._on_trouble(f"{error.strerror or error}")
            return None
        self.is_unsynced = True
        if self._settings.fsync == "always":
            # A failure is reported; the record is kept all the same.
            self._sync()
        self._directory.free_bytes -= record_bytes
        return segment, offset

    def sync(self) -> None:
        """Syncs appended records, so that they survive a power loss, unless `fsync` is `never`."""
        if self._settings.fsync != "never":
            self._sync()

    def _sync(self) -> None:
        self.is_unsynced = False
        try:
            if self._segments.current is not None:
                self._segments.current.sync()
        except OSError as error:
            self._on_trouble(f"its records may not survive a loss of power: {error.strerror or error}")

    def _make_room(self, record_bytes: int) -> None:
        """Ensures that one more record may be written.

        Raises:
            OSError: it may not be written.
        """
        settings = self._settings
        if self._directory.own is None:
            raise OSError(self._directory.trouble or "it is not open")
        left_bytes = settings.max_bytes - self._segments.size_bytes - record_bytes
        if left_bytes < self._directory.quarantine.size_bytes:
            self._directory.quarantine.shrink(left_bytes)
        if left_bytes < 0:
            raise OSError(errno.ENOSPC, f"it has reached TELEMETRY_SPOOL_MAX_BYTES ({settings.max_bytes})")
        least_free = self._directory.disk_bytes * settings.min_free_ratio
        # Some systems report no disk size: no share of it can be kept free.
        if self._directory.disk_bytes and self._directory.free_bytes - record_bytes < least_free:
            rule = f"less than TELEMETRY_SPOOL_MIN_FREE ({settings.min_free_ratio:.0%}) of its disk is free"
            raise OSError(errno.ENOSPC, rule)

    def _close_segment_before(self, record_bytes: int) -> None:
        """Closes the current segment if one more record would make it too large, or the clock has jumped."""
        current = self._segments.current
        if current is None or not current.size:
            return
        is_full = current.size + record_bytes > self._segment_bytes
        if is_full or current.correction_ns != self._clock.correction_ns:
            self.sync()
            self._segments.close_current()
