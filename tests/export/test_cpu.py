"""CPU time of the library's threads: counted where it is spent, and never less than before."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.collector import Collector
from support.forking import assert_child_succeeds
from support.paths import ROOT
from support.pipeline_rig import PipelineRig, end_spans
from support.waiting import wait_until

from telemetry.export.cpu import CpuMeter, NativeThreads, Stage

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="threads of C libraries are read on Linux only")


def burn(seconds: float) -> None:
    """Uses this much CPU time on the calling thread."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def in_thread(work: Callable[[], None]) -> None:
    """Runs work on a new thread, to its end."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_thread_is_counted_from_its_start_note_by_note() -> None:
    """Notes of several threads add up, and what is used after the last one is not in it."""
    meter = CpuMeter(has_grpc=False)
    used: list[float] = []

    def work() -> None:
        burn(0.01)
        meter.note(Stage.SEND)
        burn(0.01)
        meter.note(Stage.SEND)
        used.append(time.thread_time())
        burn(0.05)

    for _ in range(3):
        in_thread(work)
    assert meter.read() == {Stage.SEND: pytest.approx(sum(used), abs=0.005)}


def test_pipelines_threads_are_counted_and_restarts_take_nothing_away(collector: Collector) -> None:
    """Worker and sending threads cost CPU in each run; together no more than the process."""
    rig = PipelineRig(
        {"endpoint": collector.endpoint, "protocol": collector.protocol, "schedule_delay_ms": 20}
    )
    before: dict[Stage, float] = {}
    for run in range(1, 4):
        rig.pipeline.start()
        end_spans(rig.pipeline, 50)
        assert rig.pipeline.stop(10)
        now = rig.pipeline.cpu.read()
        assert rig.ledger.delivered == 50 * run
        assert now[Stage.ENCODE] > before.get(Stage.ENCODE, 0.0)
        assert all(now[stage] >= seconds for stage, seconds in before.items())
        before = now
    wait_until("the last sending thread's note", lambda: rig.pipeline.cpu.read()[Stage.SEND] > 0)
    assert sum(rig.pipeline.cpu.read().values()) < time.process_time()


def test_forked_child_counts_from_zero(http_collector: Collector) -> None:
    """Its process has used none of what its parent's threads have."""
    rig = PipelineRig({"endpoint": http_collector.endpoint, "protocol": "http/protobuf"})
    end_spans(rig.pipeline, 1)
    assert rig.pipeline.force_flush(10_000)
    wait_until("the sending thread's note", lambda: Stage.SEND in rig.pipeline.cpu.read())
    parents = rig.pipeline.cpu.read()

    def child() -> bool:
        if rig.pipeline.cpu.read():
            return False
        end_spans(rig.pipeline, 1)
        assert rig.pipeline.stop(10)
        return 0 < rig.pipeline.cpu.read()[Stage.ENCODE] < time.process_time()

    assert_child_succeeds(child)
    assert all(rig.pipeline.cpu.read()[stage] >= seconds for stage, seconds in parents.items())
    rig.pipeline.stop(10)


EVERY_NATIVE_THREAD = """
import os, sys, threading, time
from contextlib import suppress
from telemetry.client import TelemetryClient
from telemetry.export.cpu import Stage, _GRPC_NAMES, _TASKS

def native():
    of_python = {str(thread.native_id) for thread in threading.enumerate()}
    names = {}
    for number in set(os.listdir(_TASKS)) - of_python:
        with suppress(OSError):
            names[number] = (_TASKS / number / "comm").read_text().strip()
    return names

before = native()
with TelemetryClient(endpoint=sys.argv[1]) as client:
    with client.start_span("one"):
        pass
    assert client.force_flush(10)
    assert client.pipeline.cpu.read()[Stage.GRPC] > 0
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:  # a thread has its starter's name until it gives itself one
        started = {number: name for number, name in native().items() if number not in before}
        unknown = [name for name in started.values() if not name.startswith(_GRPC_NAMES)]
        if started and not unknown:
            break
        time.sleep(0.01)
assert started, "gRPC has started no thread of its own"
print(*unknown)
"""


