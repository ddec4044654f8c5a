"""Runs a program to completion; if the wait is interrupted, ends it and everything it started."""

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
    """Runs a command to completion, in its own session: on Ctrl-C, only this function signals it.

    Args:
        command: the program and its arguments.
        environment: the complete environment.
        timeout_seconds: the maximum duration; None for no limit.
        captures: whether to capture the output; otherwise it goes to this process's own.

    Raises:
        subprocess.TimeoutExpired: the command took longer, and was ended.
    """
    output = subprocess.PIPE if captures else None
    process = None
    try:
        with shielded():  # an interrupted start would lose track of the process
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
    """Returns the output once the process has ended; a signal takes effect between two polls.

    An exception inside `communicate` would leave the process's lock held, and no later wait could succeed.
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
        # Its children may still be running.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return
