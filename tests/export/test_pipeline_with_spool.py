"""The pipeline with a spool: what cannot be sent waits on disk, outlives the process, and arrives."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.trace import TracerProvider

from telemetry.config import TelemetryConfig
from telemetry.export.breaker import BreakerState
from telemetry.export.ledger import DropReason
from telemetry.export.pipeline import ExportPipeline

ROOT = Path(__file__).parents[2]
Until = Callable[..., None]
MODES = pytest.mark.parametrize("mode", ["outage", "always"])


class Rig:
    """A pipeline with a spool, behind a provider."""

    def __init__(self, endpoint: str, folder: Path, **settings: Any) -> None:
        defaults = {
            "endpoint": endpoint,
            "spool_dir": folder,
            "schedule_delay_ms": 20,
            "breaker_open_seconds": 0.05,
            "breaker_open_max_seconds": 0.1,
        }
        self.pipeline = ExportPipeline(TelemetryConfig(**{**defaults, **settings}))
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(self.pipeline)
        self.tracer = provider.get_tracer("test")

    def end_spans(self, *names: str, **attributes: str) -> None:
        """Starts and ends spans."""
        for name in names:
            self.tracer.start_span(name, attributes=attributes).end()

    @property
    def ledger(self) -> Any:
        """A reading, which must add up whenever it is made."""
        reading = self.pipeline.ledger.read()
        assert reading.is_balanced, reading
        return reading


@pytest.fixture
def make(receiver: Any, tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    """Makes rigs that share a spool folder, and stops them."""
    rigs: list[Rig] = []

    def build(mode: str = "outage", **settings: Any) -> Rig:
        rigs.append(Rig(receiver.endpoint, tmp_path / "spool", spool_mode=mode, **settings))
        return rigs[-1]

    yield build
    for rig in rigs:
        rig.pipeline.stop(0.2)
        assert rig.ledger


def names(count: int, prefix: str = "span") -> list[str]:
    """So many names."""
    return [f"{prefix} {number}" for number in range(count)]


@MODES
def test_outage_goes_to_disk_and_everything_arrives(
    mode: str, make: Callable[..., Rig], receiver: Any, until: Until
) -> None:
    """Memory is empty while the breaker is open; the probe is a batch of the spool, with no traffic."""
    rig = make(mode)
    receiver.stop()
    rig.end_spans(*names(100))
    until("all on disk", lambda: rig.ledger.spooled == 100)
    until("memory to be empty", lambda: rig.pipeline.buffered_bytes == 0)
    assert rig.pipeline.breaker.state is not BreakerState.CLOSED
    receiver.start()
    until("all delivered", lambda: rig.ledger.delivered == 100)
    assert sorted(receiver.names) == sorted(names(100))
    assert rig.ledger.spooled == 0
    assert rig.pipeline.stop(5)


@MODES
def test_shutdown_in_an_outage_leaves_everything_to_the_next_process(
    mode: str, make: Callable[..., Rig], receiver: Any, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    """It says so, and how many; the heir counts them as adopted and sends them though it has no traffic."""
    receiver.stop()
    rig = make(mode, schedule_delay_ms=60_000, max_queue_size=1_000)
    rig.end_spans(*names(700))
    assert rig.pipeline.stop(1) is False
    assert (rig.ledger.spooled, rig.ledger.dropped) == (700, {})
    assert "700 unsent span(s) stay in the spool" in caplog.text
    rig.pipeline._spool.forget_after_fork()  # type: ignore[union-attr] # the process ends
    receiver.start()
    heir = make(mode)
    heir.pipeline.replay()
    until("all delivered by the heir", lambda: heir.ledger.delivered == 700)
    assert heir.ledger.adopted == 700
    assert sorted(receiver.names) == sorted(names(700))


@MODES
def test_same_process_that_starts_again_finds_its_own(
    mode: str, make: Callable[..., Rig], receiver: Any, until: Until
) -> None:
    """A stop and a start are no other process: nothing is adopted."""
    receiver.stop()
    rig = make(mode)
    rig.end_spans(*names(10))
    assert rig.pipeline.stop(1) is False
    assert rig.ledger.spooled == 10
    receiver.start()
    rig.pipeline.start()
    rig.end_spans("fresh")
    until("all delivered", lambda: rig.ledger.delivered == 11)
    assert rig.ledger.adopted == 0


def test_flush_is_false_while_anything_waits_on_disk(make: Callable[..., Rig], receiver: Any) -> None:
    """What is on disk is kept, and unsent."""
    receiver.stop()
    rig = make()
    rig.end_spans(*names(3))
    assert rig.pipeline.force_flush(300) is False
    rig.end_spans("another")
    assert rig.pipeline.force_flush(300) is False
    assert rig.ledger.ended == 4


@MODES
def test_flush_is_true_when_everything_arrived(mode: str, make: Callable[..., Rig], receiver: Any) -> None:
    """In `always` mode what was delivered is no longer on disk."""
    rig = make(mode)
    rig.end_spans(*names(10))
    assert rig.pipeline.force_flush(5_000) is True
    assert rig.ledger.spooled == 0
    assert len(receiver.spans) == 10


def test_always_mode_has_spans_on_disk_while_they_are_sent(
    make: Callable[..., Rig], receiver: Any, until: Until
) -> None:
    """Before anything of them reaches the wire; a process that dies then loses none of them."""
    release = threading.Event()
    receiver.answer = lambda _: release.wait(5)
    rig = make("always")
    rig.end_spans(*names(5))
    until("a call under way", lambda: receiver.calls == 1)
    assert (rig.ledger.spooled, rig.ledger.in_memory) == (5, 0)
    release.set()
    until("delivered", lambda: rig.ledger.delivered == 5)


def test_fresh_spans_overtake_the_spool(make: Callable[..., Rig], receiver: Any, until: Until) -> None:
    """After an outage what happens now is sent at once, and the spool follows at its pace."""
    receiver.stop()
    rig = make(max_export_batch_size=100, max_queue_size=10_000)
    rig.end_spans(*names(5_000, "old"))
    until("all on disk", lambda: rig.ledger.spooled == 5_000, seconds=20)
    receiver.start()
    until("the breaker to close", lambda: rig.pipeline.breaker.state is BreakerState.CLOSED)
    rig.end_spans("fresh")
    until("the fresh span", lambda: "fresh" in receiver.names)
    assert rig.ledger.spooled > 0
    until("the rest", lambda: rig.ledger.delivered == 5_001, seconds=20)


@MODES
def test_full_spool_and_full_memory_drop_the_newest_counted(
    mode: str, make: Callable[..., Rig], receiver: Any, until: Until
) -> None:
    """Both bounds hold; what was kept arrives."""
    receiver.stop()
    rig = make(mode, spool_max_bytes=2**16, buffer_max_bytes=2**14, max_export_batch_size=10)
    rig.pipeline.breaker.force_open()  # a probe would take a batch from the spool, on top of the bound
    for _ in range(30):
        rig.end_spans(*names(10), text="x" * 1_000)
        until("the queue taken", lambda: not rig.pipeline._run.worker._queue)  # type: ignore[union-attr]
    until("drops", lambda: rig.ledger.dropped.get(DropReason.SPOOL_FULL))
    assert rig.pipeline.buffered_bytes <= 2**14
    assert rig.pipeline.spool_status.size_bytes <= 2**16  # type: ignore[union-attr]
    receiver.start()
    rig.pipeline.breaker.reset()
    until("the rest", lambda: rig.ledger.in_memory == rig.ledger.spooled == 0)
    assert rig.ledger.delivered == len(receiver.spans) == 300 - rig.ledger.dropped[DropReason.SPOOL_FULL]


def test_spool_that_cannot_be_used_is_told_once_and_memory_serves(
    make: Callable[..., Rig], receiver: Any, until: Until, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As without a spool, but health and log name the folder and the remedy."""
    (tmp_path / "file").touch()
    receiver.stop()
    rig = make(spool_dir=tmp_path / "file" / "spool")
    rig.end_spans(*names(10))
    until("the breaker to open", lambda: rig.pipeline.breaker.snapshot().opened_total)
    assert "TELEMETRY_SPOOL_DIR" in rig.pipeline.spool_status.trouble  # type: ignore[union-attr, operator]
    receiver.start()
    until("all delivered", lambda: rig.ledger.delivered == 10)
    assert caplog.text.count("the spool of unsent spans") == 1


