"""A program that is waited for, and does not outlive the wait: neither it nor what it has started."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress

from stack.interruption import shielded

_GRACE_SECONDS = 10.0


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
        words, complaints = process.communicate(timeout=timeout_seconds)
    except BaseException:
        if process is not None:
            with shielded():
                _end(process)
        raise
    return subprocess.CompletedProcess(command, process.returncode, words, complaints)


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
