"""What lies in a spool: read without changing it, beside the processes that use it."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from .descriptors import names_in, read_file
from .directory import segment_files
from .lock import OWNER, is_owned
from .note import NOTE, Destination, read_note
from .quarantine import QUARANTINE
from .scan import DAMAGED, Kind, Piece, scan
from .sweep import DESTINATION
from .trust import check_own_folder


@dataclass(frozen=True, slots=True)
class Damage:
    """A damaged part of a segment."""

    file: Path
    offset: int
    size_bytes: int
    spans: int | None
    """The number of spans that are lost; None if the header is damaged too."""


@dataclass(slots=True)
class OwnerContents:
    """What one process has on disk, or had when it ended."""

    path: Path
    is_alive: bool
    """Whether the process lives, which sends what is here by itself."""
    files: int = 0
    size_bytes: int = 0
    records: int = 0
    """The number of records that wait to be sent."""
    spans: int = 0
    oldest_ns: int | None = None
    """When the oldest of them was written, on the wall clock."""
    damage: list[Damage] = field(default_factory=list)

    @property
    def pid(self) -> int:
        """The number of the process, on its host or in its container."""
        return int(self.path.name.partition("-")[0])


@dataclass(slots=True)
class DestinationContents:
    """What waits for one destination."""

    path: Path
    destination: Destination = field(default_factory=Destination)
    owners: list[OwnerContents] = field(default_factory=list)
    quarantined_files: int = 0
    quarantined_bytes: int = 0
    trouble: str | None = None
    """Why it cannot be read."""

    @property
    def orphaned(self) -> list[OwnerContents]:
        """Those whose process has ended."""
        return [owner for owner in self.owners if not owner.is_alive]

    @property
    def alive(self) -> list[OwnerContents]:
        """Those whose process lives."""
        return [owner for owner in self.owners if owner.is_alive]

    @property
    def damage(self) -> list[Damage]:
        """Every damaged part."""
        return [each for owner in self.owners for each in owner.damage]


def inspect_spool(folder: Path) -> list[DestinationContents]:
    """Returns the contents of a spool, or of the folder of one destination.

    Raises:
        OSError: the folder cannot be read.
    """
    return [_inspect_destination(path) for path in _destinations_in(folder)]


def _destinations_in(folder: Path) -> list[Path]:
    names = names_in(folder)
    # The folder of a dead host may have been copied under any name.
    if NOTE in names or DESTINATION.fullmatch(folder.name) or any(map(OWNER.fullmatch, names)):
        return [folder]
    return [folder / name for name in names if DESTINATION.fullmatch(name)]


def _inspect_destination(path: Path) -> DestinationContents:
    contents = DestinationContents(path)
    try:
        check_own_folder(path)
        contents.destination = read_note(path)
        for name in names_in(path):
            if OWNER.fullmatch(name):
                with suppress(FileNotFoundError):  # its process has just removed it
                    contents.owners.append(_inspect_owner(path / name))
    except OSError as error:
        contents.trouble = str(error)
    with suppress(OSError):  # there is none
        sizes = [(path / QUARANTINE / name).stat().st_size for name in names_in(path / QUARANTINE)]
        contents.quarantined_files, contents.quarantined_bytes = len(sizes), sum(sizes)
    return contents


def _inspect_owner(path: Path) -> OwnerContents:
    check_own_folder(path)
    contents = OwnerContents(path, is_owned(path))
    for file, pieces in _pieces(path, is_alive=contents.is_alive):
        contents.files += 1
        for piece in pieces:
            contents.size_bytes += piece.size
            header = piece.header
            if piece.kind is Kind.LIVE and header is not None:
                contents.records += 1
                contents.spans += header.spans
                written_at_ns = header.written_at_ns
                contents.oldest_ns = min(contents.oldest_ns or written_at_ns, written_at_ns)
            elif piece.kind in DAMAGED:
                lost = None if header is None else header.spans
                contents.damage.append(Damage(file, piece.offset, piece.size, lost))
    return contents


def _pieces(owner: Path, *, is_alive: bool) -> Iterator[tuple[Path, list[Piece]]]:
    for file in segment_files(owner):
        with suppress(FileNotFoundError):  # its owner has just sent and removed it
            pieces = list(scan(read_file(file)))
            if is_alive and any(piece.kind in DAMAGED for piece in pieces):
                pieces = list(scan(read_file(file)))  # it may have been read in the middle of a write
            yield file, pieces
