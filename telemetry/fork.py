"""Forks: what a child begins anew, for it has its parent's memory and no thread, and what waits for them."""

import os
import weakref
from collections.abc import Callable


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
