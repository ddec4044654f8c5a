"""The spool of one process: what is kept on disk, in which order it is sent, and when it is given up.

    append -> live -> next (held) -> acknowledge -> segment removed
                ^          |
                +-- requeue

At-least-once: a record is marked after its batch has its fate, and its file removed after that, so a process
that dies at any instant leaves what it had to the next one. One that dies between an answer and the mark has
its batch sent again.

A spool belongs to one thread, the worker's. Any thread may read `status`.
"""

import errno
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ...settings.sections import SpoolSettings
from ..ledger import ON_DISK, DropReason, Ledger
from .directory import SpoolDirectory
from .format import HEADER_BYTES, Header
from .segment import Record, Segment
from .sweep import remove_expired

_SEGMENT_BYTES = 4 * 2**20
_SEGMENTS_AT_LEAST = 8
"""Of a small spool: space comes back a segment at a time."""
_SYNC_SECONDS = 1.0
_LOOK_SECONDS = 1.0
_ORPHANS_SECONDS = 30.0
_REOPEN_SECONDS = 30.0
_READ_AGAIN_SECONDS = 1.0
_TROUBLE_SECONDS = 60.0
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, slots=True)
class SpoolStatus:
    """What lies on disk; replaced as a whole."""

    size_bytes: int = 0
    oldest_at_seconds: float | None = None
    """On the wall clock."""
    trouble: str | None = None
    """Why nothing can be written now, with the remedy."""
    disk_free_bytes: int | None = None


_Found = tuple[Record, Header | None, bytes]
"""A held record, and what was read of it."""


