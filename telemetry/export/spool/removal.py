"""Taking over the folders of dead processes by hand: to send what is in them, or to remove it."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from .descriptors import names_in, opened, read_file
from .directory import segment_files
from .format import ACKNOWLEDGED, HEADER_BYTES, state_offset
from .lock import DirectoryLock
from .note import remove_if_empty
from .quarantine import QUARANTINE
from .scan import DAMAGED, Kind, scan


def send_owner(path: Path, send: Callable[[bytes, int], bool]) -> bool:
    """Hands each waiting record of a dead process to `send`, and removes those for which it returns True.

    A record is marked before the next one is sent, and a file removed after its last one: what ends this at
    any instant costs at most one batch sent twice. Damaged records stay.

    Args:
        path: the owner directory.
        send: takes a payload and its number of spans; what it raises ends this, with nothing lost.

    Returns:
        False if it has a living owner, or is gone.

    Raises:
        OSError: a file cannot be read or changed.
    """
    lock = DirectoryLock.take(path)
    if lock is None:
        return False
    try:
        for file in segment_files(path):
            if _send_file(file, send):
                file.unlink()
    finally:
        lock.remove()  # or releases it, if files are left
    return True


def _send_file(file: Path, send: Callable[[bytes, int], bool]) -> bool:
    """Returns whether nothing of the file is left."""
    content, is_done = read_file(file), True
    for piece in scan(content):
        header = piece.header
        if piece.kind in DAMAGED:
            is_done = False
        elif piece.kind is Kind.LIVE and header is not None:
            payload = content[piece.offset + HEADER_BYTES : piece.offset + piece.size]
            if send(payload, header.spans):
                with opened(file, os.O_WRONLY) as descriptor:
                    os.pwrite(descriptor, ACKNOWLEDGED, state_offset(piece.offset))
            else:
                is_done = False
    return is_done


def remove_owner(path: Path) -> bool:
    """Removes all that a dead process left; returns False if it has a living owner, or is gone.

    Raises:
        OSError: a file cannot be removed.
    """
    lock = DirectoryLock.take(path)
    if lock is None:
        return False
    try:
        for file in segment_files(path):
            file.unlink()
    finally:
        lock.remove()
    return True


def remove_rest(destination: Path) -> None:
    """Removes the damaged files kept for inspection, and the destination's folder if nothing else is in it.

    Raises:
        OSError: a file cannot be removed.
    """
    quarantine = destination / QUARANTINE
    with suppress(FileNotFoundError):  # there is none
        for name in names_in(quarantine):
            (quarantine / name).unlink(missing_ok=True)
        with suppress(OSError):  # a living process has just put one there
            quarantine.rmdir()
    remove_if_empty(destination)
