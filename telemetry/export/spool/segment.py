"""A segment: one file of records, appended to by its owner and removed when all of them are finished."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .descriptors import close_file, open_file, opened, read_file
from .format import ACKNOWLEDGED, HEADER_BYTES, Header, find_header, pack, read_header, state_offset
from .scan import Kind, scan

SUFFIX = ".seg"


@dataclass(slots=True, eq=False)
class Record:
    """A held live record: its batch is in memory, or being sent."""

    segment: "Segment"
    offset: int
    spans: int
    written_at_ns: int
    """The time on the wall clock."""
    parts: int = 1
    """The number of its batches that are not finished yet."""

    def split(self) -> None:
        """Records that one of its batches is sent as two."""
        self.parts += 1


class Segment:
    """One file of records. For use by one thread.

    Args:
        path: the file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        """The size of the file in bytes, without an incomplete record at its end."""
        self.live_records = 0
        self.live_spans = 0
        self.held: dict[int, int] = {}
        """Spans of held live records, by offset; `next_record()` skips these."""
        self.oldest_ns: int | None = None
        """The time on the wall clock; to be compared after adding `correction_ns`."""
        self.newest_ns = 0
        self.correction_ns = 0
        """What the wall clock had to be corrected by when this segment was begun or adopted."""
        self.is_damaged = False
        self.counted: dict[int, int] = {}
        """Finished spans of held records, by offset: the other halves of these records are unfinished."""
        self._unmarked: set[int] = set()
        """Acknowledged records whose mark could not be written yet; this process never sends them again."""
        self._descriptor: int | None = None
        self._position = 0

    @property
    def waiting(self) -> int:
        """The number of live records that are not held."""
        return self.live_records - len(self.held)

    def append(self, payload: bytes, spans: int, now_ns: int) -> int:
        """Appends a record; returns its offset. A record that an error cuts off is removed again.

        Raises:
            OSError: the disk is full, broken, or not writable.
        """
        if self._descriptor is None:
            self._descriptor = open_file(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        offset, data = self.size, memoryview(pack(payload, spans, now_ns))
        written = 0
        try:
            while written < len(data):
                written += os.pwrite(self._descriptor, data[written:], offset + written)
        except OSError:
            with suppress(OSError):  # otherwise the next record overwrites it
                os.ftruncate(self._descriptor, offset)
            raise
        self.size += written
        self._count(spans, now_ns)
        return offset

    def sync(self) -> None:
        """Syncs appended records to disk, so that they survive a power loss.

        Raises:
            OSError: the disk failed.
        """
        if self._descriptor is not None:
            (os.fdatasync if hasattr(os, "fdatasync") else os.fsync)(self._descriptor)  # macOS has the latter

    def survey(self) -> int:
        """Checks every record of a file that another process left, and counts the live ones.

        Returns the number of spans in live records with a valid header but a damaged payload. A record cut
        off at the end was being written when that process ended: it was never reported as safe.

        Raises:
            OSError: it cannot be read.
        """
        content = read_file(self.path)
        self.size, lost_spans = len(content), 0
        for piece in scan(content):
            header = piece.header
            if piece.kind is Kind.CUT_OFF:
                self.size = piece.offset
            elif piece.kind is Kind.UNREADABLE:
                self.is_damaged = True
            elif header is not None and piece.kind is Kind.LIVE:
                self._count(header.spans, header.written_at_ns)
            elif header is not None and piece.kind is Kind.DAMAGED_PAYLOAD:
                self.is_damaged = True
                lost_spans += header.spans
                self._mark(piece.offset)  # so that the next reader does not count it again
        return lost_spans

    def next_record(self) -> "tuple[Header, int, bytes] | None":
        """Returns header, offset and payload of the next live record that is not held; None at the end.

        A damaged payload is returned with its header, which shows how many spans are lost.

        Raises:
            OSError: it cannot be read.
        """
        with self._opened() as descriptor:
            while self._position < self.size:
                offset = self._position
                header = read_header(os.pread(descriptor, HEADER_BYTES, offset))
                if header is None or offset + header.record_bytes > self.size:
                    self.is_damaged = True
                    rest = os.pread(descriptor, self.size - offset, offset)
                    following = find_header(rest, 1)
                    self._position = self.size if following is None else offset + following
                    continue
                self._position = offset + header.record_bytes
                is_acknowledged = header.is_acknowledged or offset in self._unmarked
                if not is_acknowledged and offset not in self.held:
                    payload = os.pread(descriptor, header.payload_bytes, offset + HEADER_BYTES)
                    return header, offset, payload
        return None

    def read(self, offset: int) -> "tuple[Header, bytes] | None":
        """Reads the record at an offset; returns None if its header is no longer valid.

        Raises:
            OSError: it cannot be read.
        """
        with self._opened() as descriptor:
            header = read_header(os.pread(descriptor, HEADER_BYTES, offset))
            if header is None:
                return None
            return header, os.pread(descriptor, header.payload_bytes, offset + HEADER_BYTES)

    def acknowledge(self, offset: int, spans: int) -> None:
        """Marks a record as acknowledged: it is never sent again.

        Raises:
            OSError: the mark could not be written; the record may be sent once more by the next process.
        """
        self.live_records -= 1
        self.live_spans -= spans
        self._unmarked.add(offset)
        self.mark_acknowledged()

    def mark_acknowledged(self) -> None:
        """Writes the marks that are still missing.

        Raises:
            OSError: one could not be written; the next call retries it.
        """
        for offset in sorted(self._unmarked):
            self._mark(offset)
            self._unmarked.discard(offset)

    def rewind(self) -> int:
        """Starts reading from the beginning again, with no record held.

        Returns the number of finished spans that are returned again: those of partly finished records.
        """
        self._position = 0
        self.held.clear()
        again = sum(self.counted.values())
        self.counted.clear()
        return again

    def lose_waiting(self) -> int:
        """Forgets the live records that are not held; returns how many spans they had."""
        kept = sum(self.held.values())
        lost = self.live_spans - kept
        self.live_records, self.live_spans = len(self.held), kept
        return lost

    def close(self) -> None:
        """Closes the file; the segment can still be read."""
        if self._descriptor is not None:
            close_file(self._descriptor)
            self._descriptor = None

    def _mark(self, offset: int) -> None:
        with self._opened() as descriptor:
            os.pwrite(descriptor, ACKNOWLEDGED, state_offset(offset))

    def _count(self, spans: int, written_at_ns: int) -> None:
        if self.oldest_ns is None or not self.live_records:
            self.oldest_ns = written_at_ns
        else:
            self.oldest_ns = min(self.oldest_ns, written_at_ns)
        self.live_records += 1
        self.live_spans += spans
        self.newest_ns = max(self.newest_ns, written_at_ns)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        # Only the segment being written keeps its file open: there may be hundreds of others.
        if self._descriptor is not None:
            yield self._descriptor
            return
        with opened(self.path, os.O_RDWR) as descriptor:
            yield descriptor
