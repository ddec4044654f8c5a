"""`spool send` that is interrupted or killed, as a process of its own, and repeated."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.collector import ACCEPT, Collector
from support.dead_host import Run, names
from support.paths import ROOT
from support.spool_rig import SpoolRig
from support.waiting import Until


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_lost_and_at_most_one_batch_arrives_twice(
    kind: signal.Signals,
    leave: Callable[..., SpoolRig],
    spool: Path,
    collector: Collector,
    run: Run,
    until: Until,
) -> None:
    """It ends while the second batch is under way, of which it does not know whether it arrived."""
    leave("a", "b", "c")
    collector.script = lambda request: collector.hang(request) if request.number == 2 else ACCEPT
    command = [sys.executable, "-m", "telemetry", "spool", "send", "--to", collector.endpoint]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OTEL_EXPORTER_OTLP_TIMEOUT": "60"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        until("the second batch", lambda: len(collector.requests) == 2, seconds=60)
        process.send_signal(kind)
        out, err = process.communicate(timeout=60)
    if kind is signal.SIGINT:
        assert (process.returncode, out) == (1, "3 spans delivered, 0 rejected, 6 left\n")
        assert err.endswith("the receiver did not take everything: interrupted\n")
    else:
        assert process.returncode == -kind
    collector.release.set()
    assert run("send", "--to", collector.endpoint)[:2] == (0, "6 spans delivered, 0 rejected, 0 left\n")
    assert set(collector.taken) == set(names("a", "b", "c"))
    assert len(collector.arrived) <= len(names("a", "b", "c", "b"))
    assert list(spool.iterdir()) == []
