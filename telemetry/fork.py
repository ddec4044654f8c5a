"""Hooks around forks: a child has its parent's memory but none of its threads.

Each class that holds locks, threads or connections has a method that resets them in the child, such as
`_reset_after_fork` in `export/pipeline.py`.
"""

import os
import threading
import weakref
from collections.abc import Callable
from types import TracebackType


class Lock:
    """A lock that is free in a forked child, whichever thread of the parent held it.

    It suits state that a fork may safely interrupt: single changes of a dict, a list or a set.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        call_in_forked_child(self._renew)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # If the holder itself forked, the child's lock is already free.
        if self._lock.locked():
            self._lock.release()

    def _renew(self) -> None:
        self._lock = threading.Lock()


def call_in_forked_child(method: Callable[[], None]) -> None:
    """Registers a bound method to be called in every child forked from now on, while its object lives.

    Harmless on platforms without fork.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_weakly(method))


def call_around_fork(*, before: Callable[[], None], in_parent: Callable[[], None]) -> None:
    """Registers bound methods to be called before each fork and, in the parent, after it.

    The fork waits for `before`. They are called while their object lives; harmless on platforms without fork.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_weakly(before), after_in_parent=_weakly(in_parent))


def _weakly(method: Callable[[], None]) -> Callable[[], None]:
    # Hooks are never removed, so they must not keep the object alive.
    reference = weakref.WeakMethod(method)

    def call() -> None:
        alive = reference()
        if alive is not None:
            alive()

    return call
