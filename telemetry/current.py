"""Finds the client for a call: the request's, else the process's default, else none."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol
from weakref import WeakSet

from opentelemetry.trace import Tracer

from .config import TelemetryConfig
from .export.pipeline import ExportPipeline
from .fork import Lock
from .metrics.instruments import Metrics


class Client(Protocol):
    """The interface that decorators and health reports need; `TelemetryClient` implements it."""

    @property
    def config(self) -> TelemetryConfig:
        """The settings."""
        ...

    @property
    def tracer(self) -> Tracer:
        """The tracer for spans."""
        ...

    @property
    def metrics(self) -> Metrics:
        """The library's own instruments."""
        ...

    @property
    def pipeline(self) -> ExportPipeline:
        """The export pipeline."""
        ...

    @property
    def instance_id(self) -> str:
        """This process's `service.instance.id`."""
        ...

    @property
    def sampling_ratio(self) -> float | None:
        """The share of new traces kept now."""
        ...


_of_request: ContextVar[Client | None] = ContextVar("telemetry_client", default=None)
_lock = Lock()
_set_up: list[Client] = []
_made: list[Client] = []
_later: WeakSet[Client] = WeakSet()


def find_client() -> Client | None:
    """Returns the client of the current request, else the process's default, else None.

    The default is the first client, not yet shut down, that an application was set up with; if there is
    none, the first client created.
    """
    client = _of_request.get()
    if client is not None:
        return client
    candidates = _set_up or _made
    return candidates[0] if candidates else None


@contextmanager
def use_client(client: Client) -> Iterator[None]:
    """Makes `find_client` return `client` within the block, in this context."""
    token = _of_request.set(client)
    try:
        yield
    finally:
        _of_request.reset(token)


def offer_as_default(client: Client, *, is_set_up: bool) -> None:
    """Offers a client as the default; an earlier one takes precedence."""
    offered = _set_up if is_set_up else _made
    with _lock:
        if client in offered:
            return
        # Of clients created inline, only one is held, or they would all live forever.
        if is_set_up or not offered:
            offered.append(client)
        else:
            _later.add(client)


def withdraw_as_default(client: Client) -> None:
    """Forgets a client that is shut down."""
    with _lock:
        for offered in (_set_up, _made):
            if client in offered:
                offered.remove(client)
        _later.discard(client)
        if not _made and _later:
            _made.append(_later.pop())
