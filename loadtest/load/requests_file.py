"""A line for each request of a run: written by Locust's process, followed or read by another.

CSV with a header. The writer's process ends a line before it begins the next, so whatever ends in a line
break is whole; a reader leaves the rest for later.
"""

import csv
import glob
import io
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request. Times are seconds of the epoch, each from one monotonic clock of the writer's."""

    due: float
    """When it was to be sent: latency counts from here."""
    started: float
    ended: float
    method: str
    name: str
    """The route, not the raw path."""
    status: int
    """0 when no answer came."""
    error: str
    """Empty when the answer was the expected one."""
    trace_id: str
    """32 hexadecimal digits; empty when the answer named none."""
    is_sampled: bool

    @property
    def latency_seconds(self) -> float:
        """From when it was due to its end."""
        return self.ended - self.due


_HEADER = tuple(field.name for field in fields(RequestRecord))


class RequestsFile:
    """Writes the file; for one thread. `flush()` is the caller's to call."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(_HEADER)

    def add(self, record: RequestRecord) -> None:
        """Adds a line."""
        row: list[Any] = list(astuple(record))
        row[:3] = (f"{value:.6f}" for value in row[:3])
        row[6] = " ".join(record.error.split())  # one line each
        row[8] = int(record.is_sampled)
        self._writer.writerow(row)

    def flush(self) -> None:
        """Lets readers see what was added."""
        self._file.flush()

    def close(self) -> None:
        """Writes the rest."""
        self._file.close()


class RequestsFollower:
    """Reads a file that is still being written: each call gives what is new and whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0

    def read_new(self) -> list[RequestRecord]:
        """The records since the last call; none while the file is not there."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._position)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        is_first = self._position == 0
        self._position += len(whole)
        rows = csv.reader(io.StringIO(whole.decode(), newline=""))
        if is_first and whole:
            next(rows)
        return list(_records(rows))


def path_of_worker(path: Path, number: int) -> Path:
    """The file of one of several workers, counted from 1: `requests-2.csv` beside `requests.csv`."""
    return path.with_stem(f"{path.stem}-{number}")


def written_paths(path: Path) -> list[Path]:
    """The files that a run was asked for as `path` wrote: that one, or its workers'."""
    workers = path.parent.glob(f"{glob.escape(path.stem)}-*{glob.escape(path.suffix)}")
    ours = (each for each in workers if each.stem.removeprefix(f"{path.stem}-").isdigit())
    return sorted([*ours, *([path] if path.exists() else [])])


def read_requests(paths: Iterable[Path]) -> list[RequestRecord]:
    """Every whole record of these files, by when each was due."""
    records = [record for path in paths for record in RequestsFollower(path).read_new()]
    return sorted(records, key=lambda record: record.due)


def _records(rows: Iterable[list[str]]) -> Iterator[RequestRecord]:
    for due, started, ended, method, name, status, error, trace_id, is_sampled in rows:
        yield RequestRecord(
            due=float(due),
            started=float(started),
            ended=float(ended),
            method=method,
            name=name,
            status=int(status),
            error=error,
            trace_id=trace_id,
            is_sampled=is_sampled == "1",
        )
