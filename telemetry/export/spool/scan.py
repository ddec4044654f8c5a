"""What is in a segment's content: its records, and what is damaged. It changes nothing."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from .descriptors import opened
from .format import HEADER_BYTES, Header, find_header, read_header


class Kind(StrEnum):
    """What a piece of a segment is."""

    LIVE = "live"
    ACKNOWLEDGED = "acknowledged"
    """A finished record; its payload is not checked."""
    DAMAGED_PAYLOAD = "damaged payload"
    """The header is valid and shows how many spans are lost."""
    UNREADABLE = "unreadable"
    """No valid header; how many spans are lost is unknown."""
    CUT_OFF = "cut off"
    """The end of the file, where its process was writing when it ended: never reported as safe."""


DAMAGED = frozenset({Kind.DAMAGED_PAYLOAD, Kind.UNREADABLE})


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a segment."""

    kind: Kind
    offset: int
    size: int
    header: Header | None = None


def scan(content: bytes) -> Iterator[Piece]:
    """Yields the pieces of a segment, in order."""
    offset = 0
    while offset < len(content):
        header = read_header(content, offset)
        if header is None:
            following = find_header(content, offset + 1)
            is_end = following is None and _is_torn(content[offset:])
            end = len(content) if following is None else following
            yield Piece(Kind.CUT_OFF if is_end else Kind.UNREADABLE, offset, end - offset)
        else:
            end = offset + header.record_bytes
            if end > len(content):
                yield Piece(Kind.CUT_OFF, offset, len(content) - offset, header)
            elif header.is_acknowledged:
                yield Piece(Kind.ACKNOWLEDGED, offset, header.record_bytes, header)
            else:
                is_whole = header.fits(content[offset + HEADER_BYTES : end])
                kind = Kind.LIVE if is_whole else Kind.DAMAGED_PAYLOAD
                yield Piece(kind, offset, header.record_bytes, header)
        offset = end


def count_live_spans(path: Path) -> int:
    """Returns the spans of a segment's live records by their headers alone, up to the first invalid one.

    Raises:
        OSError: it cannot be read.
    """
    spans = offset = 0
    with opened(path, os.O_RDONLY) as descriptor:
        while (header := read_header(os.pread(descriptor, HEADER_BYTES, offset))) is not None:
            spans += 0 if header.is_acknowledged else header.spans
            offset += header.record_bytes
    return spans


def _is_torn(rest: bytes) -> bool:
    """Returns whether an interrupted write left this: less than a header, or only zero bytes."""
    return len(rest) < HEADER_BYTES or not any(rest)
