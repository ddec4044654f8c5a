"""A signal at any moment of a child's start leaves no unknown child behind."""

import signal
import subprocess
import sys

import pytest

from stack.settings import ROOT

ROUNDS = """
import faulthandler, os, random, signal, sys
from pathlib import Path
import psutil
from stack import child
from stack.interruption import Interrupted, _signals, raise_on_signals
from stack.native import go_build
from stack.native.go_build import Module

faulthandler.dump_traceback_later(90, exit=True)
raise_on_signals()
signal.signal(signal.SIGALRM, signal.getsignal(signal.SIGTERM))
module, log = Module("none", "1", (), (), "", 1), Path(sys.argv[2])
os.environ["PATH"] = "/usr/bin:/bin"
run = {
    "child": lambda: child.run(["/bin/sleep", "1000"], environment=os.environ),
    "build": lambda: go_build._run(["/bin/sleep", "1000"], module, log, lambda: None),
}[sys.argv[1]]
Module.folder = property(lambda _: Path("/"))
draw = random.Random(7)
interrupted = 0
for _ in range(60):
    signal.setitimer(signal.ITIMER_REAL, draw.uniform(0.0001, 0.01))
    try:
        run()
    except Interrupted:
        interrupted += 1
    _signals.number = None
left = [each for each in psutil.Process().children(recursive=True) if each.status() != "zombie"]
print(interrupted, len(left))
for each in left:
    each.kill()
"""


WHILE_IT_LOADS = """
import os, runpy, signal, sys

class Interrupt:
    def find_spec(self, name, *_):
        if name == "stack.cli":
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal
sys.meta_path.insert(0, Interrupt())
runpy.run_module("stack", run_name="__main__")
"""


def test_interruption_while_commands_load_says_nothing() -> None:
    """It ends like any program interrupted by Ctrl-C, without a traceback."""
    done = subprocess.run(
        [sys.executable, "-c", WHILE_IT_LOADS], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize("way", ["child", "build"])
def test_interrupted_start_of_a_child_leaves_none(way: str, tmp_path: object) -> None:
    """It is interrupted sixty times at seeded random moments, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", ROUNDS, way, f"{tmp_path}/log"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.stdout == "60 0\n", done.stderr
