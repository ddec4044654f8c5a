"""Changes of stock, from the requests that make them to the connections that watch."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class StockChanges:
    """Wakes those who watch a product when its stock has changed.

    It knows the changes of its own process only; several workers would need a broker between them.

    Args:
        loop: the event loop that the watchers run on.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._watchers: defaultdict[int, set[asyncio.Event]] = defaultdict(set)

    @contextmanager
    def watched(self, product_id: int) -> Iterator[asyncio.Event]:
        """Yields an event that is set upon each change; for the event loop's thread."""
        event = asyncio.Event()
        self._watchers[product_id].add(event)
        try:
            yield event
        finally:
            self._watchers[product_id].discard(event)
            if not self._watchers[product_id]:
                del self._watchers[product_id]

    def announce(self, product_id: int) -> None:
        """Says that a product's stock has changed; from any thread."""
        if product_id in self._watchers:
            self._loop.call_soon_threadsafe(self._wake, product_id)

    def _wake(self, product_id: int) -> None:
        for event in self._watchers.get(product_id, ()):
            event.set()
