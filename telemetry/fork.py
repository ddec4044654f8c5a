"""Hooks around forks: a child has its parent's memory and none of its threads.

Each class that holds locks, threads or connections has its own `_reset_after_fork`, such as that of
`export/pipeline.py`.
"""

import os
import threading
import weakref
from collections.abc import Callable
from types import TracebackType


class Lock:
    """A lock that is free in a forked child, whichever thread of the parent held it.

    For what a fork may interrupt and leave as it is: single changes of a dict, a list, a set.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        call_in_forked_child(self._renew)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Where the holder itself forked, the child's lock is free already.
        if self._lock.locked():
            self._lock.release()

    def _renew(self) -> None:
        self._lock = threading.Lock()


def call_in_forked_child(method: Callable[[], None]) -> None:
    """Calls a bound method in every child forked from now on, for as long as its object lives.

    Harmless where processes do not fork.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_weakly(method))


def call_around_fork(*, before: Callable[[], None], in_parent: Callable[[], None]) -> None:
    """Calls bound methods before each fork, which waits for the first, and after it in the parent.

    For as long as their object lives; harmless where processes do not fork.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_weakly(before), after_in_parent=_weakly(in_parent))


def _weakly(method: Callable[[], None]) -> Callable[[], None]:
    # Hooks are never removed: they must not keep the object alive.
    reference = weakref.WeakMethod(method)

    def call() -> None:
        alive = reference()
        if alive is not None:
            alive()

    return call
