"""An event that may be set from anywhere, also in a finaliser or a signal handler.

`threading.Event` has a lock of its own: whoever is interrupted inside `set()` by something that calls `set()`
again waits for itself. `queue.SimpleQueue` is made for that, and says so.
"""

from queue import Empty, SimpleQueue
from threading import TIMEOUT_MAX


class ReentrantEvent:
    """`set` is for any thread; `clear` and `wait` are for one."""

    def __init__(self) -> None:
        self._tokens: SimpleQueue[None] = SimpleQueue()
        self._is_set = False

    def set(self) -> None:
        """Ends the present wait, or the next one."""
        if not self._is_set:
            self._is_set = True
            self._tokens.put(None)

    def clear(self) -> None:
        """Forgets the sets so far: they were for what is looked at next."""
        try:
            while True:
                self._tokens.get_nowait()
        except Empty:
            # After the tokens: a set in between is seen by what follows, not by the next wait.
            self._is_set = False

    def wait(self, seconds: float) -> None:
        """Until it is set, or the time is over."""
        try:
            self._tokens.get(timeout=min(max(0.0, seconds), TIMEOUT_MAX))
        except Empty:
            return
