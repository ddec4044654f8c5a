"""`up`, interrupted at any moment, stops what it started, and the next one works."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from stack.native.runtime import NativeRuntime
from stack.runtime import PartState
from stack.settings import ROOT, StackSettings
from stack.supervision.configuration import MARK

pytestmark = pytest.mark.timeout(180)
UP = """
import sys, json
from pathlib import Path
from rich.console import Console
from stack.interruption import Interrupted, raise_on_signals, undone_when_interrupted
from stack.lock import locked
from stack.native.programs import Programs
from stack.native.runtime import NativeRuntime
from stack.settings import load_settings

raise_on_signals()
values, programs = json.loads(sys.argv[1]), json.loads(sys.argv[2])
settings = load_settings(**values)
console = Console(width=200)
found = Programs({name: Path(path) for name, path in programs.items()})
runtime = NativeRuntime(settings, console, lambda *_: found)
print("begins", flush=True)
sys.stdin.readline()
try:
    with locked(settings, console), undone_when_interrupted(console, runtime.as_it_is()):
        runtime.up()
        sys.stdin.readline()
except Interrupted as interrupted:
    sys.exit(interrupted.exit_status)
"""


@pytest.fixture
def begin_up(settings: StackSettings, programs: dict[str, Path]) -> Callable[[], "subprocess.Popen[str]"]:
    """Begins an `up` in a process of its own."""
    values = json.dumps({name: getattr(settings, name) for name in StackSettings.model_fields}, default=str)
    paths = json.dumps(programs, default=str)

    def begin() -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", UP, values, paths],
            cwd=ROOT,
            # A signal that raises inside coverage's own lock would leave it taken, and the child hanging.
            env={name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout
        assert process.stdout.readline() == "begins\n"
        return process

    return begin


def let_go(process: "subprocess.Popen[str]", *, to_the_end: bool = False) -> None:
    """Lets the process run `up`, after which it waits to be interrupted unless it may run to the end."""
    assert process.stdin
    process.stdin.write("\n\n" if to_the_end else "\n")
    process.stdin.flush()


def processes_of(settings: StackSettings) -> list[psutil.Process]:
    """Returns all processes that carry the run's mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(settings.stack_run_dir) and process.status() != "zombie":
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_first_start_leaves_nothing(
    number: signal.Signals,
    begin_up: Callable[[], "subprocess.Popen[str]"],
    settings: StackSettings,
    runtime: NativeRuntime,
) -> None:
    """Interrupted four times at seeded random moments, it then succeeds; an empty folder stays empty."""
    draw = random.Random(int(number))
    for existed in (False, True, False, True):
        if existed:
            settings.stack_run_dir.mkdir()
        process = begin_up()
        let_go(process)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(draw.uniform(0.0, 1.2))
        process.send_signal(number)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 128 + number, said
        assert "Traceback" not in said
        assert processes_of(settings) == []
        assert settings.stack_run_dir.exists() == existed
        if existed:
            settings.stack_run_dir.rmdir()
    runtime.up()
    assert {status.state for status in runtime.status()} == {PartState.UP}


def test_interrupted_second_start_leaves_the_first_as_it_was(
    begin_up: Callable[[], "subprocess.Popen[str]"],
    settings: StackSettings,
    runtime: NativeRuntime,
    monkeypatch: pytest.MonkeyPatch,
    until: Callable[..., None],
) -> None:
    """Running parts go on, the dead one is dead again, and Prometheus's targets are as before."""
    runtime.up()
    (targets,) = settings.stack_run_dir.rglob("targets/native.json")
    asked = targets.read_text() + "\n"
    targets.write_text(asked)
    runtime.kill("prometheus")
    before = {status.part.name: status.pid for status in runtime.status()}
    monkeypatch.setenv("SERVICE_VERSION", "9")  # would restart the services
    process = begin_up()
    let_go(process)
    until(
        "the dead part to be started",
        lambda: any("prometheus" in s.part.name and s.pid for s in runtime.status()),
    )
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert targets.read_text() == asked
    after = {status.part.name: status.pid for status in runtime.status()}
    assert {name for name in before if before[name] is None} == {
        name for name in after if after[name] is None
    }
    assert {name: after[name] for name in ("jaeger", "collector")} == {
        name: before[name] for name in ("jaeger", "collector")
    }


def test_two_cold_starts_at_once_make_one_stack(
    begin_up: Callable[[], "subprocess.Popen[str]"], runtime: NativeRuntime
) -> None:
    """The second waits, says so, and finds the stack of the first."""
    both = [begin_up() for _ in range(2)]
    for each in both:
        let_go(each, to_the_end=True)
    said = [process.communicate(timeout=100)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum("waiting until it ends" in each for each in said) == 1, said
    assert {status.state for status in runtime.status()} == {PartState.UP}
