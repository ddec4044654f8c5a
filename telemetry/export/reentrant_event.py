"""An event that may be set from anywhere, including a finaliser or a signal handler.

`threading.Event` has its own lock: a thread that is interrupted inside `set()` by code that calls `set()`
again deadlocks. `queue.SimpleQueue` is documented as reentrant for this purpose.
"""

from queue import Empty, SimpleQueue
from threading import TIMEOUT_MAX


class ReentrantEvent:
    """An event that any thread may set; `clear` and `wait` are for one thread."""

    def __init__(self) -> None:
        self._tokens: SimpleQueue[None] = SimpleQueue()
        self._is_set = False

    def set(self) -> None:
        """Ends the present wait, or the next one."""
        if not self._is_set:
            self._is_set = True
            self._tokens.put(None)

    def clear(self) -> None:
        """Clears the event; the caller must then check everything that the earlier `set` calls announced."""
        try:
            while True:
                self._tokens.get_nowait()
        except Empty:
            # After the tokens: a `set` in between does not end the next wait; the caller's check covers it.
            self._is_set = False

    def wait(self, seconds: float) -> None:
        """Waits until the event is set or the time is over."""
        try:
            self._tokens.get(timeout=min(max(0.0, seconds), TIMEOUT_MAX))
        except Empty:
            return
