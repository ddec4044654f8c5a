"""CPU time of the library's own threads, by stage: counted by each thread itself, and read at a scrape."""

import os
import threading
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from ..fork import Lock, call_in_forked_child

_TASKS = Path("/proc/self/task")
_GRPC_NAMES = ("grpc_", "event_engine", "lifeguard", "timer_manager", "default-execut", "resolver-execut")
"""How the names of gRPC's native threads begin; the kernel keeps 15 characters of them."""
# Fields of a thread's `stat` after its name, which is the second: proc_pid_stat(5).
_USER_TICKS, _SYSTEM_TICKS, _STARTED_AT = 11, 12, 19


class Stage(StrEnum):
    """What a thread does."""

    ENCODE = "encode"
    """The worker: takes spans from the queue, encodes them, decides, and writes to the spool."""
    SEND = "send"
    """The sending threads."""
    GRPC = "grpc"
    """gRPC's native threads; if the application uses gRPC too, they work for it as well."""
    PUSH = "push"
    """Collecting and pushing metrics over OTLP."""


class CpuMeter:
    """CPU seconds by stage. Thread-safe; no figure ever falls, and a forked child starts at zero.

    What a request spends in its own thread is not in it: that cannot be told apart without a clock at each
    span.

    Args:
        has_grpc: whether gRPC's threads are counted; without effect on systems other than Linux.
    """

    def __init__(self, *, has_grpc: bool) -> None:
        self._lock = Lock()
        self._seconds: dict[Stage, float] = {}
        self._noted = threading.local()
        self._grpc = NativeThreads(_TASKS, _GRPC_NAMES) if has_grpc else None
        call_in_forked_child(self._reset_after_fork)

    def note(self, stage: Stage) -> None:
        """Adds what the calling thread has used since its previous note, or else since its start.

        For threads that only ever work for this stage; called after each piece of work.
        """
        used = time.thread_time()
        since = used - getattr(self._noted, "seconds", 0.0)
        self._noted.seconds = used
        with self._lock:
            self._seconds[stage] = self._seconds.get(stage, 0.0) + since

    def read(self) -> dict[Stage, float]:
        """Returns the CPU seconds of each stage so far; a stage that has not begun is left out."""
        with self._lock:
            seconds = dict(self._seconds)
        grpc_seconds = None if self._grpc is None else self._grpc.read()
        return seconds if grpc_seconds is None else {**seconds, Stage.GRPC: grpc_seconds}

    def _reset_after_fork(self) -> None:
        self._seconds = {}
        self._noted = threading.local()
        if self._grpc is not None:
            self._grpc.forget()


class NativeThreads:
    """CPU of threads that a C library started, which Python does not know. Thread-safe; Linux only.

    A thread that has ended keeps the CPU that was last read: what it used after that is missed.

    Args:
        tasks: the kernel's folder of this process's threads.
        names: how the threads' names begin.
    """

    def __init__(self, tasks: Path, names: tuple[str, ...]) -> None:
        self._tasks = tasks
        self._names = names
        self._lock = Lock()
        self._seconds: dict[tuple[str, str], float] = {}
        """By thread id and start, because the kernel gives an id again."""

    def read(self) -> float | None:
        """Returns the CPU seconds of all of them so far; None if there has been none."""
        with self._lock:
            for thread, seconds in self._running():
                # The second figure of a thread may be coarser than its first, so it could be less.
                self._seconds[thread] = max(seconds, self._seconds.get(thread, 0.0))
            return sum(self._seconds.values()) if self._seconds else None

    def forget(self) -> None:
        """Starts afresh, in a forked child."""
        self._seconds = {}

    def _running(self) -> Iterator[tuple[tuple[str, str], float]]:
        # Python names its own threads since 3.14, perhaps as gRPC does.
        of_python = {f"{thread.native_id}" for thread in threading.enumerate()}
        try:
            ids = os.listdir(self._tasks)  # noqa: PTH208 - ten times cheaper than Path objects
        except OSError:  # not Linux
            return
        for number in ids:
            if number in of_python:
                continue
            try:
                name, _, rest = (self._tasks / number / "stat").read_text().partition("(")[2].rpartition(")")
                if name.startswith(self._names):
                    fields = rest.split()
                    yield (number, fields[_STARTED_AT]), self._cpu_seconds(number, fields)
            except OSError:  # it has ended meanwhile
                continue

    def _cpu_seconds(self, number: str, fields: list[str]) -> float:
        try:
            nanoseconds = int((self._tasks / number / "schedstat").read_text().split()[0])
        except FileNotFoundError:
            nanoseconds = 0
        if nanoseconds:
            return nanoseconds / 1e9
        # A kernel without scheduler statistics: ticks of ten milliseconds are better than nothing.
        return (int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS])) / os.sysconf("SC_CLK_TCK")