class Spool:
    """Encoded batches on disk. For one thread, but `status`.

    Args:
        settings: bounds.
        ledger: told of what is adopted, and of what is lost here.
        on_trouble: called with each trouble, in words.
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
        self.refusal = DropReason.BUFFER_FULL
        """Why the latest `append()` was refused, as a span's fate."""
        self._settings = settings
        self._ledger = ledger
        self._on_trouble = on_trouble
        self._clock = clock
        self._wall_clock = wall_clock
        self._segment_bytes = min(_SEGMENT_BYTES, settings.max_bytes // _SEGMENTS_AT_LEAST)
        self._folder = SpoolDirectory(settings.folder)
        self._unread: deque[Path] = deque()
        """Orphans' segments that were not surveyed yet."""
        self._unreadable: list[Path] = []
        """Those that could not be read: they are tried again with the next look for orphans."""
        self._segments: deque[Segment] = deque()
        """In the order in which they are sent: what was adopted, then one's own."""
        self._written: Segment | None = None
        self._is_in_use = threading.Lock()
        self._returned: deque[Record] = deque()
        self._is_unsynced = False
        self._trouble_at = self._open_at = self._sync_at = self._look_at = self._orphans_at = -math.inf
        self._read_at = -math.inf

    @property
    def has_waiting(self) -> bool:
        """Whether there is a record to send that nobody holds."""
        if self._clock() < self._read_at:
            return False
        return bool(self._returned) or any(segment.waiting for segment in self._segments)

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(segment.size for segment in self._segments)

    def open(self) -> bool:
        """Begins a run: what is there is given from its beginning, and orphans are looked for.

        False if a run before, which was given up, is still not done with it.
        """
        if not self._is_in_use.acquire(blocking=False):
            return False
        self._returned.clear()
        for segment in self._segments:
            self._ledger.adopt(segment.rewind())
        self._open_at = self._orphans_at = self._look_at = -math.inf
        self.maintain()
        return True

    def append(self, payload: bytes, spans: int, *, is_held: bool) -> Record | None:
        """Writes a batch; None where it cannot be kept, and `refusal` and `status` say why.

        Args:
            payload: the encoded batch.
            spans: how many are in it.
            is_held: whether it stays in memory as well, so that `next()` must not give it.
        """
        record_bytes = HEADER_BYTES + len(payload)
        try:
            self._make_room(record_bytes)
            segment = self._writable(record_bytes)
            now_ns = self._wall_clock()
            offset = segment.append(payload, spans, now_ns)
        except OSError as error:
            self.refusal = DropReason.SPOOL_FULL if error.errno in _NO_SPACE else DropReason.BUFFER_FULL
            self._tell(f"{error.strerror or error}")
            return None
        self._is_unsynced = True
        if self._settings.fsync == "always":
            # Failing, it is told, and the record is there all the same.
            self._sync()
        self._folder.free_bytes -= record_bytes
        if is_held:
            segment.held[offset] = spans
        self._refresh()
        return Record(segment, offset, spans, now_ns)

    def next(self) -> tuple[Record, bytes] | None:
        """The oldest record that nobody holds, and its payload; it is held until `acknowledge` or `requeue`.

        What is too old, or does not check, is given up on the way, counted.
        """
        while self.has_waiting:
            found = self._next_returned() if self._returned else self._next_unread()
            if found is None:
                continue
            record, header, payload = found
            if header is None or not header.fits(payload):
                self._give_up(record, DropReason.SPOOL_CORRUPT)
            elif self._is_expired(header.written_at_ns):
                self._give_up(record, DropReason.SPOOL_EXPIRED)
            else:
                return record, payload
        return None

    def acknowledge(self, record: Record, spans: int) -> None:
        """A batch of a held record has its fate; with the last of its batches the record is done."""
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
            self._tell(f"what was sent cannot be marked, and may be sent again: {error.strerror or error}")
        self._remove_if_done(segment)

    def requeue(self, record: Record) -> None:
        """A held record is no longer in memory: `next()` gives it again, before all others."""
        self._returned.append(record)

    @property
    def rest_seconds(self) -> float:
        """How long `maintain()` need not be called."""
        if self._unread and self._folder.own is not None:
            return 0.0
        return _LOOK_SECONDS if self._segments else _ORPHANS_SECONDS

    def maintain(self) -> None:
        """Opens, adopts what others left, gives up what is too old, and syncs; each in its own time."""
        now = self._clock()
        if self._folder.own is None and now >= self._open_at:
            self._open_at = now + _REOPEN_SECONDS
            self._claim()
        if self._folder.own is None:
            return
        if now >= self._orphans_at:
            self._orphans_at = now + _ORPHANS_SECONDS
            self._find_orphans()
            with suppress(OSError):  # others' affairs: whatever it is, it is tried again
                remove_expired(
                    self._settings.folder, self._settings.max_age_seconds, self._wall_clock() / 1e9
                )
        if self._unread:
            self._adopt(Segment(self._unread.popleft()))
        if self._is_unsynced and self._settings.fsync == "interval" and now >= self._sync_at:
            self._sync_at = now + _SYNC_SECONDS
            self._sync()
        if now >= self._look_at:
            self._look_at = now + _LOOK_SECONDS
            self._look()

    def pause(self) -> None:
        """Ends a run: makes everything safe. What is left stays this process's until it ends."""
        if self._settings.fsync != "never":
            self._sync()
        self._close_written()
        self._refresh()
        if not self._segments and not self._unread and not self._unreadable:
            self.close()
        self._is_in_use.release()

    def close(self) -> None:
        """Leaves the folder, and what is in it, to whoever comes next."""
        self._close_written()
        self._segments.clear()
        self._unread.clear()
        self._unreadable.clear()
        self._returned.clear()
        self._folder.close()

    def forget_after_fork(self) -> None:
        """In a forked child: closes its copies of the parent's files. Not to be used any more."""
        if self._written is not None:
            self._written.close()
        self._folder.forget_after_fork()

    # What is read.

    def _next_returned(self) -> "_Found | None":
        record = self._returned[0]
        try:
            found = record.segment.read(record.offset)
        except FileNotFoundError:
            found = None
        except OSError as error:
            self._cannot_read(error)
            return None
        self._returned.popleft()
        return (record, None, b"") if found is None else (record, *found)

    def _next_unread(self) -> "_Found | None":
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
            if segment is self._written:
                self._close_written()
            self._lose(segment, DropReason.SPOOL_CORRUPT)
            return None
        header, offset, payload = found
        segment.held[offset] = header.spans
        return Record(segment, offset, header.spans, header.written_at_ns), header, payload

    def _cannot_read(self, error: OSError) -> None:
        self._read_at = self._clock() + _READ_AGAIN_SECONDS
        self._tell(f"what it holds cannot be read: {error.strerror or error}")

    def _is_expired(self, written_at_ns: int) -> bool:
        return self._wall_clock() - written_at_ns > self._settings.max_age_seconds * 1e9

    def _give_up(self, record: Record, reason: DropReason) -> None:
        self._ledger.drop(record.spans, reason, ON_DISK)
        record.segment.is_damaged |= reason is DropReason.SPOOL_CORRUPT
        record.parts = 1
        self.acknowledge(record, record.spans)

    # What is written.

    def _make_room(self, record_bytes: int) -> None:
        """Sees that one more record may be written.

        Raises:
            OSError: it may not.
        """
        settings = self._settings
        if self._folder.own is None:
            raise OSError(self.status.trouble or "it is not open")
        if self.size_bytes + record_bytes > settings.max_bytes:
            self._expire()
        if self.size_bytes + record_bytes > settings.max_bytes:
            raise OSError(errno.ENOSPC, f"it holds its TELEMETRY_SPOOL_MAX_BYTES ({settings.max_bytes})")
        least_free = self._folder.disk_bytes * settings.min_free_ratio
        # Some systems know no size: nothing can be kept free of that.
        if self._folder.disk_bytes and self._folder.free_bytes - record_bytes < least_free:
            rule = f"less than TELEMETRY_SPOOL_MIN_FREE ({settings.min_free_ratio:.0%}) of its disk is free"
            raise OSError(errno.ENOSPC, rule)

    def _writable(self, record_bytes: int) -> Segment:
        written = self._written
        if written is not None and written.size and written.size + record_bytes > self._segment_bytes:
            if self._settings.fsync != "never":
                self._sync()
            self._close_written()
        if self._written is None:
            self._written = Segment(self._folder.next_file())
            self._segments.append(self._written)
        return self._written

    def _close_written(self) -> None:
        written, self._written = self._written, None
        if written is not None:
            written.close()
            self._remove_if_done(written)

    def _sync(self) -> None:
        self._is_unsynced = False
        try:
            if self._written is not None:
                self._written.sync()
        except OSError as error:
            self._tell(f"what it holds may not survive a loss of power: {error.strerror or error}")

    # What is owned, and by whom.

    def _claim(self) -> None:
        try:
            self._folder.claim()
        except OSError as error:
            what = f"{self._settings.folder} cannot be used: {error.strerror or error}"
            self._tell(f"{what}; set TELEMETRY_SPOOL_DIR to a folder that the service can write")

    def _find_orphans(self) -> None:
        self._unread.extend(self._unreadable)
        self._unreadable.clear()
        try:
            self._unread.extend(self._folder.take_orphans())
        except OSError as error:
            self._tell(f"{self._settings.folder} cannot be read: {error.strerror or error}")

    def _adopt(self, segment: Segment) -> None:
        try:
            lost = segment.survey()
        except FileNotFoundError:
            return  # somebody has removed it
        except OSError as error:
            self._unreadable.append(segment.path)
            self._tell(f"{segment.path} cannot be read now: {error.strerror or error}")
            return
        self._ledger.adopt(segment.live_spans + lost)
        self._ledger.drop(lost, DropReason.SPOOL_CORRUPT, ON_DISK)
        # After what was adopted before, and ahead of what is this process's own.
        own = sum(each.path.parent == self._folder.own for each in self._segments)
        self._segments.insert(len(self._segments) - own, segment)
        self._remove_if_done(segment)

    def _expire(self) -> None:
        for segment in tuple(self._segments):
            # With the whole file: what is only forgotten would be found when it is read again.
            if segment.live_records and not segment.held and self._is_expired(segment.newest_ns):
                if segment is self._written:
                    self._close_written()
                self._lose(segment, DropReason.SPOOL_EXPIRED)

    def _lose(self, segment: Segment, reason: DropReason) -> None:
        segment.is_damaged |= reason is DropReason.SPOOL_CORRUPT
        self._ledger.drop(segment.lose_waiting(), reason, ON_DISK)
        self._remove_if_done(segment)

    def _look(self) -> None:
        self._expire()
        with suppress(OSError):  # reported when it was acknowledged
            for segment in self._segments:
                segment.mark_acknowledged()
        self._folder.measure_disk()
        written = self._written
        if written is not None and written.size and not written.live_records:
            self._close_written()
        if self._folder.is_removed:
            # What was in it is lost, what comes has a new one.
            self._written = None
            for segment in [each for each in self._segments if each.path.parent == self._folder.own]:
                segment.close()
                self._lose(segment, DropReason.SPOOL_CORRUPT)
            self._claim()
        is_old = self._clock() - self._trouble_at > _TROUBLE_SECONDS
        self._refresh(None if is_old and self._folder.own is not None else self.status.trouble)

    def _remove_if_done(self, segment: Segment) -> None:
        if segment.live_records or segment is self._written or segment not in self._segments:
            return
        self._segments.remove(segment)
        try:
            if segment.is_damaged:
                self._folder.quarantine(segment.path)
            else:
                segment.path.unlink()
        except FileNotFoundError:
            pass  # somebody has removed it
        except OSError as error:
            self._tell(f"{segment.path} cannot be removed: {error.strerror or error}")
        part = segment.path.parent
        paths = (*self._unread, *self._unreadable, *(each.path for each in self._segments))
        if not any(path.parent == part for path in paths):
            self._folder.let_go(part)

    def _tell(self, trouble: str) -> None:
        self._trouble_at = self._clock()
        self._on_trouble(trouble)
        self._refresh(trouble)

    def _refresh(self, trouble: str | None = None) -> None:
        oldest = min(
            (each.oldest_ns for each in self._segments if each.live_records and each.oldest_ns is not None),
            default=None,
        )
        self.status = SpoolStatus(
            self.size_bytes, None if oldest is None else oldest / 1e9, trouble, self._folder.free_bytes
        )
