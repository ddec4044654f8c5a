"""Ports that stay free until the test that asked for them listens there.

They lie below the kernel's range for outgoing connections: a part that was killed must find its port free
again, and a client that tries to reach it meanwhile must not connect to itself. Each process that runs tests,
of this clone or of another, has a range of its own while it lives.
"""

import itertools
import socket
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout

from stack.settings import StackSettings

_FIRST, _EACH, _RANGES = 20_000, 250, 48


def free_port() -> int:
    """Returns a TCP port on loopback that nothing listens on; recently returned ones are not reused."""
    return next(port for port in _next_ports if _is_free(port))


def free_ports() -> dict[str, int]:
    """Returns a free port for each of the stack's port settings."""
    return {name: free_port() for name in StackSettings.model_fields if name.endswith("_port")}


def _take_range() -> tuple[int, FileLock]:
    """Returns the first port of an unused range, and the lock that holds it until this process ends."""
    for number in range(_RANGES):
        holder = FileLock(Path(tempfile.gettempdir(), f"telemetry-tests-ports-{number}.lock"))
        try:
            holder.acquire(timeout=0)
        except Timeout:
            continue
        return _FIRST + number * _EACH, holder
    raise RuntimeError(f"{_RANGES} processes run tests already")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As most servers do: a port that was just closed counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


_start, _holder = _take_range()
_next_ports = itertools.cycle(range(_start, _start + _EACH))
