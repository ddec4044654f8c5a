"""A worker's alarm clock, that may be rung from anywhere: also in a finaliser or a signal handler.

`threading.Event` has a lock of its own: whoever is interrupted inside `set()` by something that calls `set()`
again waits for itself. `queue.SimpleQueue` is made for that, and says so.
"""

from queue import Empty, SimpleQueue
from threading import TIMEOUT_MAX


class Wake:
    """`ring` is for any thread; `clear` and `wait` are for one."""

    def __init__(self) -> None:
        self._tokens: SimpleQueue[None] = SimpleQueue()
        self._is_rung = False

    def ring(self) -> None:
        """Ends the present wait, or the next one."""
        if not self._is_rung:
            self._is_rung = True
            self._tokens.put(None)

    def clear(self) -> None:
        """Forgets what was rung so far: whoever rang did so for what is looked at next."""
        try:
            while True:
                self._tokens.get_nowait()
        except Empty:
            # After the tokens: whoever rings in between is heard by what follows, not by the next wait.
            self._is_rung = False

    def wait(self, seconds: float) -> None:
        """Until it is rung, or the time is over."""
        try:
            self._tokens.get(timeout=min(max(0.0, seconds), TIMEOUT_MAX))
        except Empty:
            return
