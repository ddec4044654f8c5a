"""Uvicorn on a real socket, in a thread of this process, so that what it records can be looked at."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from support.waiting import wait_until


@contextmanager
def serving_here(app: ASGIApp, **options: Any) -> Iterator[int]:
    """Serves an application on loopback; yields the port, and waits for the end of every request."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, **options))
    thread = threading.Thread(target=server.run, args=([listener],), name="uvicorn")
    thread.start()
    try:
        wait_until("uvicorn to have started", lambda: server.started or not thread.is_alive(), 60)
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
