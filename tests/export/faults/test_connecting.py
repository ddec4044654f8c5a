"""Refused connections, unknown names, black holes, TLS errors and idle connections that died."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from support.collector import Collector
from support.fault_rig import MakeRig, assert_all_delivered, assert_backed_off, assert_ledger, lines
from support.grpc_collector import GrpcCollector
from support.http_collector import HttpCollector
from support.waiting import Until
from support.wire import BlackHole, Wire

from telemetry.export.ledger import DropReason


@pytest.mark.parametrize("is_dns", [False, True], ids=["refused", "dns"])
def test_connection_refused_or_name_unknown_backs_off_and_trips(
    is_dns: bool, make_rig: MakeRig, collector: Collector, until: Until
) -> None:
    """These failures are retried with doubling waits; the breaker opens, and the spans are kept."""
    collector.stop()
    endpoint = f"http://no-such-host.invalid:{collector.port}" if is_dns else collector.endpoint
    rig = make_rig(endpoint, collector.protocol)
    rig.end_spans(5)
    until("the breaker to open", lambda: rig.opened)
    assert_backed_off(rig)
    assert len(rig.attempts) >= 3
    assert rig.last_error != "None"
    assert_ledger(rig, in_memory=5)
    if is_dns:
        assert "no-such-host.invalid" in rig.last_error
        assert rig.pipeline.stop(0.1) is False
        assert_ledger(rig, dropped={DropReason.SHUTDOWN: 5})
        return
    collector.start()
    until("everything delivered", lambda: rig.ledger.delivered == 5)
    assert_all_delivered(rig, collector)


def test_syn_black_hole_is_left_before_a_long_deadline_is_over(
    make_rig: MakeRig, collector: Collector, until: Until
) -> None:
    """Connecting has a short timeout of its own, however long the export timeout is."""
    collector.stop()
    hole = BlackHole(collector.port)
    rig = make_rig(
        collector, exporter_timeout_seconds=60, export_timeout_ms=60_000, breaker_failure_threshold=1
    )
    rig.end_spans(5)
    until("the breaker to open", lambda: rig.opened)
    first = rig.attempts[0]
    assert 0.5 < first.ended - first.started < 8
    assert_ledger(rig, in_memory=5)
    hole.close()
    collector.start()
    until("everything delivered", lambda: rig.ledger.delivered == 5)
    assert_all_delivered(rig, collector)


@pytest.mark.parametrize(
    ("fault", "protocol", "said"),
    [
        ("expired", "grpc", "certificate has expired"),
        ("expired", "http/protobuf", "certificate has expired"),
        ("stranger", "grpc", "CERTIFICATE_VERIFY_FAILED"),
        ("stranger", "http/protobuf", "certificate verify failed"),
        ("TLS to plain text", "grpc", "WRONG_VERSION_NUMBER"),
        ("TLS to plain text", "http/protobuf", "TLS with"),
        ("plain text to TLS", "grpc", "UNAVAILABLE"),
        ("plain text to TLS", "http/protobuf", "127.0.0.1"),
        ("the other protocol's port", "grpc", "Failed parsing HTTP/2"),
        ("the other protocol's port", "http/protobuf", "the port of another protocol?"),
    ],
)
def test_tls_and_protocol_errors_are_logged_once_and_probed_slowly(
    fault: str,
    protocol: str,
    said: str,
    certificates: Mapping[str, tuple[Path, Path]],
    make_rig: MakeRig,
    until: Until,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Certificates and endpoints may be fixed later, so the spans are kept and attempts are rare."""
    kinds = {"grpc": GrpcCollector, "http/protobuf": HttpCollector}
    other = next(kind for name, kind in kinds.items() if name != protocol)
    kind = other if fault.startswith("the other") else kinds[protocol]
    certificate = {
        "expired": certificates["expired"],
        "stranger": certificates["valid"],
        "plain text to TLS": certificates["valid"],
    }.get(fault)
    collector: Collector = kind(certificate)
    try:
        scheme = "http" if fault.startswith(("the other", "plain")) else "https"
        trusted = certificates["expired"][0] if fault == "expired" else None
        rig = make_rig(
            f"{scheme}://127.0.0.1:{collector.port}",
            protocol,
            certificate=None if trusted is None else str(trusted),
            breaker_open_seconds=30,
            breaker_failure_threshold=2,
        )
        rig.end_spans(5)
        until("the breaker to open", lambda: rig.opened)
        rig.end_spans(5)
        # A flush does not make an open breaker probe earlier.
        assert rig.pipeline.force_flush(100) is False
        assert len(rig.attempts) == 2
        assert said in rig.last_error
        (line,) = lines(caplog)
        assert said in line
        assert collector.requests == []
        assert_ledger(rig, in_memory=10)
        assert rig.pipeline.stop(0.1) is False
        assert_ledger(rig, dropped={DropReason.SHUTDOWN: 10})
    finally:
        collector.stop()


@pytest.mark.parametrize("is_restart", [True, False], ids=["restart", "half-open"])
def test_restarted_collector_or_half_open_connections_do_not_stall(
    is_restart: bool, make_rig: MakeRig, collector: Collector, wire: Wire, until: Until
) -> None:
    """Of four dead idle connections, the first one found dead causes the others to be discarded."""
    rig = make_rig(
        collector if is_restart else wire,
        collector.protocol,
        max_export_batch_size=1,
        exporter_timeout_seconds=1,
        breaker_open_seconds=2,
        breaker_open_max_seconds=60,
    )
    collector.script = collector.hang
    rig.end_spans(4)
    until("four exports under way", lambda: len(collector.requests) == 4)
    collector.release.set()
    until("four delivered", lambda: rig.ledger.delivered == 4)
    if is_restart:
        collector.stop()
        collector.start()
    else:
        wire.freeze()
    attempts = len(rig.attempts)
    rig.end_spans(1)
    until("the fifth delivered", lambda: rig.ledger.delivered == 5, seconds=8)
    assert len(rig.attempts) - attempts <= 2
    assert rig.opened == 0
    assert_all_delivered(rig, collector)
