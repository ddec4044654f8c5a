"""The backlog on a spool that works, or refuses, with clocks of its own."""

from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from support.spool_rig import SPANS, SpoolRig

from telemetry.export.backlog import Backlog
from telemetry.export.ledger import DropReason
from telemetry.export.otlp.result import Disposition, ExportResult
from telemetry.export.otlp.spans import Encoder
from telemetry.export.otlp.split import Batch
from telemetry.export.outbox import Flush


def backlog_on(rig: SpoolRig, limit_bytes: int = 2**20) -> Backlog:
    """Returns the backlog of a new run on the rig's spool."""
    rig.spool.pause()
    backlog = Backlog(limit_bytes, rig.spool, rig.ledger, rig.generation, is_write_ahead=False)
    backlog.begin()
    return backlog


def add(rig: SpoolRig, backlog: Backlog, payload: bytes, *, spill: bool = False) -> bool:
    """Ends spans, and adds their batch."""
    for _ in range(SPANS):
        rig.ledger.admit(rig.generation, is_full=False)
    return backlog.add(Batch(payload, SPANS), 0, spill=spill)


def test_batches_that_the_spool_refuses_stay_in_memory(tmp_path: Path) -> None:
    """An outage with a full disk costs nothing until memory is full as well."""
    rig = SpoolRig(tmp_path, max_bytes=1_000)
    backlog = backlog_on(rig)
    for payload in (b"a" * 600, b"b" * 600, b"c"):
        assert add(rig, backlog, payload)
    backlog.spill()
    assert backlog.size_bytes == 601
    reading = rig.ledger.read()
    assert (reading.spooled, reading.in_memory, reading.dropped) == (SPANS, 2 * SPANS, {})
    sent = [backlog.next(rig.now) for _ in range(3)]
    assert [each and each.batch.payload[:1] for each in sent] == [b"b", b"c", b"a"]


def test_batch_that_finds_room_nowhere_is_dropped_with_the_spools_reason(tmp_path: Path) -> None:
    """A batch larger than what is left in memory goes to the spool, whose refusal is the reason."""
    rig = SpoolRig(tmp_path, max_bytes=1_000)
    backlog = backlog_on(rig, limit_bytes=10)
    assert add(rig, backlog, b"a" * 600)
    assert not add(rig, backlog, b"b" * 600)
    reading = rig.ledger.read()
    assert (reading.spooled, reading.in_memory) == (SPANS, 0)
    assert reading.dropped == {DropReason.SPOOL_FULL: SPANS}


def test_what_comes_from_the_spool_is_paced(tmp_path: Path) -> None:
    """Otherwise a spool full of spans would knock the Collector over again."""
    rig = SpoolRig(tmp_path)
    backlog = backlog_on(rig)
    assert add(rig, backlog, b"payload", spill=True)
    backlog.pace.begin(rig.now, 0.0)
    assert backlog.may_send_at(is_ending=False, is_paced=True) == rig.now
    assert backlog.next(rig.now) is not None
    assert backlog.pace.next_at == rig.now + SPANS / 2_000


def test_what_waited_in_memory_is_paced_and_fresh_batches_are_not(tmp_path: Path) -> None:
    """Fresh batches go at once and take nothing from the pace of the others."""
    rig = SpoolRig(tmp_path)
    backlog = Backlog(2**20, None, rig.ledger, rig.generation, is_write_ahead=False)
    assert add(rig, backlog, b"late")
    backlog.begin_replay(rig.now, jitter=0.0, outage_seconds=0.5)
    assert add(rig, backlog, b"fresh")
    assert backlog.may_send_at(is_ending=False, is_paced=True) < 0
    fresh = backlog.next(rig.now)
    assert fresh is not None
    assert fresh.batch.payload == b"fresh"
    begin = rig.now + 0.5
    assert backlog.may_send_at(is_ending=False, is_paced=True) == begin
    late = backlog.next(begin)
    assert late is not None
    assert late.batch.payload == b"late"
    assert backlog.pace.next_at == begin + 1.0  # three spans over twice the outage


@pytest.mark.parametrize("second", [Disposition.DELIVERED, Disposition.PERMANENT])
def test_flush_waits_for_both_halves_of_a_batch_and_for_nothing_else(
    second: Disposition, tmp_path: Path
) -> None:
    """The batch that was split is never sent, so that nobody may wait for it."""
    rig = SpoolRig(tmp_path)
    backlog = Backlog(2**20, None, rig.ledger, rig.generation, is_write_ahead=False)
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    spans = [tracer.start_span("work") for _ in range(2)]
    for span in spans:
        span.end()
        rig.ledger.admit(rig.generation, is_full=False)
    assert backlog.add(Encoder().encode(spans), 0, spill=False)  # type: ignore[arg-type]
    whole = backlog.next(rig.now)
    assert whole is not None
    flush = Flush()
    backlog.watch(flush, is_whole=True)
    backlog.split(whole)
    for disposition in (Disposition.DELIVERED, second):
        assert not flush._is_over.is_set()
        half = backlog.next(rig.now)
        assert half is not None
        backlog.finish(half, ExportResult(disposition))
    assert flush._is_over.is_set()
    assert flush.wait(0) is (second is Disposition.DELIVERED)
    assert rig.ledger.read().is_balanced


def test_end_of_a_run_stops_at_the_first_batch_that_the_spool_refuses(tmp_path: Path) -> None:
    """A broken disk is not asked again and again while the process ends, and it is told once."""
    rig = SpoolRig(tmp_path, max_bytes=1_000)
    backlog = backlog_on(rig)
    for payload in (b"a" * 600, b"b" * 600, b"c"):
        assert add(rig, backlog, payload)
    backlog.end()
    reading = rig.ledger.read()
    assert (reading.spooled, reading.in_memory) == (SPANS, 2 * SPANS)
    assert len(rig.told) == 1


def test_flush_that_nobody_awaits_any_more_is_forgotten(tmp_path: Path) -> None:
    """Code that flushes on each request of an outage would otherwise fill the memory."""
    rig = SpoolRig(tmp_path)
    backlog = Backlog(2**20, None, rig.ledger, rig.generation, is_write_ahead=False)
    assert add(rig, backlog, b"payload")
    for _ in range(10):
        flush = Flush()
        backlog.watch(flush, is_whole=True)
        assert not flush.wait(0)
    awaited = Flush()
    backlog.watch(awaited, is_whole=True)
    queued = backlog.next(rig.now)
    assert queued is not None
    assert queued.flushes == [awaited]
