"""What a forked child must begin anew: it has its parent's memory, and none of its threads."""

import os
import weakref
from collections.abc import Callable


def call_in_forked_child(method: Callable[[], None]) -> None:
    """Calls a bound method in every child forked from now on, for as long as its object lives.

    Harmless where processes do not fork.
    """
    if not hasattr(os, "register_at_fork"):
        return
    # Hooks are never removed: they must not keep the object alive.
    reference = weakref.WeakMethod(method)

    def call() -> None:
        alive = reference()
        if alive is not None:
            alive()

    os.register_at_fork(after_in_child=call)
