"""A few threads that do nothing but wait for the Collector's answers."""

import threading
from collections.abc import Callable
from queue import SimpleQueue


class SendPool:
    """Daemon threads, started on demand, that run jobs: a hanging one does not keep the process alive.

    `submit` and `close` must be called from one thread.

    Args:
        size: maximum number of threads.
        name: prefix of their names.
        after_each: called after each job, on the thread that ran it.
    """

    def __init__(self, size: int, name: str, after_each: Callable[[], None] = lambda: None) -> None:
        self._size = size
        self._name = name
        self._after_each = after_each
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def submit(self, job: Callable[[], None], *, running: int) -> None:
        """Runs a job, which must not raise, on a thread of the pool.

        Args:
            job: the function to run; runs on the caller's thread if the pool has none and cannot start any,
                because the interpreter is exiting.
            running: number of jobs under way, excluding this one.
        """
        if running >= len(self._threads) and len(self._threads) < self._size:
            thread = threading.Thread(
                target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:
                if not self._threads:
                    job()
                    return
            else:
                self._threads.append(thread)
        self._jobs.put(job)

    def close(self) -> None:
        """Lets the threads end after the jobs submitted so far."""
        for _ in self._threads:
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            self._after_each()
