"""Batches over the exporter's own limit and over servers' limits."""

from collections.abc import Callable

import pytest
from support.collector import ACCEPT, Collector, Reply, Request
from support.fault_rig import CODES, MIB, MakeRig, assert_all_delivered, assert_ledger
from support.grpc_collector import GrpcCollector
from support.http_collector import HttpCollector

from telemetry.export.ledger import DropReason


def test_request_over_64_mib_is_split_before_it_is_sent(make_rig: MakeRig, collector: Collector) -> None:
    """No such request reaches the server, but all its spans do, except one that is too large by itself."""
    rig = make_rig(
        collector,
        max_export_batch_size=128,
        buffer_max_bytes=512 * MIB,
        schedule_delay_ms=60_000,
        exporter_timeout_seconds=30,
        export_timeout_ms=30_000,
    )
    rig.end_spans(70, text="x" * MIB)
    assert rig.pipeline.force_flush(30_000) is True
    assert_all_delivered(rig, collector)
    assert len(collector.requests) == 2
    rig.end_spans(1, text="x" * 65 * MIB)
    assert rig.pipeline.force_flush(30_000) is False
    assert max(request.size_bytes for request in collector.requests) <= 64 * MIB
    assert len(collector.requests) == 2
    assert_ledger(rig, delivered=70, dropped={DropReason.NOT_RETRYABLE: 1})
    assert rig.opened == 0


def over(limit: int, reply: Reply) -> Callable[[Request], Reply]:
    """Returns a script that gives `reply` to requests longer than `limit` bytes."""
    return lambda request: reply if request.size_bytes > limit else ACCEPT


@pytest.mark.parametrize(
    "how",
    [
        "413",
        "413 unread",
        "the Collector's 400",
        "grpcio's limit",
        "grpc-go's limit",
        "unpacked",
        "silent limit",
    ],
)
def test_request_over_the_servers_limit_is_halved_down_to_one_span(how: str, make_rig: MakeRig) -> None:
    """Everything arrives once except the one span that is too large; the breaker stays closed."""
    largest, is_compressed = 4 * MIB, False
    collector: Collector
    if how in {"grpcio's limit", "unpacked"}:
        collector = GrpcCollector(largest_bytes=largest)
        is_compressed = how == "unpacked"
    elif how == "grpc-go's limit":
        collector = GrpcCollector()
        text = "grpc: received message larger than max (4299279 vs. 4194304)"
        collector.script = over(largest, Reply(CODES.RESOURCE_EXHAUSTED, text=text))
    elif how == "silent limit":
        collector = GrpcCollector()
        collector.script = over(largest, Reply(CODES.RESOURCE_EXHAUSTED, text="no"))
    else:
        collector = http = HttpCollector()
        if how == "413":
            collector.script = over(largest, Reply(status=413))
        elif how == "413 unread":
            http.refuses_unread_bytes = largest
        else:
            collector.script = over(largest, Reply(status=400, text="http: request body too large"))
    try:
        rig = make_rig(
            collector,
            schedule_delay_ms=60_000,
            compression="gzip" if is_compressed else "none",
        )
        rig.end_spans(7, text="x" * (2 * MIB))
        rig.end_spans(1, text="x" * (5 * MIB))
        rig.end_spans(4, text="x" * 10)
        assert rig.pipeline.force_flush(20_000) is False
        assert_ledger(rig, delivered=11, dropped={DropReason.NOT_RETRYABLE: 1})
        assert sorted(collector.taken) == sorted(set(rig.names) - {"span 7"})
        assert rig.opened == 0
        assert rig.pipeline.buffered_bytes == 0
    finally:
        collector.stop()
