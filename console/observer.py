"""Reads every part each second while somebody looks, and keeps the last ten minutes.

Nobody looking, nothing is asked: a page that nobody sees must not show in a measurement.
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
    """Belongs to the event loop that runs it.

    Args:
        settings: where the parts listen.
    """

    def __init__(self, settings: StackSettings) -> None:
        self.history: deque[Reading] = deque(maxlen=KEPT)
        self.watchers = 0
        """How many pages look; each adds one while it is open."""
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
    """What a part says; None when it does not answer, or with something else."""
    try:
        answer = await client.get(f"http://{HOST}:{port}/metrics")
        # Several milliseconds for a page of several workers: not on the loop that draws.
        return await asyncio.to_thread(read, answer.raise_for_status().text)
    except (httpx.HTTPError, ValueError):
        return None
