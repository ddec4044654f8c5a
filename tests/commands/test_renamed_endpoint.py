"""A service whose endpoint was renamed in an outage: the command that its log names sends what waits."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from support.dead_host import Run
from support.free_ports import free_port
from support.pipeline_rig import SpooledRig, names
from support.waiting import Until

from telemetry.health.report import make_report


def test_command_of_the_log_sends_what_waits_for_the_old_endpoint(
    receiver: Any, tmp_path: Path, run: Run, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    """Told once at the start, in the health report until it is sent."""
    old = SpooledRig(f"http://user:secret@127.0.0.1:{free_port()}", tmp_path / "spool")
    old.end_spans(*names(10))
    old.pipeline.stop(1)
    assert old.ledger.spooled == 10
    old.pipeline._spool.forget_after_fork()  # type: ignore[union-attr] # the process ends
    new = SpooledRig(receiver.endpoint, tmp_path / "spool")
    new.pipeline.replay()
    until("the notice", lambda: "10 span(s) wait in the spool for http://127.0.0.1:" in caplog.text)
    assert "secret" not in caplog.text
    until("it in the status", lambda: new.pipeline.spool_status.stranded_spans == 10)  # type: ignore[union-attr]
    report = make_report(new.pipeline, push=None, instance_id="", sampling_ratio=1.0, checks={})
    assert (report.spool.stranded_spans, report.spool.spans) == (10, 0)
    command = re.search("python -m telemetry spool (send .*)", caplog.text)
    assert command is not None
    assert run(*shlex.split(command[1]))[:2] == (0, "10 spans delivered, 0 rejected, 0 left\n")
    assert sorted(receiver.names) == sorted(names(10))
    assert new.pipeline.stop(5)
