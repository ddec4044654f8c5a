"""An application under uvicorn on loopback, in a thread of the tests' own process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from support.free_ports import free_port
from support.waiting import wait_until


@contextmanager
def serving_in_thread(app: Any) -> Iterator[str]:
    """Serves an application; yields the server's address."""
    server = uvicorn.Server(uvicorn.Config(app, port=free_port(), log_level="critical"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until("uvicorn to start", lambda: server.started, seconds=20)
    yield f"http://127.0.0.1:{server.config.port}"
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive(), "uvicorn did not stop"
