"""The spool of one process: the batches on disk, the order in which they are sent, and when they are dropped.

    append -> live -> next (held) -> acknowledge -> segment removed
                ^          |
                +-- requeue

Delivery is at-least-once: a record is marked after its batch is finished, and its file is removed after that,
so a process that dies at any instant leaves its batches to the next one. If it dies between an answer and the
mark, the batch is sent again.

A spool belongs to one thread, the worker's. Any thread may read `status`.
"""

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from ...settings.spool import SpoolSettings
from ..ledger import DropReason, Ledger
from .adoption import Adoption
from .directory import SpoolDirectory
from .queue import SegmentQueue
from .reader import SpoolReader
from .segment import Record
from .sweep import remove_expired
from .writer import SpoolWriter

_SYNC_SECONDS = 1.0
_LOOK_SECONDS = 1.0
_ORPHANS_SECONDS = 30.0
_REOPEN_SECONDS = 30.0
_TROUBLE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class SpoolStatus:
    """The state of the files on disk; replaced as a whole."""

    size_bytes: int = 0
    oldest_at_seconds: float | None = None
    """When the oldest live record was written, on the wall clock."""
    trouble: str | None = None
    """Why nothing can be written now, and the remedy."""
    disk_free_bytes: int | None = None


class Spool:
    """Encoded batches on disk. For use by one thread, except `status`.

    Args:
        settings: the limits.
        ledger: records the spans adopted and dropped here.
        on_trouble: called with a description of each failure.
        clock: monotonic seconds.
        wall_clock: nanoseconds since 1970.
    """

    def __init__(
        self,
        settings: SpoolSettings,
        ledger: Ledger,
        *,
        on_trouble: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.status = SpoolStatus()
        self._settings = settings
        self._ledger = ledger
        self._on_trouble = on_trouble
        self._clock = clock
        self._wall_clock = wall_clock
        report = self._report_trouble
        self._directory = SpoolDirectory(settings.folder)
        self._segments = SegmentQueue(self._directory, ledger, report)
        self._writer = SpoolWriter(settings, self._directory, self._segments, report)
        self._reader = SpoolReader(
            self._segments, ledger, settings.max_age_seconds, report, clock=clock, wall_clock=wall_clock
        )
        self._adoption = Adoption(self._directory, self._segments, ledger, report)
        self._is_in_use = threading.Lock()
        self._trouble_at = self._open_at = self._sync_at = self._look_at = self._orphans_at = -math.inf

    @property
    def has_waiting(self) -> bool:
        """Whether a record is waiting to be sent."""
        return self._reader.has_waiting

    @property
    def size_bytes(self) -> int:
        """The total size of all files."""
        return self._segments.size_bytes

    @property
    def refusal(self) -> DropReason:
        """Why the latest `append()` was refused, as a drop reason."""
        return self._writer.refusal

    def open(self) -> bool:
        """Begins a run: rereads existing segments from their beginning and searches for orphans.

        Returns False if an earlier run, which was given up, still uses the spool.
        """
        if not self._is_in_use.acquire(blocking=False):
            return False
        self._reader.clear()
        for segment in self._segments:
            self._ledger.adopt(segment.rewind())
        self._open_at = self._orphans_at = self._look_at = -math.inf
        self.maintain()
        return True

    def append(self, payload: bytes, spans: int, *, is_held: bool) -> Record | None:
        """Writes a batch; returns None if it cannot be kept, and `refusal` and `status` say why.

        Args:
            payload: the encoded batch.
            spans: how many are in it.
            is_held: whether it stays in memory as well, so that `next()` must not return it.
        """
        now_ns = self._wall_clock()
        written = self._writer.append(payload, spans, now_ns)
        if written is None:
            return None
        segment, offset = written
        if is_held:
            segment.held[offset] = spans
        self._refresh()
        return Record(segment, offset, spans, now_ns)

    def next(self) -> tuple[Record, bytes] | None:
        """Returns the oldest waiting record and its payload; it is held until `acknowledge` or `requeue`.

        A record that is too old or damaged is dropped on the way, and counted.
        """
        return self._reader.next()

    def acknowledge(self, record: Record, spans: int) -> None:
        """Finishes a batch of a held record; the last of its batches finishes the record."""
        self._reader.acknowledge(record, spans)

    def requeue(self, record: Record) -> None:
        """Requeues a held record that has left memory: `next()` returns it again, before all others."""
        self._reader.requeue(record)

    @property
    def rest_seconds(self) -> float:
        """How long `maintain()` need not be called."""
        if self._adoption.is_pending and self._directory.own is not None:
            return 0.0
        return _LOOK_SECONDS if self._segments else _ORPHANS_SECONDS

    def maintain(self) -> None:
        """Opens the directory, adopts orphans, drops expired batches and syncs, each at its own interval."""
        now = self._clock()
        if self._directory.own is None and now >= self._open_at:
            self._open_at = now + _REOPEN_SECONDS
            self._open_directory()
        if self._directory.own is None:
            return
        if now >= self._orphans_at:
            self._orphans_at = now + _ORPHANS_SECONDS
            self._adoption.search()
            with suppress(OSError):  # other destinations' files: any failure is retried
                remove_expired(
                    self._settings.folder, self._settings.max_age_seconds, self._wall_clock() / 1e9
                )
        if self._adoption.is_pending:
            self._adoption.adopt_next()
        if self._settings.fsync == "interval" and self._writer.is_unsynced and now >= self._sync_at:
            self._sync_at = now + _SYNC_SECONDS
            self._writer.sync()
        if now >= self._look_at:
            self._look_at = now + _LOOK_SECONDS
            self._look()

    def pause(self) -> None:
        """Ends a run: syncs the records. The remaining files stay this process's until it exits."""
        self._writer.sync()
        self._segments.close_current()
        self._refresh()
        if not self._segments and self._adoption.is_done:
            self.close()
        self._is_in_use.release()

    def close(self) -> None:
        """Leaves the folder and its contents to the next process."""
        self._segments.close_current()
        self._segments.clear()
        self._adoption.clear()
        self._reader.clear()
        self._directory.close()

    def forget_after_fork(self) -> None:
        """Closes a forked child's copies of the parent's files; the spool must not be used any more."""
        if self._segments.current is not None:
            self._segments.current.close()
        self._directory.forget_after_fork()

    def _open_directory(self) -> None:
        try:
            self._directory.open()
        except OSError as error:
            self._directory.trouble = (
                f"{self._settings.folder} cannot be used: {error.strerror or error}; "
                "set TELEMETRY_SPOOL_DIR to a folder that the service can write"
            )
            self._report_trouble(self._directory.trouble)

    def _look(self) -> None:
        self._segments.expire(self._wall_clock(), self._settings.max_age_seconds)
        with suppress(OSError):  # reported when it was acknowledged
            for segment in self._segments:
                segment.mark_acknowledged()
        self._directory.measure_disk()
        current = self._segments.current
        if current is not None and current.size and not current.live_records:
            self._segments.close_current()
        if self._directory.is_removed:
            self._segments.lose_own()
            self._open_directory()  # for new records
        is_old = self._clock() - self._trouble_at > _TROUBLE_SECONDS
        self._refresh(None if is_old and self._directory.own is not None else self.status.trouble)

    def _report_trouble(self, trouble: str) -> None:
        self._trouble_at = self._clock()
        self._on_trouble(trouble)
        self._refresh(trouble)

    def _refresh(self, trouble: str | None = None) -> None:
        self.status = SpoolStatus(
            self.size_bytes, self._segments.oldest_at_seconds, trouble, self._directory.free_bytes
        )
