"""The format of a spool record: one encoded batch on disk.

    magic 4 | state 1 | signal 1 | version 1 | unused 1 | spans 4 | length 4 | written at 8
    | CRC-32 of payload 4 | of header 4 | payload

All numbers are little endian; the time is in nanoseconds of the wall clock, the only one that outlives a
process. The header's checksum covers everything before it except `state`, the only byte that is ever written
twice: a single byte cannot be half written. A valid header shows how many spans a damaged payload had.
"""

import struct
import zlib
from dataclasses import dataclass

_MAGIC = b"\xf5SPL"
"""No UTF-8 text contains its first byte."""
_LIVE, _ACKNOWLEDGED = 0xFF, 0x00
_STATE_AT = 4
_VERSION = 1
TRACES = 1
"""The signal of every record so far."""
_HEADER = struct.Struct("<4sBBBxIIQI")
_CHECKSUM = struct.Struct("<I")
HEADER_BYTES = _HEADER.size + _CHECKSUM.size
ACKNOWLEDGED = bytes([_ACKNOWLEDGED])


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a record; its checksum was valid."""

    is_acknowledged: bool
    spans: int
    payload_bytes: int
    written_at_ns: int
    payload_checksum: int

    @property
    def record_bytes(self) -> int:
        """The size of header and payload."""
        return HEADER_BYTES + self.payload_bytes

    def fits(self, payload: bytes) -> bool:
        """Returns whether this is the payload that was written."""
        return len(payload) == self.payload_bytes and zlib.crc32(payload) == self.payload_checksum


def pack(payload: bytes, spans: int, written_at_ns: int) -> bytes:
    """Packs a record, ready to be written."""
    head = _HEADER.pack(
        _MAGIC, _LIVE, TRACES, _VERSION, spans, len(payload), written_at_ns, zlib.crc32(payload)
    )
    return b"".join((head, _CHECKSUM.pack(_header_checksum(head)), payload))


def state_offset(record_offset: int) -> int:
    """Returns the offset where `ACKNOWLEDGED` is written when the batch is finished."""
    return record_offset + _STATE_AT


def read_header(buffer: bytes, offset: int = 0) -> Header | None:
    """Reads the header at an offset; returns None if there is none, or an invalid one."""
    end = offset + HEADER_BYTES
    if end > len(buffer):
        return None
    head = buffer[offset : offset + _HEADER.size]
    magic, state, signal, version, spans, size, written_at_ns, payload_checksum = _HEADER.unpack(head)
    (checksum,) = _CHECKSUM.unpack_from(buffer, offset + _HEADER.size)
    if magic != _MAGIC or checksum != _header_checksum(head):
        return None
    if signal != TRACES or version != _VERSION:
        return None
    return Header(state == _ACKNOWLEDGED, spans, size, written_at_ns, payload_checksum)


def find_header(buffer: bytes, start: int) -> int | None:
    """Returns the offset of the next valid header from `start` on; None if there is none."""
    at = buffer.find(_MAGIC, start)
    while at >= 0:
        if read_header(buffer, at) is not None:
            return at
        at = buffer.find(_MAGIC, at + 1)
    return None


def _header_checksum(head: bytes) -> int:
    return zlib.crc32(head[_STATE_AT + 1 :], zlib.crc32(head[:_STATE_AT]))
