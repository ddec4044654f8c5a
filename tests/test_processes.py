"""The library in separate processes: forks, scripts, interpreter exit and a copied folder."""

import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path
from typing import Any

from support.paths import ROOT

FORK_WHILE_SENDING = """
    import os, sys, threading, time
    from telemetry.client import TelemetryClient

    client = TelemetryClient(schedule_delay_ms=1, max_export_batch_size=5)
    is_over = threading.Event()

    def work():
        number = 0
        while not is_over.is_set():
            with client.start_span(f"parent {number}"):
                number += 1
            time.sleep(0.0002)
        counts.append(number)

    counts = []
    thread = threading.Thread(target=work)
    thread.start()
    children = []
    for child in range(10):
        time.sleep(0.02)
        pid = os.fork()
        if pid == 0:
            for number in range(20):
                with client.start_span(f"child {child} {number}"):
                    pass
            is_sent = client.force_flush(10)
            ledger = client.pipeline.ledger.read()
            os._exit(0 if is_sent and ledger.ended == ledger.delivered == 20 else 1)
        children.append(pid)
    states = [os.waitpid(pid, 0)[1] for pid in children]
    is_over.set()
    thread.join()
    assert client.shutdown(10)
    assert states == [0] * 10, states
    print(counts[0])
"""


def test_fork_while_spans_are_sent_loses_nothing_and_sends_nothing_twice(
    receiver: Any, tmp_path: Path
) -> None:
    """The process forks ten times, with a warm connection and exports under way."""
    source = tmp_path / "program.py"
    source.write_text(textwrap.dedent(FORK_WHILE_SENDING))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning", str(source)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=50,
    )
    expected = {f"parent {number}" for number in range(int(done.stdout))}
    expected |= {f"child {child} {number}" for child in range(10) for number in range(20)}
    assert Counter(receiver.names) == dict.fromkeys(expected, 1)
    assert len({resource["service.instance.id"] for resource in receiver.resources}) == 11


def test_script_that_just_ends_has_sent_its_spans(receiver: Any) -> None:
    """Without an explicit shutdown, interpreter exit flushes the spans."""
    script = """
        from telemetry.client import TelemetryClient
        with TelemetryClient(schedule_delay_ms=600000).start_span("operation_name") as span:
            span.set_attribute("key", "value")
    """
    subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        cwd=ROOT,
        env={**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint},
        check=True,
        timeout=30,
    )
    assert receiver.names == ["operation_name"]


def test_exit_takes_one_budget_however_many_configurations_there_are() -> None:
    """Each client hangs at its own Collector, and all are stopped concurrently."""
    script = """
        import os, socket, sys, time
        from telemetry.client import TelemetryClient
        holes = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
        clients = [
            TelemetryClient(
                endpoint=f"http://127.0.0.1:{hole.getsockname()[1]}", protocol="http/protobuf",
                exporter_timeout_seconds=60, export_timeout_ms=60000, shutdown_seconds=2,
            )
            for hole in holes
        ]
        for client in clients:
            with client.start_span("hangs"):
                pass
        print(time.monotonic(), flush=True)
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    # In sequence they would take eight seconds.
    assert time.monotonic() - float(done.stdout) < 5
    assert done.stderr.count("shutdown dropped 1 span(s)") == 4
    assert "Traceback" not in done.stderr


def test_folder_works_where_it_is_copied(tmp_path: Path, receiver: Any) -> None:
    """The library may be copied to app.core.telemetry, since its imports are relative."""
    shutil.copytree(ROOT / "telemetry", tmp_path / "app" / "core" / "telemetry")
    script = """
        import sys
        from fastapi import FastAPI
        from app.core.telemetry.client import TelemetryClient
        from app.core.telemetry.decorators import trace_function
        from app.core.telemetry.telemetry import setup_telemetry
        client = setup_telemetry(FastAPI())
        @trace_function
        def work(): pass
        work()
        assert client.shutdown()
        assert "telemetry" not in sys.modules, "an absolute import reached the original"
    """
    subprocess.run(
        [sys.executable, "-W", "error", "-P", "-c", textwrap.dedent(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint},
        check=True,
        timeout=30,
    )
    assert len(receiver.spans) == 1


def test_import_has_no_side_effect() -> None:
    """Importing every module starts no thread, sets no provider and touches no logger."""
    script = """
        import logging, sys, threading
        import telemetry.telemetry, telemetry.client, telemetry.decorators
        import telemetry.health_check, telemetry.distro
        from opentelemetry import trace
        assert threading.active_count() == 1, threading.enumerate()
        assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
        assert not logging.getLogger().handlers
        stock = [name for name in sys.modules if name.startswith("opentelemetry.exporter.otlp.proto.grpc")
                 or name.startswith("opentelemetry.exporter.otlp.proto.http")]
        assert not stock, stock
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, check=True, timeout=30)
