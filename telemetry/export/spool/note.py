"""The note in a destination's folder: says in plain words which spans wait there, and guards the folder.

Whoever creates something in the folder holds the note's lock together with others; whoever removes the folder
holds it alone. So nothing is removed that another process is just making.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .descriptors import close_file, is_same_file, lock_file, names_in, open_file, read_file
from .trust import make_own_folder

NOTE = "destination.txt"
COMMAND = f"python -m {__name__.removesuffix('.export.spool.note')} spool"
"""What handles a spool by hand, wherever this package was copied to."""
_TRIES = 20
_SECONDS_BETWEEN_TRIES = 0.05
_MOST_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the spans of a folder go; empty if its note is missing."""

    endpoint: str = ""
    """Without credentials and query."""
    protocol: str = ""

    def __str__(self) -> str:
        return f"{self.endpoint} ({self.protocol})" if self.endpoint else "an unknown endpoint"


def read_note(folder: Path) -> Destination:
    """Returns what a folder's note says."""
    try:
        text = read_file(folder / NOTE).decode(errors="replace")
    except OSError:
        return Destination()
    fields = dict(line.partition(": ")[::2] for line in text.splitlines())
    return Destination(_plain(fields.get("endpoint", "")), _plain(fields.get("protocol", "")))


@contextmanager
def hold_destination(folder: Path, destination: Destination) -> Iterator[None]:
    """Creates a destination's folder and its note, if missing, and keeps others from removing them.

    Raises:
        OSError: it cannot be created, or another user controls it.
    """
    descriptor = _lock_note(folder)
    try:
        with suppress(OSError):  # a full disk: the folder is usable without
            _write(descriptor, _text(destination))
        yield
    finally:
        close_file(descriptor)


def remove_if_empty(folder: Path) -> None:
    """Removes a destination's folder that holds nothing but its note, unless somebody is using it."""
    with suppress(OSError):  # it is not empty, or somebody has removed it
        try:
            descriptor = open_file(folder / NOTE, os.O_RDWR)
        except FileNotFoundError:  # an earlier version made it
            folder.rmdir()
            return
        # Asked under the lock again: it is taken only where it may be needed.
        if names_in(folder) != [NOTE]:
            close_file(descriptor)
            return
        try:
            is_alone = lock_file(descriptor) and is_same_file(folder / NOTE, descriptor)
            if is_alone and names_in(folder) == [NOTE]:
                (folder / NOTE).unlink()
                folder.rmdir()
        finally:
            close_file(descriptor)


def _lock_note(folder: Path) -> int:
    failure: OSError = OSError(f"somebody is removing {folder}")
    for _ in range(_TRIES):
        try:
            make_own_folder(folder)
            descriptor = open_file(folder / NOTE, os.O_RDWR | os.O_CREAT)
        except (FileNotFoundError, FileExistsError) as error:
            failure = error  # somebody has just removed the folder, or it cannot be created
            continue
        is_held = False
        try:
            is_held = lock_file(descriptor, is_shared=True) and is_same_file(folder / NOTE, descriptor)
        finally:
            if not is_held:
                close_file(descriptor)
        if is_held:
            return descriptor
        time.sleep(_SECONDS_BETWEEN_TRIES)
    raise failure


def _write(descriptor: int, text: bytes) -> None:
    if os.pread(descriptor, len(text) + 1, 0) != text:
        os.pwrite(descriptor, text, 0)
        os.ftruncate(descriptor, len(text))


def _text(destination: Destination) -> bytes:
    lines = (
        "Spans wait in this folder until they can be sent.",
        f"endpoint: {_plain(destination.endpoint)}",
        f"protocol: {_plain(destination.protocol)}",
        "Other headers or another client certificate have a folder of their own.",
        f"`{COMMAND} --help` says how to see, check, send or drop them.",
    )
    return "".join(f"{line}\n" for line in lines).encode()


def _plain(text: str) -> str:
    """Returns a text without what a terminal could take for a command."""
    return "".join(each for each in text if each.isprintable())[:_MOST_CHARACTERS]
