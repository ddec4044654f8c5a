"""Reads every part's metrics each second while a page is open, and keeps the last ten minutes.

Without an open page nothing is requested, so that an idle console does not affect measurements.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

import httpx

from console.readings import Reading, read_collector, read_jaeger, read_service
from stack.services import SERVICES
from stack.settings import HOST, StackSettings

T = TypeVar("T")
PERIOD_SECONDS = 1.0
KEPT = 600
_TIMEOUT_SECONDS = 0.8
_IDLE_SECONDS = 0.5


class Observer:
    """Keeps the readings. Belongs to the event loop that runs it.

    Args:
        settings: the stack's settings.
    """

    def __init__(self, settings: StackSettings) -> None:
        self.history: deque[Reading] = deque(maxlen=KEPT)
        self.watchers = 0
        """The number of open pages; each adds one while it is open."""
        self._ports = {service.name: service.port(settings) for service in SERVICES}
        self._collector_port = settings.collector_metrics_port
        self._jaeger_port = settings.jaeger_metrics_port

    async def run(self) -> None:
        """Observes until it is cancelled."""
        async with httpx.AsyncClient(trust_env=False, timeout=_TIMEOUT_SECONDS) as client:
            while True:
                if not self.watchers:
                    await asyncio.sleep(_IDLE_SECONDS)
                    continue
                due = time.monotonic() + PERIOD_SECONDS
                self.history.append(await self._read(client))
                await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _read(self, client: httpx.AsyncClient) -> Reading:
        at = time.time()
        services, collector, jaeger = await asyncio.gather(
            asyncio.gather(*(_ask(client, port, read_service) for port in self._ports.values())),
            _ask(client, self._collector_port, read_collector),
            _ask(client, self._jaeger_port, read_jaeger),
        )
        return Reading(at, dict(zip(self._ports, services, strict=True)), collector, jaeger)


async def _ask(client: httpx.AsyncClient, port: int, read: Callable[[str], T]) -> T | None:
    """Returns a part's reading, or None if it does not answer or its response is not readable."""
    try:
        answer = await client.get(f"http://{HOST}:{port}/metrics")
        # Not on the event loop: parsing the metrics of several workers takes several milliseconds.
        return await asyncio.to_thread(read, answer.raise_for_status().text)
    except (httpx.HTTPError, ValueError):
        return None
