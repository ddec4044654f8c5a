"""Finds the client for a call: the request's, else the process's default, else none."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakSet

from opentelemetry.trace import Tracer, TracerProvider

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
    def tracer_provider(self) -> TracerProvider:
        """The tracer provider."""
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


@dataclass(frozen=True, slots=True)
class _Silenced:
    client: Client


_of_request: ContextVar[Client | _Silenced | None] = ContextVar("telemetry_client", default=None)
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
        return None if isinstance(client, _Silenced) else client
    return _default()


def find_tracer_provider() -> TracerProvider | None:
    """Returns the tracer provider of the client that `find_client` returns, if any."""
    client = find_client()
    return None if client is None else client.tracer_provider


def service_name() -> str:
    """Returns the name of the service that runs, in excluded requests too; "" without any client."""
    client = _of_request.get()
    if isinstance(client, _Silenced):
        client = client.client
    client = client or _default()
    return "" if client is None else client.config.service_name


def _default() -> Client | None:
    candidates = _set_up or _made
    return candidates[0] if candidates else None


@contextmanager
def use_client(client: Client) -> Iterator[None]:
    """Makes `find_client` return `client` within the block, in this context."""
    with _set(client):
        yield


@contextmanager
def _set(client: Client | _Silenced) -> Iterator[None]:
    token = _of_request.set(client)
    try:
        yield
    finally:
        with suppress(ValueError):  # a task may be closed from another context
            _of_request.reset(token)


@contextmanager
def silenced(client: Client) -> Iterator[None]:
    """Hides every client within the block, in this context, and makes `is_silent` true.

    Args:
        client: the client of the app, whose excluded request this is.
    """
    with _set(_Silenced(client)):
        yield


def is_silent() -> bool:
    """Returns whether the current request is excluded, so that nothing of it is traced."""
    return isinstance(_of_request.get(), _Silenced)


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
