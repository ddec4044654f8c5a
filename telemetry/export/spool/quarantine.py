"""The quarantine: damaged files, kept for inspection as long as nothing else needs their space."""

from contextlib import suppress
from pathlib import Path

from .descriptors import names_in

QUARANTINE = "quarantine"
_MOST_FILES = 8


class Quarantine:
    """A destination's damaged files, of all its processes together. For use by one thread.

    Args:
        destination: the folder that it is in.
    """

    def __init__(self, destination: Path) -> None:
        self.size_bytes = 0
        """The size of all files when last measured."""
        self._folder = destination / QUARANTINE

    def add(self, file: Path) -> None:
        """Moves a damaged file aside; only the latest few are kept.

        Raises:
            OSError: it cannot be moved.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        file.rename(self._folder / f"{file.parent.name}-{file.name}")
        self._keep(most_files=_MOST_FILES, most_bytes=None)

    def shrink(self, most_bytes: int) -> None:
        """Removes the oldest files until the others have at most this size."""
        self._keep(most_files=_MOST_FILES, most_bytes=max(0, most_bytes))

    def expire(self, max_age_seconds: float, now_seconds: float) -> None:
        """Removes files that were last written longer ago than this, and the folder with the last one."""
        with suppress(OSError):  # there is none, or it is not empty
            for written_at, _, file in self._files():
                if now_seconds - written_at > max_age_seconds:
                    file.unlink(missing_ok=True)
            self._folder.rmdir()

    def measure(self) -> None:
        """Measures the files again, which other processes may have added or removed."""
        self._keep(most_files=None, most_bytes=None)

    def _keep(self, *, most_files: int | None, most_bytes: int | None) -> None:
        files = self._files()
        self.size_bytes = sum(size for _, size, _ in files)
        while files and (
            (most_files is not None and len(files) > most_files)
            or (most_bytes is not None and self.size_bytes > most_bytes)
        ):
            _, size, file = files.pop(0)
            with suppress(OSError):
                file.unlink(missing_ok=True)
                self.size_bytes -= size

    def _files(self) -> list[tuple[float, int, Path]]:
        """Returns time, size and path of each file, the oldest first."""
        found = []
        with suppress(OSError):  # there is none
            for name in names_in(self._folder):
                with suppress(FileNotFoundError):  # another process has removed it
                    status = (self._folder / name).lstat()
                    found.append((status.st_mtime, status.st_size, self._folder / name))
        return sorted(found)