@MODES
def test_spooled_batch_over_the_servers_limit_is_sent_in_halves(
    mode: str, make: Callable[..., Rig], receiver: Any, until: Until
) -> None:
    """Its record goes when both halves have their fate."""
    receiver.stop()
    rig = make(mode, max_export_batch_size=500)
    rig.end_spans(*names(500), text="x" * 10_000)  # more than the server's 4 MiB together
    until("all on disk", lambda: rig.ledger.spooled == 500)
    receiver.start()
    until("all delivered", lambda: rig.ledger.delivered == 500)
    assert sorted(receiver.names) == sorted(names(500))
    assert rig.pipeline.stop(5)


def test_half_of_a_spooled_batch_that_fails_is_not_sent_whole_again(
    make: Callable[..., Rig], receiver: Any, until: Until, tmp_path: Path
) -> None:
    """The half that arrived is delivered once; the other waits as a record of its own."""
    receiver.stop()
    # One batch, however long it takes to end its spans.
    rig = make(max_export_batch_size=500, max_in_flight=1, schedule_delay_ms=600_000)
    rig.end_spans(*names(500), text="x" * 10_000)
    until("all on disk", lambda: rig.ledger.spooled == 500)
    accepted = iter([None])

    def accept_one(context: grpc.ServicerContext) -> None:
        if next(accepted, "no more") is not None:
            context.abort(grpc.StatusCode.UNAVAILABLE, "on purpose")

    receiver.answer = accept_one
    receiver.start()
    until("one half delivered", lambda: rig.ledger.delivered == 250)
    until("the breaker to open again", lambda: rig.pipeline.breaker.snapshot().opened_total >= 2)
    until("the other half on disk", lambda: rig.ledger.spooled == 250)
    receiver.answer = lambda _: None
    until("the other half", lambda: rig.ledger.delivered == 500)
    assert sorted(receiver.names) == sorted(names(500))
    assert rig.pipeline.stop(5)
    assert list((tmp_path / "spool").rglob("*.seg")) == []