@LINUX
def test_every_thread_that_grpc_starts_is_known_by_its_name(grpc_collector: Collector) -> None:
    """A new version of gRPC may call them otherwise, and their CPU would be missing."""
    answer = subprocess.run(
        [sys.executable, "-c", EVERY_NATIVE_THREAD, grpc_collector.endpoint],
        env={**os.environ, "PYTHONPATH": f"{ROOT}"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert answer.stdout.strip() == ""


def test_threads_are_left_out_where_there_is_no_such_folder(tmp_path: Path) -> None:
    """On other systems the figure is absent, without an error."""
    assert NativeThreads(tmp_path / "none", ("grpc_",)).read() is None


class Tasks:
    """A folder as the kernel's of a process's threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(
        self, number: int, name: str, *, ticks: int, started: int = 7, nanoseconds: int | None = None
    ) -> None:
        """Adds a thread, or changes it."""
        folder = self._folder / f"{number}"
        folder.mkdir(exist_ok=True)
        fields = ["S", *["0"] * 10, f"{ticks}", "0", *["0"] * 6, f"{started}", "0"]
        (folder / "stat").write_text(f"{number} ({name}) {' '.join(fields)}\n")
        if nanoseconds is not None:
            (folder / "schedstat").write_text(f"{nanoseconds} 5 6\n")

    def end(self, number: int) -> None:
        """Removes a thread."""
        for file in (self._folder / f"{number}").iterdir():
            file.unlink()
        (self._folder / f"{number}").rmdir()


def test_native_threads_are_those_of_the_names(tmp_path: Path) -> None:
    """Others' are left alone, whatever their names hold; a folder without figures is a thread that ended."""
    tasks, threads = Tasks(tmp_path), NativeThreads(tmp_path, ("grpc_", "event"))
    assert threads.read() is None
    tasks.put(1, "event_engine", ticks=0, nanoseconds=2_000_000)
    tasks.put(2, "a (grpc_) b", ticks=100, nanoseconds=9_000_000_000)
    tasks.put(3, "grpc_a) (b", ticks=0, nanoseconds=500_000)
    (tmp_path / "4").mkdir()
    assert threads.read() == pytest.approx(0.0025)


def test_thread_that_ended_keeps_its_figure_and_its_id_may_be_another(tmp_path: Path) -> None:
    """The sum never falls."""
    tasks, threads = Tasks(tmp_path), NativeThreads(tmp_path, ("grpc_",))
    tasks.put(1, "grpc_a", ticks=0, nanoseconds=3_000_000)
    assert threads.read() == pytest.approx(0.003)
    tasks.end(1)
    assert threads.read() == pytest.approx(0.003)
    tasks.put(1, "grpc_a", ticks=0, started=8, nanoseconds=1_000_000)
    assert threads.read() == pytest.approx(0.004)


def test_kernel_without_scheduler_statistics_is_read_in_ticks(tmp_path: Path) -> None:
    """They are coarser, and a figure that was read before stays."""
    tasks, threads = Tasks(tmp_path), NativeThreads(tmp_path, ("grpc_",))
    tick = 1 / os.sysconf("SC_CLK_TCK")
    tasks.put(1, "grpc_a", ticks=3)
    tasks.put(2, "grpc_b", ticks=1, nanoseconds=0)
    assert threads.read() == pytest.approx(4 * tick)
    tasks.put(1, "grpc_a", ticks=2)
    assert threads.read() == pytest.approx(4 * tick)


BESIDE_THE_CALLER = """
import sys, time
from telemetry.client import TelemetryClient

def used():
    return time.process_time() - time.thread_time(), sum(client.pipeline.cpu.read().values())

with TelemetryClient(endpoint=sys.argv[1], protocol=sys.argv[2]) as client:
    before = used()
    for _ in range(300):  # small exports, for which gRPC's own threads have much to do
        with client.start_span("work"):
            pass
        assert client.force_flush(10)
    deadline = time.monotonic() + 5
    while True:  # until the threads have made their last notes
        beside, counted = (now - then for now, then in zip(used(), before))
        if abs(counted - beside) < 0.04 * beside or time.monotonic() > deadline:
            break
        time.sleep(0.01)
print(beside, counted)
"""


@LINUX
def test_nothing_that_threads_use_beside_the_callers_is_missing(collector: Collector) -> None:
    """All CPU of a process that only makes spans is its caller's or in a stage."""
    answer = subprocess.run(
        [sys.executable, "-c", BESIDE_THE_CALLER, collector.endpoint, collector.protocol],
        env={**os.environ, "PYTHONPATH": f"{ROOT}"},
        check=True,
        capture_output=True,
        text=True,
    )
    beside, counted = map(float, answer.stdout.split())
    assert beside > 0.005
    assert counted == pytest.approx(beside, rel=0.04)
