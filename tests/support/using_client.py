"""A client for decorators, as a request of its application would give them."""

from collections.abc import Iterator
from contextlib import contextmanager

from telemetry.current import Client, Serving, serving


@contextmanager
def use_client(client: Client) -> Iterator[None]:
    """Makes `find_client` return `client` within the block, in this context."""
    token = serving.set(Serving(client))
    try:
        yield
    finally:
        serving.reset(token)
