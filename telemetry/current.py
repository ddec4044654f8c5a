"""Finds the client for a call: the request's, else the process's default, else none."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Protocol
from weakref import WeakSet

from opentelemetry.trace import Span, Tracer, TracerProvider

from .config import TelemetryConfig
from .export.pipeline import ExportPipeline
from .export.push.state import PushState
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
    def push(self) -> PushState | None:
        """How pushes of metrics go."""
        ...

    @property
    def instance_id(self) -> str:
        """This process's `service.instance.id`."""
        ...

    @property
    def sampling_ratio(self) -> float | None:
        """The share of new traces kept now."""
        ...


class Serving:
    """What runs in a context: a request of this client, or the body of a block. For the task that serves it.

    It is kept by tasks that outlive the request, and so holds nothing else of it.

    Args:
        client: whose it is.
        is_silent: whether nothing of it is to be recorded.
    """

    is_silent = False
    span: Span | None = None
    """The server span; None if this is no request, or an excluded one."""
    has_ended = False
    """Whether the last byte of the request's answer has been sent."""

    def __init__(self, client: Client, *, is_silent: bool = False) -> None:
        self.client = client
        self.is_silent = is_silent


serving: ContextVar[Serving | None] = ContextVar("telemetry_serving", default=None)
"""What this context serves."""
_lock = Lock()
_set_up: list[Client] = []
_made: list[Client] = []
_later: WeakSet[Client] = WeakSet()


def find_client() -> Client | None:
    """Returns the client of the current request, else the process's default, else None.

    The default is the first client, not yet shut down, that an application was set up with; if there is
    none, the first client created.
    """
    found = serving.get()
    if found is not None:
        return None if found.is_silent else found.client
    return _default()


def find_tracer_provider() -> TracerProvider | None:
    """Returns the tracer provider of the client that `find_client` returns, if any."""
    client = find_client()
    return None if client is None else client.tracer_provider


def service_name() -> str:
    """Returns the name of the service that runs, in excluded requests too; "" without any client."""
    found = serving.get()
    client = _default() if found is None else found.client
    return "" if client is None else client.config.service_name


def _default() -> Client | None:
    candidates = _set_up or _made
    return candidates[0] if candidates else None


@contextmanager
def silenced(client: Client) -> Iterator[Serving]:
    """Hides every client within the block, in this context, and makes `is_silent` true; yields what says so.

    Args:
        client: the client of the app, whose excluded request this is.
    """
    silent = Serving(client, is_silent=True)
    token = serving.set(silent)
    try:
        yield silent
    finally:
        with suppress(ValueError):  # a task may be closed from another context
            serving.reset(token)


def is_silent() -> bool:
    """Returns whether the current request is excluded, so that nothing of it is traced."""
    found = serving.get()
    return found is not None and found.is_silent


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
