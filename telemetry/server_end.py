"""The end of a uvicorn server, which raises again the signal that ended it: `atexit` would be too late.

An application's lifespan is not enough: a server may run without it, and a mounted application has none.
"""

import signal
import sys
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import anyio
import anyio.to_thread

_watched: WeakSet[Any] = WeakSet()


def call_once_at_server_end(work: Callable[[], object]) -> None:
    """Calls `work` on a thread when the uvicorn server of this process ends, once for each server.

    Call it whenever there may be a new one: it does nothing if there is none, or if it is watched already.
    """
    server = _find_server()
    if server is not None and server not in _watched:
        _watched.add(server)
        _call_after_shutdown(server, work)


def call_at_server_end(work: Callable[[], object]) -> None:
    """Calls `work` on a thread when the uvicorn server of this process ends, if there is one."""
    server = _find_server()
    if server is not None:
        _call_after_shutdown(server, work)


async def run_to_its_end(work: Callable[[], object]) -> None:
    """Runs `work` on a thread and awaits it, even if this task is cancelled."""
    with anyio.CancelScope(shield=True):
        # It has its own limiter, since the application's threads may all be stuck.
        await anyio.to_thread.run_sync(work, limiter=anyio.CapacityLimiter(1))


def _find_server() -> Any:
    """Returns the server whose signal handler is in force, since nothing else leads to it."""
    module = sys.modules.get("uvicorn.server")
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return server if module is not None and isinstance(server, module.Server) else None


def _call_after_shutdown(server: Any, work: Callable[[], object]) -> None:
    # The server's own shutdown may have begun and awaits its lifespan's last; at import there is none yet.
    ends = getattr(server, "lifespan", server)
    shutdown = ends.shutdown

    async def shut_down_and_call(*args: Any, **kwargs: Any) -> None:
        try:
            await shutdown(*args, **kwargs)
        finally:
            await run_to_its_end(work)

    ends.shutdown = shut_down_and_call
