"""A few threads that do nothing but wait for the Collector's answers."""

import threading
from collections.abc import Callable
from queue import SimpleQueue


class SendPool:
    """Runs jobs on daemon threads, started when they are needed: a hanging one keeps no process alive.

    `submit` and `close` are for one thread.

    Args:
        size: the most threads.
        name: what their names begin with.
    """

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def submit(self, job: Callable[[], None], *, running: int) -> None:
        """Has a job done; it must not raise.

        Args:
            job: what is to be done; on the caller's own thread where no other starts any more, for the
                interpreter ends.
            running: how many jobs are under way without this one.
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
        """Lets each thread end after its present job."""
        for _ in self._threads:
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
