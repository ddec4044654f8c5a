"""What each version has written stays readable, and the present one writes it as it always did."""

import os
import shutil
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from support.golden_spool import BATCHES, FIRST_SECOND, OWNER
from support.spool_rig import SPANS, SpoolRig, segments

from telemetry.export.spool.format import HEADER_BYTES, pack, read_header
from telemetry.export.spool.scan import Kind, scan

GOLDEN = Path(__file__).parent / "golden"
VERSIONS = sorted(path.name for path in GOLDEN.iterdir())
PRESENT = "version_1"
RECORD = (
    "f553504c ff 01 01 00 03000000 07000000 00002a36fe9c9717 156a2c42 acd59c61 7061796c6f6164"
    # magic, state, signal, version, unused, spans, length, written at, payload's and header's CRC-32, payload
)


def copy_of(version: str, folder: Path) -> Path:
    """Copies what a version left into a destination's folder; returns the segment."""
    destination = folder / "spool"
    shutil.copytree(GOLDEN / version, destination)
    return destination / OWNER / "00000001.seg"


@pytest.mark.parametrize("version", VERSIONS)
def test_spool_of_every_version_is_read(version: str, tmp_path: Path) -> None:
    """An upgrade sends what the version before it left, and nothing that was sent already."""
    copy_of(version, tmp_path)
    heir = SpoolRig(tmp_path / "spool", wall_seconds=FIRST_SECOND + 60)
    heir.adopt_all()
    requests = [ExportTraceServiceRequest.FromString(payload) for payload in heir.take_all()]
    spans = [list(request.resource_spans[0].scope_spans[0].spans) for request in requests]
    assert [[span.name for span in batch] for batch in spans] == [list(BATCHES[0]), list(BATCHES[2])]
    first = spans[0][0]
    assert first.trace_id == bytes.fromhex("a000000000000000000000000000000b")
    assert first.start_time_unix_nano == FIRST_SECOND * 10**9 - 10**9 + 11
    assert {each.key for each in first.attributes} == {"http.route", "number", "ratio", "tags"}
    assert requests[0].resource_spans[0].resource.attributes[0].value.string_value == "shop"
    reading = heir.ledger.read()
    assert (reading.adopted, reading.delivered, reading.dropped) == (5, 5, {})
    assert segments(tmp_path) == []


def test_present_version_writes_the_same_bytes(tmp_path: Path) -> None:
    """The same payloads at the same times make the same file."""
    content = (GOLDEN / PRESENT / OWNER / "00000001.seg").read_bytes()
    rig = SpoolRig(tmp_path / "spool", wall_seconds=FIRST_SECOND)
    for piece in scan(content):
        assert piece.header is not None
        payload = content[piece.offset + HEADER_BYTES : piece.offset + piece.size]
        is_sent = piece.kind is Kind.ACKNOWLEDGED
        record = rig.spool.append(payload, piece.header.spans, is_held=is_sent)
        assert record is not None
        if is_sent:
            rig.spool.acknowledge(record, record.spans)
        rig.wall_seconds += 1
    (file,) = segments(tmp_path)
    assert file.read_bytes() == content
    rig.spool.forget_after_fork()


def test_record_is_these_bytes() -> None:
    """Both directions: a change of both the writer and the reader would be a new format."""
    record = pack(b"payload", 3, FIRST_SECOND * 10**9)
    assert record == bytes.fromhex(RECORD)
    header = read_header(bytes.fromhex(RECORD))
    assert header is not None
    assert (header.spans, header.payload_bytes, header.written_at_ns) == (SPANS, 7, FIRST_SECOND * 10**9)
    assert header.fits(b"payload")


@pytest.mark.parametrize("position", [4, *range(5, HEADER_BYTES)])
def test_header_is_covered_by_its_checksum(position: int) -> None:
    """All but the state, the byte that is written twice."""
    record = bytearray.fromhex(RECORD)
    record[position] ^= 0x01
    header = read_header(bytes(record))
    assert (header is None) == (position != 4), os.fsdecode(bytes(record))
