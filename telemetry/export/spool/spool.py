"""The spool of one process: the batches on disk, the order in which they are sent, and when they are dropped.

    append -> live -> next (held) -> acknowledge -> segment removed
                ^          |
                +-- requeue

Delivery is at-least-once: a record is marked after its batch is finished, and its file is removed after that,
so a process that dies at any instant leaves its batches to the next one. If it dies between an answer and the
mark, the batch is sent again.

A spool belongs to one thread, the worker's. Any thread may read `status`.
"""

import logging
import math
import shlex
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ...settings.spool import SpoolSettings
from ..ledger import DropReason, Ledger
from .adoption import Adoption
from .directory import SpoolDirectory
from .note import COMMAND, Destination
from .queue import SegmentQueue
from .reader import SpoolReader
from .segment import Record
from .steady_clock import SteadyClock
from .sweep import OtherDestinations
from .trust import UntrustedFolderError
from .writer import SpoolWriter

logger = logging.getLogger(__name__)

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
    stranded_spans: int = 0
    """The number of spans that dead processes left for other destinations, to which no process sends."""


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
        self._steady_clock = steady_clock = SteadyClock(clock, wall_clock)
        report = self._report_trouble
        self._directory = SpoolDirectory(settings.folder, Destination(settings.endpoint, settings.protocol))
        self._segments = SegmentQueue(self._directory, ledger, steady_clock, settings.max_bytes, report)
        self._writer = SpoolWriter(settings, self._directory, self._segments, steady_clock, report)
        self._reader = SpoolReader(
            self._segments, ledger, settings.max_age_seconds, report, clock=clock, steady_clock=steady_clock
        )
        self._others = OtherDestinations(settings.folder)
        self._told: set[Path] = set()
        """Folders of other destinations that were already told of."""
        self._oldest_at_seconds: float | None = None
        self._stranded_spans = 0
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
        now_ns = self._steady_clock.wall_ns()
        written = self._writer.append(payload, spans, now_ns)
        if written is None:
            return None
        segment, offset = written
        if is_held:
            segment.held[offset] = spans
        if self._oldest_at_seconds is None:
            self._oldest_at_seconds = now_ns / 1e9
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
        self._steady_clock.wall_ns()  # often enough for a jump to be told from time that passed
        if self._directory.own is None and now >= self._open_at:
            self._open_at = now + _REOPEN_SECONDS
            self._open_directory()
        if self._directory.own is None:
            return
        if now >= self._orphans_at:
            self._orphans_at = now + _ORPHANS_SECONDS
            self._adoption.search()
            self._look_at_others()
        elif self._adoption.is_cut_short:
            self._adoption.search()
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
        self._oldest_at_seconds = self._segments.find_oldest()
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
        except UntrustedFolderError as error:
            self._directory.trouble = f"{error}"
            self._report_trouble(self._directory.trouble)
        except OSError as error:
            self._directory.trouble = (
                f"{self._settings.folder} cannot be used: {error.strerror or error}; "
                "set TELEMETRY_SPOOL_DIR to a folder that the service can write"
            )
            self._report_trouble(self._directory.trouble)

    def _look(self) -> None:
        self._segments.expire(self._settings.max_age_seconds)
        with suppress(OSError):  # reported when it was acknowledged
            for segment in self._segments:
                segment.mark_acknowledged()
        self._directory.measure_disk()
        self._directory.quarantine.measure()
        current = self._segments.current
        if current is not None and current.size and not current.live_records:
            self._segments.close_current()
        if self._directory.is_removed:
            self._segments.lose_own()
            self._open_directory()  # for new records
        self._oldest_at_seconds = self._segments.find_oldest()
        is_old = self._clock() - self._trouble_at > _TROUBLE_SECONDS
        self._refresh(None if is_old and self._directory.own is not None else self.status.trouble)

    def _look_at_others(self) -> None:
        """Removes what is too old of other destinations, and tells once what else is stranded there."""
        settings = self._settings
        self._others.remove_expired(settings.max_age_seconds, self._steady_clock.now_ns() / 1e9)
        stranded = self._others.find_stranded()
        self._stranded_spans = sum(each.spans for each in stranded)
        for each in stranded:
            if each.folder in self._told:
                continue
            self._told.add(each.folder)
            logger.warning(
                "%d span(s) wait in the spool for %s, where no process sends any more: another endpoint, "
                "other headers or another certificate than here; to send them here: %s send %s --to %s",
                each.spans,
                each.destination,
                COMMAND,
                shlex.quote(str(each.folder)),
                shlex.quote(settings.endpoint),
            )

    def _report_trouble(self, trouble: str) -> None:
        self._trouble_at = self._clock()
        self._on_trouble(trouble)
        self._refresh(trouble)

    def _refresh(self, trouble: str | None = None) -> None:
        self.status = SpoolStatus(
            self.size_bytes,
            self._oldest_at_seconds,
            trouble,
            self._directory.free_bytes,
            self._stranded_spans,
        )
