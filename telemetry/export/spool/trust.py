"""Which folders a spool may use: in a shared place such as /tmp, another user could have put them there.

Spans hold whatever an application puts in them. Nobody else may choose the folder that they are written to,
nor plant files in it, which would be sent with this service's credentials.
"""

import errno
import os
import secrets
import stat
from collections import deque
from pathlib import Path

_MOST_LINKS = 40


class UntrustedFolderError(OSError):
    """Another user controls the folder, or could; the message has the remedy."""


def check_way(folder: Path) -> None:
    """Checks that no other user could put something else in a folder's place.

    In a folder that everybody may write, only entries of this user or of root are trusted, and only with the
    sticky bit, which keeps others from replacing them. A mounted volume needs no sticky bit: in a container
    it often has mode 0777, and is shared with nobody.

    Args:
        folder: an absolute path; what is missing is going to be created.

    Raises:
        UntrustedFolderError: one could.
        OSError: it cannot be found out.
    """
    place, left, links = Path(folder.anchor), deque(folder.parts[1:]), 0
    while left:
        name = left.popleft()
        if name == os.pardir:
            place = place.parent
            continue
        is_shared = _is_shared(place)
        entry = place / name
        try:
            found = entry.lstat()
        except FileNotFoundError:
            return
        if is_shared and found.st_uid not in {0, os.geteuid()}:
            raise UntrustedFolderError(
                f"{entry} {_of_another_user(found)}, and everybody may write to {place}: set "
                "TELEMETRY_SPOOL_DIR to a folder that only this service can write"
            )
        if not stat.S_ISLNK(found.st_mode):
            place = entry
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(folder))
        target = entry.readlink()
        if target.is_absolute():
            place = Path(target.anchor)
        left.extendleft(reversed(target.parts[1:] if target.is_absolute() else target.parts))


def make_own_folder(folder: Path) -> None:
    """Creates a folder with its parents if it is missing, for this user only, and checks that it is ours.

    Raises:
        UntrustedFolderError: another user controls it, or could.
        OSError: it cannot be created.
    """
    check_way(folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_own_folder(folder)


def check_own_folder(folder: Path) -> None:
    """Checks that a folder is no symbolic link, belongs to this user, and that not everybody may write to it.

    Its group may: Kubernetes gives a volume's files to the pod's group (`fsGroup`).

    Raises:
        UntrustedFolderError: it is not so.
        OSError: it cannot be found out.
    """
    found = folder.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise UntrustedFolderError(
            f"{folder} is a symbolic link: remove it, or set TELEMETRY_SPOOL_DIR to the folder it leads to"
        )
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    if found.st_uid != os.geteuid():
        raise UntrustedFolderError(
            f"{folder} {_of_another_user(found)}: run as that user, give it to this one (chown -R "
            f"{os.geteuid()}), or set TELEMETRY_SPOOL_DIR to another folder"
        )
    if found.st_mode & stat.S_IWOTH and _has_modes(folder):
        raise UntrustedFolderError(
            f"everybody may write to {folder}: remove what is not of this service, then chmod 700"
        )


def is_own_folder(folder: Path) -> bool:
    """Returns whether `check_own_folder` finds no fault."""
    try:
        check_own_folder(folder)
    except OSError:
        return False
    return True


def _is_shared(place: Path) -> bool:
    """Returns whether everybody may create entries here.

    Raises:
        UntrustedFolderError: everybody may replace those of others too.
    """
    mode = place.stat().st_mode
    if not mode & stat.S_IWOTH:
        return False
    if not mode & stat.S_ISVTX and not os.path.ismount(place) and _has_modes(place):
        raise UntrustedFolderError(
            f"everybody may replace what is in {place}: chmod +t or chmod o-w, or set TELEMETRY_SPOOL_DIR to "
            "another folder"
        )
    return True


def _has_modes(folder: Path) -> bool:
    """Returns whether the file system has modes: shares of Windows show 0777 for everything."""
    probe = folder / f".{secrets.token_hex(8)}"
    try:
        probe.mkdir(mode=0o700)
    except OSError:
        return True
    try:
        return not probe.stat().st_mode & stat.S_IWOTH
    finally:
        probe.rmdir()


def _of_another_user(found: os.stat_result) -> str:
    return f"belongs to another user (uid {found.st_uid}; this process has uid {os.geteuid()})"
