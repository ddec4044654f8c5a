"""Whether a gRPC server takes connections: a plain socket, opened and closed again, without TLS or HTTP/2.

gRPC's library cannot ask for less than all of that, and whoever asks often, such as an open breaker, should
cost a starting Collector next to nothing.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ...settings.grpc_target import GrpcTarget
from .result import ExportResult, no_answer

_CONNECT_SECONDS = 2.0
"""The connect timeout per address: it survives one lost SYN, but abandons a black hole."""
_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")


def is_proxied(host: str, environment: Mapping[str, str]) -> bool:
    """Returns whether gRPC's library may connect through an HTTP proxy from the environment.

    Follows its own rules, except that networks (`10.0.0.0/8`) in the exceptions are not looked at.
    """
    if not any(map(environment.get, _PROXIES)):
        return False
    exceptions = environment.get("no_grpc_proxy", environment.get("no_proxy", "")).lower()
    return not any(host.lower().endswith(each.strip()) for each in exceptions.split(",") if each.strip())


def _is_proxied(address: tuple[str, int] | str) -> bool:
    return isinstance(address, tuple) and is_proxied(address[0], os.environ)


class Reach:
    """Connects to the addresses of one target. Thread-safe."""

    def __init__(self, target: GrpcTarget) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._lookups: dict[str, _Lookup] = {}

    def connect(self, timeout_seconds: float) -> ExportResult | None:
        """Returns None if one of the addresses takes a connection, or if only gRPC can tell; never raises.

        Args:
            timeout_seconds: the limit for name resolution and connecting together.
        """
        until = time.monotonic() + timeout_seconds
        addresses, authority = self._target.addresses, self._target.authority
        if not self._target.is_direct and any(_is_proxied(each) for each in addresses):
            return None
        try:
            candidates = [found for address in addresses for found in self._find(address, until)]
        except TimeoutError:
            return no_answer("timeout", f"{authority} was not resolved in time")
        except (OSError, UnicodeError) as error:
            return no_answer("dns", f"{authority} cannot be resolved: {error}")
        return _open(candidates, until)

    def _find(self, address: tuple[str, int] | str, until: float) -> "list[_Candidate]":
        if isinstance(address, str):
            return [_Candidate(socket.AF_UNIX, address, "the Unix socket " + address.replace("\0", "@"))]
        host, port = address
        shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        found = self._look_up(host, port).wait(until)
        return [_Candidate(family, each, shown) for family, _, _, _, each in found]

    def _look_up(self, host: str, port: int) -> "_Lookup":
        with self._lock:
            lookup = self._lookups.get(host)
            # One that hangs is waited for again: another would hang beside it.
            if lookup is None or lookup.is_over:
                ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
                lookup = self._lookups[host] = _Lookup(ask)
            return lookup


class _Lookup:
    """A call of `getaddrinfo` in a thread that may be abandoned: it can take half a minute."""

    def __init__(self, ask: Callable[[], list[Any]]) -> None:
        self._ask = ask
        self._answer: list[Any] = []
        self._failure: Exception | None = None
        self._done = threading.Event()
        try:
            threading.Thread(target=self._run, name="telemetry-resolve", daemon=True).start()
        except RuntimeError:  # the interpreter is shutting down and starts no more threads
            self._run()

    @property
    def is_over(self) -> bool:
        return self._done.is_set()

    def wait(self, until: float) -> list[Any]:
        if not self._done.wait(min(max(0.0, until - time.monotonic()), threading.TIMEOUT_MAX)):
            raise TimeoutError
        if self._failure is not None:
            raise self._failure
        return self._answer

    def _run(self) -> None:
        try:
            self._answer = self._ask()
        except (OSError, UnicodeError, OverflowError) as error:
            self._failure = error
        finally:
            self._done.set()


@dataclass(frozen=True, slots=True)
class _Candidate:
    family: int
    address: Any
    shown: str


def _open(candidates: Sequence[_Candidate], until: float) -> ExportResult | None:
    """Returns None if one of the addresses takes a connection, else the reason of the last one."""
    failure: ExportResult | None = None
    for position, each in enumerate(candidates):
        # A black hole leaves time for the addresses after it.
        seconds = min(_CONNECT_SECONDS, (until - time.monotonic()) / (len(candidates) - position))
        if seconds <= 0:
            return no_answer("timeout", f"{each.shown}: no connection in time")
        try:
            with socket.socket(each.family, socket.SOCK_STREAM) as opened:
                opened.settimeout(seconds)
                opened.connect(each.address)
        except TimeoutError:
            failure = no_answer("timeout", f"{each.shown}: no connection within {seconds:.2g} s")
        except OSError as error:
            failure = no_answer("connection", f"{each.shown}: {error}")
        else:
            return None
    return failure
