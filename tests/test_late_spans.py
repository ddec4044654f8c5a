"""Spans that end while the interpreter exits, or after a shutdown: delivered, or counted and told of."""

import threading
from pathlib import Path

import pytest
from support.collector import Collector
from support.grpc_collector import GrpcCollector
from support.http_collector import HttpCollector
from support.otlp_receiver import OtlpReceiver, never_answer
from support.programs import run_program

from telemetry.client import TelemetryClient
from telemetry.export.ledger import DropReason

TOLD = "a span ended after shutdown"
CLIENT = "import atexit, os, sys, threading, time\n    from telemetry.client import TelemetryClient\n"
FIRST_IN_AN_EXIT_FUNCTION = f"""
    {CLIENT}
    client = TelemetryClient()
    atexit.register(lambda: client.start_span("late").__enter__().end())
"""
AFTER_OURS = f"""
    {CLIENT}
    # Called last: functions are called in the order opposite to that of their registration.
    atexit.register(lambda: [client.start_span("late").__enter__().end() for _ in range(3)])
    client = TelemetryClient()
    client.start_span("early").__enter__().end()
"""
INLINE_CLIENT_AFTER_OURS = f"""
    {CLIENT}
    def end():
        with TelemetryClient().start_span("late"):
            pass
    atexit.register(end)
    client = TelemetryClient()
    client.start_span("early").__enter__().end()
"""
DELIVERED = {
    "first span of all": (FIRST_IN_AN_EXIT_FUNCTION, ["late"]),
    "function called after ours": (AFTER_OURS, ["early", "late", "late", "late"]),
    "client made after ours": (INLINE_CLIENT_AFTER_OURS, ["early", "late"]),
}


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
@pytest.mark.parametrize(("source", "names"), DELIVERED.values(), ids=DELIVERED.keys())
def test_spans_of_exit_functions_are_delivered(
    source: str, names: list[str], protocol: str, tmp_path: Path
) -> None:
    """Even where no thread can start any more, as from Python 3.12 on."""
    collector: Collector = GrpcCollector() if protocol == "grpc" else HttpCollector()
    try:
        variables = {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
        code, output = run_program(source, tmp_path, collector.endpoint, **variables)
        assert sorted(collector.taken) == names, output
        assert (code, output) == (0, "")
    finally:
        collector.stop()


@pytest.mark.parametrize("is_spooled", [False, True], ids=["no spool", "spool"])
@pytest.mark.parametrize("source", [FIRST_IN_AN_EXIT_FUNCTION, AFTER_OURS], ids=["before ours", "after ours"])
def test_late_spans_do_not_delay_the_exit_beyond_its_budget(
    source: str, is_spooled: bool, tmp_path: Path, receiver: OtlpReceiver
) -> None:
    """If the Collector does not answer, they are spooled, or dropped and told of."""
    is_over = threading.Event()
    receiver.answer = never_answer(is_over)
    variables = {"TELEMETRY_SHUTDOWN_SECONDS": "2", "OTEL_EXPORTER_OTLP_TIMEOUT": "60"}
    if is_spooled:
        variables["TELEMETRY_SPOOL_DIR"] = str(tmp_path / "spool")
    code, output = run_program(source, tmp_path, receiver.endpoint, **variables)  # waits a minute at most
    is_over.set()
    assert code == 0
    assert ("remain in the spool" if is_spooled else "shutdown dropped 1 span(s)") in output
    assert "Traceback" not in output


def test_spans_of_daemon_threads_at_exit_are_delivered_or_counted_and_told(
    tmp_path: Path, receiver: OtlpReceiver
) -> None:
    """They end all the time, which neither delays the exit nor makes a thread fail."""
    source = f"""
    {CLIENT}
    def look():
        reading = client.pipeline.ledger.read()
        print(reading.is_balanced, reading.delivered, flush=True)
    atexit.register(look)  # called after ours
    atexit.register(time.sleep, 0.2)
    client = TelemetryClient(max_queue_size=100_000)
    def work():
        while True:
            client.start_span("work").__enter__().end()
            time.sleep(0.0001)
    for _ in range(4):
        threading.Thread(target=work, daemon=True).start()
    time.sleep(0.5)
    """
    code, output = run_program(source, tmp_path, receiver.endpoint)
    lines = output.splitlines()
    assert code == 0, output
    assert lines[-1] == f"True {len(receiver.names)}"
    told = [line for line in lines if TOLD in line]
    assert len(told) == 1, output
    # Some may have ended during the flush.
    assert all(line in told or line.startswith("shutdown dropped") for line in lines[:-1]), output


def test_span_that_ends_in_a_finaliser_at_exit_is_told_of(tmp_path: Path, receiver: OtlpReceiver) -> None:
    """Its object is destroyed with its module, when little of the interpreter is left."""
    source = f"""
    {CLIENT}
    class Late:
        def __init__(self):
            self.span = client.start_span("late").__enter__()
        def __del__(self):
            self.span.end()
    client = TelemetryClient()
    client.start_span("early").__enter__().end()
    late = Late()
    """
    code, output = run_program(source, tmp_path, receiver.endpoint)
    assert receiver.names == ["early"]
    assert code == 0
    assert output.count(TOLD) == 1
    assert len(output.splitlines()) == 1, output


def test_spans_after_a_shutdown_are_counted_and_told_of_once(
    receiver: OtlpReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    """Another start takes spans again, and the next shutdown tells again."""
    client = TelemetryClient(endpoint=receiver.endpoint)
    for told in (1, 2):
        client.shutdown()
        for _ in range(3):
            with client.start_span("late"):
                pass
        assert client.pipeline.ledger.read().dropped == {DropReason.SHUTDOWN: 3 * told}
        assert caplog.text.count(TOLD) == told
        client.start()
    client.shutdown()
