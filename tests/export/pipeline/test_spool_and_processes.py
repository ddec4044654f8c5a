"""The pipeline with a spool when processes fork, are killed, or run through a long outage."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.trace import TracerProvider
from support.paths import ROOT
from support.pipeline_rig import SpooledRig, names
from support.waiting import Until, wait_until

from telemetry.config import TelemetryConfig
from telemetry.export.pipeline import ExportPipeline


def test_fork_in_an_outage_sends_nothing_twice(
    make_spooled: Callable[..., SpooledRig], receiver: Any, until: Until
) -> None:
    """The child has its own spool, which the parent adopts after the child's end."""
    receiver.stop()
    rig = make_spooled()
    rig.end_spans(*names(5, "parent"))
    until("all on disk", lambda: rig.ledger.spooled == 5)
    pid = os.fork()
    if pid == 0:
        rig.end_spans(*names(5, "child"))
        rig.pipeline.stop(1)
        os._exit(0 if rig.ledger.spooled == 5 and rig.ledger.adopted == 0 else 1)
    assert os.waitpid(pid, 0)[1] == 0
    receiver.start()
    until("the parent's own", lambda: rig.ledger.delivered >= 5)
    rig.pipeline.stop(2)
    rig.pipeline.start()  # looks for orphans at once
    rig.pipeline.replay()
    until("the dead child's", lambda: rig.ledger.adopted == 5)
    until("everything", lambda: rig.ledger.delivered == 10)
    assert sorted(receiver.names) == sorted(names(5, "parent") + names(5, "child"))


def test_living_child_does_not_keep_what_its_dead_parent_left(
    make_spooled: Callable[..., SpooledRig], receiver: Any, until: Until
) -> None:
    """The child closes its copy of the parent's lock at once, so the lock is freed when the parent dies."""
    receiver.stop()
    rig = make_spooled()
    rig.end_spans(*names(5, "parent"))
    until("all on disk", lambda: rig.ledger.spooled == 5)
    read_end, write_end = os.pipe()
    lives, says_so = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write_end)
        # Only now has it closed its own; a process that checked earlier checks again in half a minute.
        os.write(says_so, b".")
        os.read(read_end, 1)
        os._exit(0)
    try:
        os.read(lives, 1)
        rig.pipeline.stop(1)
        rig.pipeline._spool.forget_after_fork()  # type: ignore[union-attr] # the parent ends
        receiver.start()
        heir = make_spooled()
        heir.pipeline.replay()
        until("all delivered by the heir", lambda: heir.ledger.delivered == 5)
    finally:
        for descriptor in (write_end, read_end, lives, says_so):
            os.close(descriptor)
        os.waitpid(pid, 0)


VICTIM = """
    import sys, time
    from opentelemetry.sdk.trace import TracerProvider
    from telemetry.config import TelemetryConfig
    from telemetry.export.pipeline import ExportPipeline

    endpoint, folder, mode, prefix = sys.argv[1:]
    pipeline = ExportPipeline(TelemetryConfig(
        endpoint=endpoint, spool_dir=folder, spool_mode=mode, schedule_delay_ms=2, max_export_batch_size=4,
        breaker_open_seconds=0.02, breaker_open_max_seconds=0.05,
    ))
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(pipeline)
    tracer = provider.get_tracer("victim")
    if prefix and mode == "outage":
        pipeline.breaker.force_open()  # so that every span goes to disk
    pipeline.replay()
    number = 0
    while prefix:
        names = [f"{prefix}-{number + each}" for each in range(3)]
        number += 3
        for name in names:
            tracer.start_span(name).end()
        while pipeline.ledger.read().in_memory:
            time.sleep(0.0005)
        print(*names, flush=True)  # each of these is on disk, or was delivered
        if number == 60:
            pipeline.breaker.reset()
    while True:
        time.sleep(0.05)
        reading = pipeline.ledger.read()
        if not reading.spooled and not reading.in_memory:
            pipeline.stop(2)
            break
"""


