"""The ends of a process at which what waits in memory is sent: the interpreter's exit is only one of them.

| a process ends | seen through |
|---|---|
| as its interpreter exits, also if `os.fork()` made it | `atexit` |
| as a child of `multiprocessing` | its finalizers: before Python 3.13, forked children skip `atexit` |
| by SIGTERM, which nobody handles | a handler that then lets the signal end the process |
| as uvicorn raises its signal again | `server_end.py` |

Nothing here can see `os._exit`, SIGKILL or a crash.
"""

import atexit
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import TypeVar

T = TypeVar("T")
logger = logging.getLogger(__name__)

_PACKAGE = __name__.rpartition(".")[0]
_LIBRARIES = frozenset({*sys.stdlib_module_names, "grpc", "opentelemetry", "prometheus_client"})
"""What the library may be waiting in, or may be called from, with a lock of its own held."""
_LAST = -1_000
"""The priority among multiprocessing's finalizers: after pools, queues and managers."""
_MOST_POSTPONEMENTS = 20
_POSTPONED_SECONDS = 0.01
_SAME_END_SECONDS = 2.0
_LEAST_SECONDS = 0.5


class EndBudget:
    """The time that one end may take, however many notice it: a lifespan, the server, a signal, the exit.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._spent_seconds = 0.0
        self._over_at = clock()

    def spend(self, seconds: float, work: Callable[[float], T]) -> T:
        """Calls `work` with what is left of the time, which is at least half a second."""
        started = self._clock()
        if started - self._over_at > _SAME_END_SECONDS:
            self._spent_seconds = 0.0
        try:
            return work(max(min(_LEAST_SECONDS, seconds), seconds - self._spent_seconds))
        finally:
            self._over_at = self._clock()
            self._spent_seconds += self._over_at - started


class ProcessEnd:
    """Calls a function at each end of this process and of those forked from it. One for each process.

    Args:
        send: sends what waits; must be bounded in time. The process may live on afterwards.
        stop: the same as the interpreter exits, after which nothing is sent any more.
        longest_seconds: how long either may take; must take no lock.
    """

    def __init__(
        self, send: Callable[[], None], stop: Callable[[], None], longest_seconds: Callable[[], float]
    ) -> None:
        self._send = send
        self._stop = stop
        self._longest_seconds = longest_seconds
        self._is_handled = False
        """Whether SIGTERM ended the process by default when this was made, so that the handler may be set."""
        self._is_put_off = False
        """Whether a forked child sets the handler once it has something to send."""
        self._is_known_to_multiprocessing = False
        self._is_ending = self._is_terminated = False
        self._postponements = 0
        self._masks = threading.local()

    def watch(self) -> None:
        """Begins to wait for the process's end; call it once, best on the main thread.

        A handler of SIGTERM is set only there, and only where the signal's default action is in force.
        """
        atexit.register(self._exit)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._hold_signal,
                after_in_parent=self._release_signal,
                after_in_child=self._begin_in_child,
            )
        self._join_multiprocessing()
        if _can_set_handler() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            self._is_handled = _set_handler(self._terminate)

    def expect_something(self) -> None:
        """Says that there is something to send from now on; any thread may call it.

        A forked child has the signal's default action until then: if it is stuck in native code, where no
        handler runs, `Process.terminate()` still ends it.
        """
        if self._is_put_off and _can_set_handler():
            self._is_put_off = False
            if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
                _set_handler(self._terminate)

    def _exit(self) -> None:
        self._end_with(self._stop)

    def _end_with(self, work: Callable[[], None]) -> None:
        """Does the work; SIGTERM, if it arrives meanwhile, takes effect afterwards."""
        self._is_ending = True
        try:
            work()
        finally:
            self._is_ending = False
            if self._is_terminated and _can_set_handler():
                self._die()

    def _hold_signal(self) -> None:
        # A child has no handlers until it is told so: a signal that comes before that would be forgotten.
        is_ours = self._is_handled and signal.getsignal(signal.SIGTERM) == self._terminate
        self._masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}) if is_ours else None

    def _release_signal(self) -> None:
        if self._masks.before is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._masks.before)

    def _begin_in_child(self) -> None:
        self._is_ending = self._is_terminated = False
        self._postponements = 0
        if self._masks.before is not None:
            self._is_put_off = _set_handler(signal.SIG_DFL)
        self._release_signal()
        self._join_multiprocessing()

    def _join_multiprocessing(self) -> None:
        """Adds a finalizer to this process, if it is a child of `multiprocessing`."""
        util = sys.modules.get("multiprocessing.util")  # if it is not loaded, this is no child of its making
        if util is None:
            return
        if not self._is_known_to_multiprocessing:
            self._is_known_to_multiprocessing = True
            # A child forgets its parent's finalizers, and those made before this hook is called.
            util.register_after_fork(self, ProcessEnd._add_finalizer)
        self._add_finalizer()

    def _add_finalizer(self) -> None:
        process, util = sys.modules["multiprocessing.process"], sys.modules["multiprocessing.util"]
        if process.parent_process() is not None:
            util.Finalize(None, self._end_child, exitpriority=_LAST)

    def _end_child(self) -> None:
        """Sends what waits as a child of `multiprocessing` ends.

        Before Python 3.13, its threads are awaited after this, so a thread that is awaited too sends.
        """
        if not _other_threads():
            self._end_with(self._send)
            return
        try:
            threading.Thread(target=self._send_after_threads, name="telemetry-exit", daemon=False).start()
        except RuntimeError:  # none can start
            self._end_with(self._send)

    def _send_after_threads(self) -> None:
        while threads := _other_threads():
            threads[0].join()
        self._end_with(self._send)

    def _terminate(self, _: int, frame: FrameType | None) -> None:
        """Handles SIGTERM: sends what waits, then lets the signal's default action end the process.

        It is sent by a thread, since this one may have been interrupted anywhere. If that was in the library
        itself, where it may hold a lock, the signal is raised again a little later.
        """
        if self._is_ending:
            self._is_terminated = True
            return
        if signal.getsignal(signal.SIGTERM) != self._terminate:
            # Called by the application's own handler, which decides what becomes of the process.
            _start(self._send)
            return
        if self._postponements < _MOST_POSTPONEMENTS and _is_within_library(frame) and _start(_raise_later):
            self._postponements += 1
            return
        self._is_ending = self._is_terminated = True
        try:
            sender = _start(self._send)
            if sender is not None:
                sender.join(self._longest_seconds())
        finally:
            self._is_ending = False
        self._die()

    def _die(self) -> None:
        """Ends the process by SIGTERM, so that its parent sees what it would have seen without a handler."""
        self._is_terminated = False
        self._postponements = 0
        handler = signal.getsignal(signal.SIGTERM)
        _set_handler(signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)
        # The first process of a container outlives it.
        _set_handler(handler)


def _can_set_handler() -> bool:
    return threading.current_thread() is threading.main_thread()


def _set_handler(handler: "signal._HANDLER") -> bool:
    try:
        signal.signal(signal.SIGTERM, handler)
    except ValueError:  # in a subinterpreter
        return False
    return True


def _start(target: Callable[[], None]) -> threading.Thread | None:
    thread = threading.Thread(target=target, name="telemetry-exit", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # since Python 3.12 none can start at exit
        return None
    return thread


def _other_threads() -> list[threading.Thread]:
    """Returns the threads besides this one and the main one that the process waits for."""
    mine = {threading.main_thread(), threading.current_thread()}
    return [each for each in threading.enumerate() if not each.daemon and each not in mine]


def _raise_later() -> None:
    time.sleep(_POSTPONED_SECONDS)
    if hasattr(signal, "pthread_kill"):
        with suppress(ProcessLookupError):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    else:
        signal.raise_signal(signal.SIGTERM)


def _is_within_library(frame: FrameType | None) -> bool:
    """Returns whether the frame is the library's own, or of other libraries that it called."""
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name.startswith(f"{_PACKAGE}."):
            return True
        if name.partition(".")[0] not in _LIBRARIES:
            return False
        frame = frame.f_back
    return False
