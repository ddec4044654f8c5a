"""A file with a line for each request of a run: written by Locust's process, read or followed by another.

It is CSV with a header. The writer finishes a line before it begins the next, so whatever ends in a line
break is complete; a reader leaves the rest for later.
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
    """One request. Times are seconds since the epoch, taken from the writer's monotonic clock."""

    due: float
    """When the request was due to be sent; latency counts from here."""
    started: float
    ended: float
    method: str
    name: str
    """The route, not the raw path."""
    status: int
    """0 if there was no response."""
    error: str
    """Empty if the response was the expected one."""
    trace_id: str
    """32 hexadecimal digits; empty if the response named none."""
    is_sampled: bool

    @property
    def latency_seconds(self) -> float:
        """The time from when the request was due to its end."""
        return self.ended - self.due


_HEADER = tuple(field.name for field in fields(RequestRecord))


class RequestsFile:
    """A writer of the file, for use by one thread. The caller is responsible for calling `flush()`."""

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
        """Makes the added lines visible to readers."""
        self._file.flush()

    def close(self) -> None:
        """Flushes and closes the file."""
        self._file.close()


class RequestsFollower:
    """A reader of a file that is still being written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0

    def read_new(self) -> list[RequestRecord]:
        """Returns the complete records since the last call; none while the file does not exist."""
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
    """Returns the file of a worker, counted from 1: `requests-2.csv` beside `requests.csv`."""
    return path.with_stem(f"{path.stem}-{number}")


def written_paths(path: Path) -> list[Path]:
    """Returns the files that a run with this requests file has written: that one, or its workers'."""
    workers = path.parent.glob(f"{glob.escape(path.stem)}-*{glob.escape(path.suffix)}")
    ours = (each for each in workers if each.stem.removeprefix(f"{path.stem}-").isdigit())
    return sorted([*ours, *([path] if path.exists() else [])])


def read_requests(paths: Iterable[Path]) -> list[RequestRecord]:
    """Returns every complete record of these files, in the order in which they were due."""
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
