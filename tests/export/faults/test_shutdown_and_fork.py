"""Flush, stop, SIGTERM and fork during a fault."""

import os
import signal
import subprocess
import sys
import textwrap
import time
import urllib.request
from pathlib import Path

import pytest
from support.collector import ACCEPT, UNWELL, Collector, Reply
from support.fault_rig import CODES, MakeRig, assert_ledger, failing
from support.grpc_collector import GrpcCollector
from support.http_collector import HttpCollector
from support.paths import ROOT
from support.waiting import Until
from support.wire import BlackHole, Wire

from telemetry.export.ledger import DropReason

FAULTS_OF_GRPC = {
    "unavailable": UNWELL,
    "unavailable with retry info": Reply(CODES.UNAVAILABLE, retry_info_seconds=60),
    "exhausted with retry info": Reply(CODES.RESOURCE_EXHAUSTED, retry_info_seconds=60),
    "exhausted": Reply(CODES.RESOURCE_EXHAUSTED),
    "aborted": Reply(CODES.ABORTED),
    "unauthenticated": Reply(CODES.UNAUTHENTICATED),
}
FAULTS_OF_HTTP = {
    "throttled": Reply(status=429),
    "unwell": Reply(status=503),
    "throttled for a minute": Reply(status=429, headers={"Retry-After": "60"}),
    "unwell for a minute": Reply(status=503, headers={"Retry-After": "60"}),
}
FAULTS_OF_BOTH = ["refused", "black hole", "no answer", "disconnect", "drip"]


@pytest.mark.parametrize(
    ("fault", "protocol"),
    [
        *((fault, protocol) for fault in FAULTS_OF_BOTH for protocol in ("grpc", "http/protobuf")),
        *((fault, "grpc") for fault in FAULTS_OF_GRPC),
        *((fault, "http/protobuf") for fault in FAULTS_OF_HTTP),
    ],
)
def test_flush_and_stop_are_bounded_and_honest_in_every_fault(
    fault: str, protocol: str, make_rig: MakeRig
) -> None:
    """With a full queue, both return False within their time, and the unsent spans are counted."""
    collector: Collector = GrpcCollector() if protocol == "grpc" else HttpCollector()
    wire, hole = Wire(collector.port), None
    reply = {**FAULTS_OF_GRPC, **FAULTS_OF_HTTP}.get(fault)
    if reply is not None:
        collector.script = failing(10_000, reply)
    elif fault == "refused":
        collector.stop()
    elif fault == "black hole":
        collector.stop()
        hole = BlackHole(collector.port)
    elif fault == "no answer":
        collector.script = collector.hang
    elif fault == "disconnect":
        collector.script = lambda _: (wire.cut(), ACCEPT)[1]
    else:
        wire.drip_seconds = 0.1
    try:
        rig = make_rig(
            collector if hole or fault == "refused" else wire,
            protocol,
            max_queue_size=32,
            max_export_batch_size=8,
            schedule_delay_ms=60_000,
        )
        rig.end_spans(200)
        started = time.monotonic()
        assert rig.pipeline.force_flush(100) is False
        assert time.monotonic() - started < 2
        rig.end_spans(200)
        started = time.monotonic()
        is_sent = rig.pipeline.stop(0.2)
        assert time.monotonic() - started < 2.5
        reading = rig.ledger
        assert reading.is_balanced
        assert (reading.ended, reading.delivered, reading.rejected, reading.in_memory) == (400, 0, 0, 0)
        assert sum(reading.dropped.values()) == 400
        assert is_sent is False
        is_permanent = fault in {"exhausted", "unauthenticated"}
        assert (DropReason.NOT_RETRYABLE if is_permanent else DropReason.SHUTDOWN) in reading.dropped
    finally:
        collector.release.set()
        wire.close()
        if hole is not None:
            hole.close()
        collector.stop()


PROGRAM = """
    from fastapi import FastAPI
    from telemetry.telemetry import setup_telemetry
    app = FastAPI()
    setup_telemetry(app)
    @app.get("/hello")
    def hello(): return "hello"
"""


def test_sigterm_has_one_budget_for_all_signals(
    collector: Collector, free_port: int, tmp_path: Path, until: Until
) -> None:
    """With spans and metrics hanging at one Collector, the process ends five seconds after SIGTERM."""
    collector.script = collector.hang
    (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
    environment = {
        **os.environ,
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": collector.protocol,
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_BSP_SCHEDULE_DELAY": "600000",
        # The metrics take four of the budget's five seconds.
        "OTEL_EXPORTER_OTLP_TIMEOUT": "4",
        "OTEL_BSP_EXPORT_TIMEOUT": "4000",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "program:app", "--port", str(free_port), "--no-access-log"],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:

            def is_answered() -> bool:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{free_port}/hello", timeout=5):
                        return True
                except OSError:
                    return False

            until("uvicorn to answer", is_answered, seconds=20)
            started = time.monotonic()
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=30)
            seconds = time.monotonic() - started
        finally:
            process.kill()
    assert collector.requests, output
    # Two budgets would take ten seconds.
    assert 3 < seconds < 8, output
    assert "shutdown dropped 1 span(s)" in output
    assert "Traceback" not in output, output
    assert process.returncode == -signal.SIGTERM


@pytest.mark.parametrize("is_under_way", [False, True], ids=["warm", "under way"])
def test_forked_child_has_nothing_of_its_parents(
    is_under_way: bool, make_rig: MakeRig, collector: Collector, until: Until
) -> None:
    """The child sends only its own spans, and the parent loses none, even with an export under way.

    An export that a fork interrupted is sent again, so its spans may arrive twice.
    """
    rig = make_rig(collector, exporter_timeout_seconds=5)
    rig.end_spans(3)
    until("a warm connection", lambda: rig.ledger.delivered == 3)
    if is_under_way:
        collector.script = lambda request: collector.hang(request) if request.number == 2 else ACCEPT
        rig.end_spans(1)
        until("an export under way", lambda: len(collector.requests) == 2)
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        before = rig.ledger
        for number in range(5):
            rig.tracer.start_span(f"child {number}").end()
        is_sent = rig.pipeline.force_flush(10_000)
        after = rig.ledger
        result = (before.ended, before.in_memory, after.ended, after.delivered, is_sent, after.is_balanced)
        os.write(write_end, repr(result).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read_end, 1_000).decode() == "(0, 0, 5, 5, True, True)"
    os.close(read_end)
    os.close(write_end)
    collector.release.set()
    rig.end_spans(2)
    until("the parent's own", lambda: rig.ledger.delivered == len(rig.names))
    assert rig.opened == 0
    assert_ledger(rig, delivered=len(rig.names))
    children = [name for name in collector.taken if name.startswith("child")]
    assert sorted(children) == [f"child {number}" for number in range(5)]
    parents = [name for name in collector.taken if name.startswith("span")]
    assert sorted(set(parents)) == sorted(rig.names)
    assert is_under_way or len(parents) == len(rig.names)
