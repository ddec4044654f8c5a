"""A Collector whose answer is late, slow, cut off or endless."""

import pytest
from support.collector import ACCEPT, Collector, Reply, Request
from support.fault_rig import (
    CODES,
    MIB,
    MakeRig,
    assert_all_delivered,
    assert_backed_off,
    assert_ledger,
    failing,
    lines,
)
from support.waiting import Until
from support.wire import Wire

from telemetry.export.ledger import DropReason


@pytest.mark.parametrize("how", ["no answer", "no word at all", "DEADLINE_EXCEEDED"])
def test_server_that_never_answers_costs_one_deadline_an_attempt(
    how: str, make_rig: MakeRig, collector: Collector, wire: Wire, until: Until
) -> None:
    """The attempt is retried; connection, request and answer share the configured timeout."""
    if how == "no answer":
        collector.script = collector.hang
    elif how == "no word at all":
        wire.drip_seconds = 30
    else:
        collector.script = failing(3, Reply(CODES.DEADLINE_EXCEEDED, status=504))
    rig = make_rig(wire, collector.protocol, exporter_timeout_seconds=0.3, breaker_failure_threshold=2)
    rig.end_spans(5)
    until("the breaker to open", lambda: rig.opened)
    assert all(each.ended - each.started < 3 for each in rig.attempts)
    assert how == "DEADLINE_EXCEEDED" or all(each.ended - each.started > 0.25 for each in rig.attempts)
    assert_ledger(rig, in_memory=5)
    collector.script = lambda _: ACCEPT
    collector.release.set()
    wire.drip_seconds = 0
    until("everything delivered", lambda: rig.ledger.delivered == 5)
    assert_all_delivered(rig, collector, may_repeat=True)


def test_disconnect_before_the_answer_repeats_and_loses_nothing(
    make_rig: MakeRig, collector: Collector, wire: Wire, until: Until
) -> None:
    """A batch whose answer was lost is sent again after a wait."""

    def cut_twice(request: Request) -> Reply:
        if request.number <= 2:
            wire.cut()
        return ACCEPT

    collector.script = cut_twice
    rig = make_rig(wire, collector.protocol, breaker_failure_threshold=2)
    rig.end_spans(5)
    until("everything delivered", lambda: rig.ledger.delivered == 5)
    assert [len(request.names) for request in collector.requests] == [5, 5, 5]
    assert_backed_off(rig)
    assert rig.opened == 1
    assert_all_delivered(rig, collector, may_repeat=True)


def test_dripping_answer_does_not_outlive_the_deadline(
    make_rig: MakeRig, collector: Collector, wire: Wire, until: Until
) -> None:
    """Single bytes do not extend the deadline of the whole export."""
    wire.drip_seconds = 0.1
    rig = make_rig(wire, collector.protocol, exporter_timeout_seconds=0.3, breaker_failure_threshold=2)
    rig.end_spans(5)
    until("the breaker to open", lambda: rig.opened)
    # The answer's hundred bytes would take ten seconds.
    assert all(0.25 < each.ended - each.started < 3 for each in rig.attempts)
    assert_ledger(rig, in_memory=5)
    wire.drip_seconds = 0
    until("everything delivered", lambda: rig.ledger.delivered == 5)
    assert_all_delivered(rig, collector, may_repeat=True)


@pytest.mark.parametrize("how", ["long", "packed", "endless"])
def test_answer_over_its_limit_is_cut_off_and_not_asked_for_again(
    how: str, make_rig: MakeRig, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """A retry might only repeat accepted spans; one line is logged."""
    if how == "endless" and collector.protocol == "grpc":
        how = "long"  # a gRPC message begins with its length
    collector.script = lambda _: Reply(
        body=bytes(50 * MIB if how == "packed" else 5 * MIB),
        is_packed=how == "packed",
        is_endless=how == "endless",
    )
    rig = make_rig(collector)
    rig.end_spans(6)
    assert rig.pipeline.force_flush(10_000) is False
    assert collector.arrived == rig.names
    assert_ledger(rig, dropped={DropReason.NOT_RETRYABLE: 6})
    assert [each.outcome.kind for each in rig.attempts] == ["answer_too_large"]
    assert len(lines(caplog)) == 1
    assert rig.opened == 0
