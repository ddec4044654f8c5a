"""The file with a line per request, written by one process and followed by another."""

from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.load.requests_file import (
    RequestRecord,
    RequestsFile,
    RequestsFollower,
    path_of_worker,
    read_requests,
    written_paths,
)

RECORD = RequestRecord(
    due=1_795_000_000.000001,
    started=1_795_000_000.25,
    ended=1_795_000_001.5,
    method="GET",
    name="/v1/products/{product_id}",
    status=0,
    error='refused, "twice"',
    trace_id="a" * 32,
    is_sampled=True,
)


def write(path: Path, *records: RequestRecord) -> None:
    """Writes a complete file."""
    file = RequestsFile(path)
    for record in records:
        file.add(record)
    file.close()


def test_record_survives_its_line(tmp_path: Path) -> None:
    """Times keep their microseconds, and texts their commas and quotes; latency counts from the due time."""
    write(tmp_path / "requests.csv", RECORD)

    (found,) = read_requests([tmp_path / "requests.csv"])
    assert replace(found, due=0, started=0, ended=0) == replace(RECORD, due=0, started=0, ended=0)
    for field in ("due", "started", "ended"):
        assert getattr(found, field) == pytest.approx(getattr(RECORD, field), abs=1e-6)
    assert found.latency_seconds == pytest.approx(1.5, abs=1e-5)


def test_file_begins_with_a_header(tmp_path: Path) -> None:
    """Other tools can open the file."""
    write(tmp_path / "requests.csv")

    header = "due,started,ended,method,name,status,error,trace_id,is_sampled\n"
    assert (tmp_path / "requests.csv").read_text() == header


def test_error_of_several_lines_is_one_line(tmp_path: Path) -> None:
    """Otherwise a line break would no longer end a record."""
    write(tmp_path / "requests.csv", replace(RECORD, error="first\nsecond\r\nthird"))

    assert read_requests([tmp_path / "requests.csv"])[0].error == "first second third"


def test_follower_waits_for_the_rest_of_a_torn_line(tmp_path: Path) -> None:
    """Each record is read once and whole, wherever the writer's buffer ended."""
    write(tmp_path / "whole.csv", RECORD, replace(RECORD, status=200), replace(RECORD, status=201))
    data = (tmp_path / "whole.csv").read_bytes()
    torn = tmp_path / "torn.csv"
    follower = RequestsFollower(torn)
    assert follower.read_new() == []

    found = []
    for end in range(0, len(data) + 1, 7):
        torn.write_bytes(data[:end])
        found += follower.read_new()
    torn.write_bytes(data)
    found += follower.read_new()

    assert [record.status for record in found] == [0, 200, 201]
    assert follower.read_new() == []


def test_workers_files_are_found(tmp_path: Path) -> None:
    """Records are in the order of their due times; files with similar names are ignored."""
    path = tmp_path / "requests.csv"
    write(path_of_worker(path, 1), replace(RECORD, due=3.0), replace(RECORD, due=1.0))
    write(path_of_worker(path, 2), replace(RECORD, due=2.0))
    write(tmp_path / "requests-old.csv", RECORD)

    assert [each.name for each in written_paths(path)] == ["requests-1.csv", "requests-2.csv"]
    assert [record.due for record in read_requests(written_paths(path))] == [1.0, 2.0, 3.0]


def test_file_of_one_process_is_found(tmp_path: Path) -> None:
    """The list is empty as long as there is no file."""
    path = tmp_path / "requests.csv"
    assert written_paths(path) == []
    write(path)
    assert written_paths(path) == [path]