@pytest.mark.parametrize(
    ("rounds", "mode"),
    [
        (13, "always"),
        (12, "outage"),
        pytest.param(500, "always", marks=[pytest.mark.soak, pytest.mark.timeout(3_600)]),
        pytest.param(500, "outage", marks=[pytest.mark.soak, pytest.mark.timeout(3_600)]),
    ],
)
def test_kill_loses_nothing_that_was_written(rounds: int, mode: str, receiver: Any, tmp_path: Path) -> None:
    """After `kill -9` at any instant, with a flapping Collector, all written spans arrive."""
    chance = random.Random(20_261_123)
    source = tmp_path / "victim.py"
    source.write_text(textwrap.dedent(VICTIM))
    command = [sys.executable, "-W", "error", str(source), receiver.endpoint, str(tmp_path / "spool"), mode]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    safe: set[str] = set()
    for number in range(rounds):
        receiver.answer = (
            (lambda _: None)
            if chance.random() < 0.5
            else lambda context: context.abort(grpc.StatusCode.UNAVAILABLE, "on purpose")
        )
        with subprocess.Popen(
            [*command, f"round-{number}"], env=environment, stdout=subprocess.PIPE, text=True
        ) as victim:
            assert victim.stdout is not None
            first = victim.stdout.readline()
            assert first
            timer = threading.Timer(chance.uniform(0, 0.3), victim.kill)
            timer.start()
            lines = victim.stdout.readlines()
            timer.join()
        assert victim.returncode == -signal.SIGKILL
        # The last line may be cut off; an incomplete name does not count as written.
        safe.update(" ".join([first, *(line for line in lines if line.endswith("\n"))]).split())
    receiver.answer = lambda _: None

    def is_empty_after_an_heir() -> bool:
        # On a busy machine, one may find its spool still unread, and end.
        subprocess.run([*command, ""], env=environment, check=True)
        return list((tmp_path / "spool").rglob("*.seg")) == []

    wait_until("an empty spool", is_empty_after_an_heir, seconds=300)
    assert len(safe) >= 3 * rounds
    assert safe <= set(receiver.names)


@pytest.mark.soak
@pytest.mark.timeout(1_200)
def test_outage_of_ten_minutes_keeps_memory_flat_and_loses_nothing(
    receiver: Any, tmp_path: Path, until: Until
) -> None:
    """600,000 spans end at 1,000 a second of a clock that runs ten times as fast."""
    began = time.monotonic()

    def clock() -> float:
        return (time.monotonic() - began) * 10

    receiver.keeps_spans = False
    pipeline = ExportPipeline(
        TelemetryConfig(endpoint=receiver.endpoint, spool_dir=tmp_path / "spool", max_queue_size=8_192),
        clock=clock,
    )
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(pipeline)
    tracer = provider.get_tracer("soak")
    receiver.stop()

    def end_spans(count: int) -> None:
        for _ in range(count):
            with tracer.start_as_current_span("GET /products/{id}") as span:
                span.set_attribute("http.route", "/products/{id}")
                span.set_attribute("http.response.status_code", 200)

    end_spans(20_000)
    until("the breaker to open", lambda: pipeline.breaker.snapshot().opened_total, seconds=60)
    until("the beginning on disk", lambda: pipeline.ledger.read().in_memory == 0, seconds=60)
    start, before = clock(), _resident_bytes()
    most = before
    for second in range(600):
        end_spans(1_000)
        most = max(most, _resident_bytes())
        until("the second to be over", lambda second=second: clock() - start >= second, seconds=60)
    until("all on disk", lambda: pipeline.ledger.read().in_memory == 0, seconds=60)
    assert most - before < 30 * 2**20
    reading = pipeline.ledger.read()
    assert (reading.spooled, reading.dropped) == (620_000, {})
    receiver.start()
    until("all delivered", lambda: pipeline.ledger.read().delivered == 620_000, seconds=600)
    assert receiver.accepted == 620_000
    assert pipeline.ledger.read().is_balanced
    assert pipeline.stop(5)
    assert _resident_bytes() - before < 60 * 2**20


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
