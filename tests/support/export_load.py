"""Several threads that export one request after another."""

import threading
from collections import Counter
from types import TracebackType
from typing import Self

from telemetry.export.otlp.result import Disposition
from telemetry.export.otlp.transport import Transport


class ExportLoad:
    """Exports while it is entered, and counts the results.

    Args:
        transport: sends the requests.
        payload: each of them.
        threads: how many send at once.
    """

    def __init__(self, transport: Transport, payload: bytes = bytes(1_000), *, threads: int = 4) -> None:
        self.delivered = 0
        self.failures: Counter[str] = Counter()
        self._transport = transport
        self._payload = payload
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def __enter__(self) -> Self:
        for each in self._threads:
            each.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        for each in self._threads:
            each.join()

    def _run(self) -> None:
        while not self._over.wait(0.001):
            result = self._transport.send(self._payload, 5.0)
            with self._lock:
                if result.disposition is Disposition.DELIVERED:
                    self.delivered += 1
                else:
                    self.failures[f"{result.kind}: {result.detail}"] += 1
