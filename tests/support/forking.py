"""Forked children of the tests' own process."""

import os
import signal
import threading
import time
from collections.abc import Callable


def assert_child_succeeds(work: Callable[[], object]) -> None:
    """Forks; the child's work must return a true value within 20 s, or the child is killed."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    deadline = time.monotonic() + 20
    ended, state = os.waitpid(pid, os.WNOHANG)
    while not ended and time.monotonic() < deadline:
        threading.Event().wait(0.01)
        ended, state = os.waitpid(pid, os.WNOHANG)
    if not ended:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert ended, "the child hung"
    assert state == 0
