"""gRPC status codes, retried and permanent ones; and several Collectors behind one name."""

import grpc
import pytest
from support.collector import Collector, Reply
from support.fault_rig import (
    CODES,
    FIRST_BACKOFF_SECONDS,
    MakeRig,
    assert_all_delivered,
    assert_backed_off,
    assert_dropped_and_told_once,
    assert_held,
    assert_ledger,
    failing,
)
from support.grpc_collector import GrpcCollector
from support.waiting import Until
from support.wire import Wire

from telemetry.export.breaker import BreakerState


def test_unavailable_backs_off_and_trips(make_rig: MakeRig, grpc_collector: Collector, until: Until) -> None:
    """UNAVAILABLE is retried with doubling waits; three failures in a row open the breaker."""
    grpc_collector.script = failing(3)
    rig = make_rig(grpc_collector)
    rig.end_spans(5)
    until("everything delivered", lambda: rig.ledger.delivered == 5)
    assert_backed_off(rig)
    assert len(rig.attempts) == 4
    assert rig.opened == 1
    until("the breaker to close", lambda: rig.pipeline.breaker.state is BreakerState.CLOSED)
    assert_all_delivered(rig, grpc_collector)


@pytest.mark.parametrize(("delay", "expected"), [(0.8, 0.8), (0, FIRST_BACKOFF_SECONDS)])
def test_unavailable_with_retry_info_is_heeded_for_all_batches(
    delay: float, expected: float, make_rig: MakeRig, grpc_collector: Collector, until: Until
) -> None:
    """Even new batches wait for the requested time; a delay of zero means the usual backoff."""
    grpc_collector.script = failing(1, Reply(CODES.UNAVAILABLE, retry_info_seconds=delay))
    rig = make_rig(grpc_collector, max_export_batch_size=1)
    assert_held(rig, grpc_collector, until, at_least_seconds=expected)
    assert rig.opened == 0


@pytest.mark.parametrize(("delay", "expected"), [(0.8, 0.8), (0, FIRST_BACKOFF_SECONDS)])
def test_resource_exhausted_with_retry_info_throttles_and_never_trips(
    delay: float, expected: float, make_rig: MakeRig, grpc_collector: Collector, until: Until
) -> None:
    """Nothing is sent before the requested time, but no refusal counts as a failure of the server."""
    grpc_collector.script = failing(1, Reply(CODES.RESOURCE_EXHAUSTED, retry_info_seconds=delay))
    rig = make_rig(grpc_collector, max_export_batch_size=1, breaker_failure_threshold=1)
    assert_held(rig, grpc_collector, until, at_least_seconds=expected)
    assert rig.opened == 0
    assert rig.pipeline.breaker.snapshot().failure_rate == 0


def test_resource_exhausted_alone_is_dropped(
    make_rig: MakeRig, grpc_collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """Without RetryInfo, RESOURCE_EXHAUSTED is not retryable."""
    grpc_collector.script = failing(99, Reply(CODES.RESOURCE_EXHAUSTED))
    assert_dropped_and_told_once(
        make_rig(grpc_collector), grpc_collector, caplog, said="RESOURCE_EXHAUSTED: on purpose"
    )


@pytest.mark.parametrize("code", [CODES.CANCELLED, CODES.ABORTED, CODES.OUT_OF_RANGE, CODES.DATA_LOSS])
def test_retryable_code_is_retried(
    code: grpc.StatusCode, make_rig: MakeRig, grpc_collector: Collector, until: Until
) -> None:
    """The specification's other retryable codes are retried with the usual waits."""
    grpc_collector.script = failing(2, Reply(code))
    rig = make_rig(grpc_collector)
    rig.end_spans(5)
    until("everything delivered", lambda: rig.ledger.delivered == 5)
    assert [each.outcome.kind for each in rig.failures] == [code.name.lower()] * 2
    assert_backed_off(rig)
    assert_all_delivered(rig, grpc_collector)


@pytest.mark.parametrize(
    "code",
    [
        CODES.INVALID_ARGUMENT,
        CODES.UNAUTHENTICATED,
        CODES.PERMISSION_DENIED,
        CODES.NOT_FOUND,
        CODES.ALREADY_EXISTS,
        CODES.FAILED_PRECONDITION,
        CODES.UNIMPLEMENTED,
        CODES.INTERNAL,
        CODES.UNKNOWN,
    ],
)
def test_permanent_code_is_never_retried(
    code: grpc.StatusCode,
    make_rig: MakeRig,
    grpc_collector: Collector,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The spans are dropped and counted, and the reason is logged once."""
    grpc_collector.script = failing(99, Reply(code))
    assert_dropped_and_told_once(
        make_rig(grpc_collector), grpc_collector, caplog, said=f"{code.name}: on purpose"
    )


def test_one_of_two_collectors_that_dies_costs_at_most_what_it_was_sent(
    make_rig: MakeRig, grpc_collector: Collector, until: Until
) -> None:
    """The other one takes all that comes, without a wait; both are used again when it is back."""
    other = GrpcCollector()
    try:
        endpoint = f"ipv4:127.0.0.1:{grpc_collector.port},127.0.0.1:{other.port}"
        rig = make_rig(endpoint, "grpc", insecure=True, max_export_batch_size=1)

        def export() -> None:
            rig.end_spans(1)
            rig.pipeline.force_flush(10_000)

        def are_both_used() -> bool:
            export()
            return bool(grpc_collector.requests and other.requests)

        until("both to be used", are_both_used)
        grpc_collector.stop()
        for _ in range(20):
            export()
        assert len(rig.failures) <= 1
        assert rig.opened == 0
        grpc_collector.start()
        before = len(grpc_collector.requests)

        def is_used_again() -> bool:
            export()
            return len(grpc_collector.requests) > before

        until("the first to be used again", is_used_again, seconds=30)
        assert rig.ledger.delivered == len(rig.names)
        assert_ledger(rig, delivered=len(rig.names))
    finally:
        other.stop()


def test_collector_that_freezes_is_passed_over(
    make_rig: MakeRig, grpc_collector: Collector, until: Until
) -> None:
    """What it does not answer costs an attempt; then all go to the other, no longer in turn."""
    other = GrpcCollector()
    wire = Wire(other.port)
    try:
        endpoint = f"ipv4:127.0.0.1:{grpc_collector.port},127.0.0.1:{wire.port}"
        rig = make_rig(endpoint, "grpc", insecure=True, max_export_batch_size=1, exporter_timeout_seconds=0.5)

        def are_both_used() -> bool:
            rig.end_spans(1)
            rig.pipeline.force_flush(10_000)
            return bool(grpc_collector.requests and other.requests)

        until("both to be used", are_both_used)
        wire.freeze()
        other.stop()
        for _ in range(20):
            rig.end_spans(1)
            rig.pipeline.force_flush(10_000)
        until("everything delivered", lambda: rig.ledger.delivered == len(rig.names))
        assert len(rig.failures) <= 2
        assert rig.opened == 0
    finally:
        wire.close()
        other.stop()