def test_spooled_batch_that_is_refused_is_dropped_once(
    make: Callable[..., Rig], receiver: Any, until: Until
) -> None:
    """A poisonous record does not come back, in this process or the next."""
    receiver.stop()
    rig = make()
    rig.end_spans(*names(5))
    until("all on disk", lambda: rig.ledger.spooled == 5)
    receiver.answer = lambda context: context.abort(grpc.StatusCode.INVALID_ARGUMENT, "on purpose")
    receiver.start()
    until("dropped", lambda: rig.ledger.dropped == {DropReason.NOT_RETRYABLE: 5})
    assert rig.ledger.spooled == 0
    assert rig.pipeline.stop(1)
    calls = receiver.calls
    heir = make()
    heir.pipeline.replay()
    heir.end_spans("fresh")
    until("the heir's own", lambda: heir.ledger.ended == sum(heir.ledger.dropped.values()) == 1)
    assert receiver.calls == calls + 1


@MODES
def test_identity_holds_while_threads_end_spans_and_the_server_flaps(
    mode: str, make: Callable[..., Rig], receiver: Any, until: Until
) -> None:
    """Sixteen threads, a Collector that comes and goes, a spool between: every reading adds up."""
    rig = make(mode, max_queue_size=512, max_export_batch_size=32)
    threads = [
        threading.Thread(target=rig.end_spans, args=names(100, f"thread {number}")) for number in range(16)
    ]
    for thread in threads:
        thread.start()
    for _ in range(3):
        receiver.stop()
        assert rig.ledger
        receiver.start()
        assert rig.ledger
    for thread in threads:
        thread.join()
    until("nothing pending", lambda: rig.ledger.in_memory == rig.ledger.spooled == 0, seconds=20)
    reading = rig.ledger
    assert reading.ended == 1_600 == reading.delivered + sum(reading.dropped.values())
    assert set(reading.dropped) <= {DropReason.QUEUE_FULL}
    assert len(set(receiver.names)) == reading.delivered


def test_fork_in_an_outage_sends_nothing_twice(make: Callable[..., Rig], receiver: Any, until: Until) -> None:
    """The child has a spool of its own, which the parent's end does not touch."""
    receiver.stop()
    rig = make()
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
    make: Callable[..., Rig], receiver: Any, until: Until
) -> None:
    """A lock is free when every copy of its descriptor is closed: the child closes its own at once."""
    receiver.stop()
    rig = make()
    rig.end_spans(*names(5, "parent"))
    until("all on disk", lambda: rig.ledger.spooled == 5)
    read_end, write_end = os.pipe()
    lives, says_so = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write_end)
        # Only now has it closed its own: who looks earlier looks again in half a minute.
        os.write(says_so, b".")
        os.read(read_end, 1)
        os._exit(0)
    try:
        os.read(lives, 1)
        rig.pipeline.stop(1)
        rig.pipeline._spool.forget_after_fork()  # type: ignore[union-attr] # the parent ends
        receiver.start()
        heir = make()
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
def test_kill_loses_nothing_that_was_written(
    rounds: int, mode: str, receiver: Any, tmp_path: Path, until: Until
) -> None:
    """`kill -9` at any instant, while spans are written and sent and the Collector flaps: all arrive."""
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
        # The last line may be cut off: a name that is not whole was not promised.
        safe.update(" ".join([first, *(line for line in lines if line.endswith("\n"))]).split())
    receiver.answer = lambda _: None
    subprocess.run([*command, ""], env=environment, check=True)
    assert len(safe) >= 3 * rounds
    assert safe <= set(receiver.names)
    assert list((tmp_path / "spool").rglob("*.seg")) == []


@pytest.mark.soak
@pytest.mark.timeout(1_200)
def test_outage_of_ten_minutes_keeps_memory_flat_and_loses_nothing(
    receiver: Any, tmp_path: Path, until: Until
) -> None:
    """600,000 spans, 1,000 a second of a clock that runs ten times as fast."""
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
