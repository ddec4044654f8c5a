"""Which client a call belongs to: the request's, else the process's default, else none."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING
from weakref import WeakSet

from .fork import Lock

if TYPE_CHECKING:
    from .client import TelemetryClient

_of_request: ContextVar["TelemetryClient | None"] = ContextVar("telemetry_client", default=None)
_lock = Lock()
_set_up: list["TelemetryClient"] = []
_made: list["TelemetryClient"] = []
_later: "WeakSet[TelemetryClient]" = WeakSet()


def find_client() -> "TelemetryClient | None":
    """The client of the request being handled, else the process's default.

    The default is the first client that an application was set up with and that is not shut down;
    where there is none, the first that was made.
    """
    client = _of_request.get()
    if client is not None:
        return client
    candidates = _set_up or _made
    return candidates[0] if candidates else None


@contextmanager
def use_client(client: "TelemetryClient") -> Iterator[None]:
    """Makes `client` the one that `find_client` gives within the block, in this context."""
    token = _of_request.set(client)
    try:
        yield
    finally:
        _of_request.reset(token)


def offer_as_default(client: "TelemetryClient", *, is_set_up: bool) -> None:
    """Makes a client the default unless an earlier one is."""
    offered = _set_up if is_set_up else _made
    with _lock:
        if client in offered:
            return
        # One is held where clients are made in passing, or each of them would live forever.
        if is_set_up or not offered:
            offered.append(client)
        else:
            _later.add(client)


def withdraw_as_default(client: "TelemetryClient") -> None:
    """Forgets a client that is shut down."""
    with _lock:
        for offered in (_set_up, _made):
            if client in offered:
                offered.remove(client)
        _later.discard(client)
        if not _made and _later:
            _made.append(_later.pop())
