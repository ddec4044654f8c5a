"""A Collector that flaps, and one that hangs while spans pile up for minutes."""

import threading
from collections.abc import Mapping

import pytest
from support.collector import ACCEPT, UNWELL, Collector, Reply, Request
from support.fault_rig import MakeRig, assert_all_delivered, lines
from support.waiting import Until

from telemetry.export.breaker import BreakerState
from telemetry.export.ledger import DropReason


@pytest.mark.parametrize(
    ("in_flight", "settings"),
    [
        pytest.param(1, {}, id="one by one"),
        pytest.param(4, {"breaker_failure_threshold": 999, "breaker_minimum_calls": 999}, id="breaker aside"),
        pytest.param(
            4,
            {},
            id="four at once",
        ),
    ],
)
def test_flapping_collector_gets_everything_once(
    in_flight: int, settings: Mapping[str, int], make_rig: MakeRig, collector: Collector, until: Until
) -> None:
    """Every second call fails: the breaker opens now and then, and everything is still delivered.

    A refusal does not affect concurrent exports: their spans are neither lost nor sent again.
    """

    def flap(request: Request) -> Reply:
        if request.number % 2:
            return UNWELL
        if in_flight > 1:
            threading.Event().wait(0.1)  # the previous refusal is processed while this export is under way
        return ACCEPT

    collector.script = flap
    rig = make_rig(collector, max_export_batch_size=1, max_in_flight=in_flight, **settings)
    rig.end_spans(12)
    until("everything delivered", lambda: rig.ledger.delivered == 12, seconds=6)
    assert len(rig.attempts) == len(collector.requests)
    assert len(rig.failures) == (len(rig.attempts) + 1) // 2
    assert (0 if settings else 1) <= rig.opened <= len(rig.failures) / 2
    assert_all_delivered(rig, collector)
    collector.script = lambda _: ACCEPT
    rig.end_spans(5)
    until("the rest delivered", lambda: rig.ledger.delivered == 17)
    until("the breaker to close", lambda: rig.pipeline.breaker.state is BreakerState.CLOSED)
    assert_all_delivered(rig, collector)


def test_overflow_for_minutes_blocks_nobody_and_stays_small(
    make_rig: MakeRig, collector: Collector, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    """While the server hangs, sixteen threads go on, memory is bounded, and each minute logs one line."""
    limit = 16_384
    collector.script = collector.hang
    rig = make_rig(
        collector,
        max_queue_size=64,
        max_export_batch_size=16,
        buffer_max_bytes=limit,
        exporter_timeout_seconds=0.05,
        breaker_open_seconds=1,
    )
    ended = [0] * 16

    def work(index: int) -> None:
        for _ in range(100):
            rig.tracer.start_span("work").end()
            ended[index] += 1

    threads = [threading.Thread(target=work, args=(index,), daemon=True) for index in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        # The server still hangs, so a thread that waited for it would not end here.
        thread.join(10)
    assert ended == [100] * 16
    minutes, most_bytes, most_spans = 5, 0, 0
    for second in range(0, minutes * 60, 20):
        rig.clock.ahead = second
        attempts = len(rig.failures)
        rig.end_spans(16)
        until("another failure", lambda attempts=attempts: len(rig.failures) > attempts)
        most_bytes = max(most_bytes, rig.pipeline.buffered_bytes)
        most_spans = max(most_spans, rig.ledger.in_memory)
        assert rig.ledger.is_balanced
    assert 0 < most_bytes <= limit
    assert most_spans <= 64 + limit // 50
    kinds = {each.outcome.kind for each in rig.failures}
    # The first at once, then at most one a minute; the last one may not have been logged yet.
    assert minutes - 1 <= len(lines(caplog)) <= (minutes + 1) * len(kinds), lines(caplog)
    assert rig.pipeline.stop(0.1) is False
    reading = rig.ledger
    assert reading.is_balanced
    assert reading.ended == 1_600 + len(rig.names)
    assert reading.delivered == reading.rejected == reading.in_memory == 0
    assert set(reading.dropped) <= {DropReason.QUEUE_FULL, DropReason.BUFFER_FULL, DropReason.SHUTDOWN}
    assert reading.dropped[DropReason.SHUTDOWN] >= 1
    assert sum(reading.dropped.values()) == reading.ended
