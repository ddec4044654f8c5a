"""A program that is waited for, and does not outlive the wait: neither it nor what it has started."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from stack.interruption import shielded

_GRACE_SECONDS = 10.0
_SECONDS_BETWEEN_LOOKS = 0.2


def run(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    timeout_seconds: float | None = None,
    captures: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Runs it to its end, in a session of its own: Ctrl-C is told to it here, once.

    Args:
        command: its words.
        environment: all of it.
        timeout_seconds: how long it may take; None: as long as it likes.
        captures: its output; else that goes where this process's goes.

    Raises:
        subprocess.TimeoutExpired: it took longer, and was ended.
    """
    output = subprocess.PIPE if captures else None
    process = None
    try:
        with shielded():  # half started, nobody would know it
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        words, complaints = _answer_of(process, timeout_seconds)
    except BaseException:
        if process is not None:
            with shielded():
                _end(process)
        raise
    return subprocess.CompletedProcess(command, process.returncode, words, complaints)


def _answer_of(process: subprocess.Popen[str], timeout_seconds: float | None) -> tuple[str, str]:
    """What it prints, at its end; a signal takes effect between two looks.

    Cut off within `communicate`, the process could never be waited for again: its lock would stay taken.
    """
    deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    while True:
        with shielded():
            left = _SECONDS_BETWEEN_LOOKS if deadline is None else deadline - time.monotonic()
            try:
                return process.communicate(timeout=max(0.0, min(_SECONDS_BETWEEN_LOOKS, left)))
            except subprocess.TimeoutExpired:
                if left <= 0:
                    raise


def _end(process: subprocess.Popen[str]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            process.communicate(timeout=_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        # Its own children may be slower than itself.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return
