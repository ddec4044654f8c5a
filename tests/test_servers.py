"""Applications under uvicorn and gunicorn: SIGTERM and several workers."""

import json
import signal
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from support.app_server import AT_IMPORT, BIN, AppServer

IN_A_FACTORY = """
    from fastapi import FastAPI
    from telemetry.telemetry import setup_telemetry
    def app():
        made = FastAPI()
        @made.get("/hello/{name}")
        def hello(name: str): return name
        setup_telemetry(made)
        return made
"""
IN_A_LIFESPAN = """
    from contextlib import asynccontextmanager
    from fastapi import FastAPI
    from telemetry.telemetry import setup_telemetry
    @asynccontextmanager
    async def lifespan(app):
        setup_telemetry(app)
        yield
    app = FastAPI(lifespan=lifespan)
    @app.get("/hello/{name}")
    def hello(name: str): return name
"""


@pytest.mark.parametrize(
    ("source", "options"),
    [
        pytest.param(AT_IMPORT, (), id="at import"),
        pytest.param(IN_A_FACTORY, ("--factory",), id="in a factory"),
        pytest.param(IN_A_LIFESPAN, (), id="inside a lifespan"),
    ],
)
def test_sigterm_under_uvicorn_loses_nothing(
    source: str, options: tuple[str, ...], serve: Callable[..., AppServer], receiver: Any
) -> None:
    """Queued spans are sent before the process ends."""
    server = serve(source, *options)
    for number in range(20):
        server.get(f"/hello/{number}")
    output = server.terminate()
    assert receiver.names == ["GET /hello/{name}"] * 21, output
    assert "Traceback" not in output
    assert server.process.returncode == -signal.SIGTERM


def test_sigterm_with_a_dead_collector_is_bounded_and_logs_what_was_lost(
    serve: Callable[..., AppServer], receiver: Any
) -> None:
    """The process ends within its budget and logs how many spans were given up."""
    server = serve(AT_IMPORT, TELEMETRY_SHUTDOWN_SECONDS="1")
    receiver.stop()
    server.get("/hello/lost")
    output = server.terminate()
    assert "shutdown dropped" in output


GUNICORN = (
    *(str(BIN / "gunicorn"), "program:app", "--preload", "--workers", "4"),
    *("--worker-class", "uvicorn_worker.UvicornWorker", "--no-control-socket"),
)
WITH_ITS_PROCESS = AT_IMPORT.replace("return name", "import os; return os.getpid()")
WITH_A_SPAN_BEFORE_THE_FORK = f"""{WITH_ITS_PROCESS}
    from telemetry.client import TelemetryClient
    client = TelemetryClient()
    client.start_span("before the fork").__enter__().end()
    assert client.force_flush(), "so that the connection is warm"
    client.start_span("queued at the fork").__enter__().end()
"""


def ask_every_worker(server: AppServer, workers: int) -> int:
    """Sends concurrent requests until every worker has answered, and returns their number."""
    answered: set[str] = set()
    requests = 0
    with ThreadPoolExecutor(8) as pool:
        while len(answered) < workers:
            assert requests < 10_000, f"only {len(answered)} workers answer"
            pids = pool.map(server.get, [f"/hello/{number}" for number in range(40)])
            answered |= {str(pid) for pid in pids}
            requests += 40
    return requests


def test_preforked_workers_lose_nothing_and_send_nothing_twice(
    serve: Callable[..., AppServer], receiver: Any, free_port: int
) -> None:
    """With `gunicorn --preload`, each worker has its own connection, queue and instance id."""
    server = serve(WITH_A_SPAN_BEFORE_THE_FORK, server=(*GUNICORN, "--bind", f"127.0.0.1:{free_port}"))
    requests = 1 + ask_every_worker(server, 4)  # one request waited for the server to start
    shown = json.loads(str(server.get("/health/telemetry")))["service"]["instance_id"]
    output = server.terminate()
    assert server.process.returncode == 0, output
    assert "Traceback" not in output
    counts = Counter(receiver.names)
    assert counts == {"before the fork": 1, "queued at the fork": 1, "GET /hello/{name}": requests}, output
    workers = {
        resource["service.instance.id"]
        for resource in receiver.resources
        if "GET /hello/{name}" in resource["span names"]
    }
    assert len(workers) == 4
    assert shown in workers, "health shows the worker's own id"
    assert len({resource["service.instance.id"] for resource in receiver.resources} - workers) == 1


def test_spawned_workers_lose_nothing(serve: Callable[..., AppServer], receiver: Any) -> None:
    """The same holds for `uvicorn --workers 2`."""
    server = serve(WITH_ITS_PROCESS, "--workers", "2")
    requests = 1 + ask_every_worker(server, 2)
    output = server.terminate()
    assert "Traceback" not in output
    assert receiver.names == ["GET /hello/{name}"] * requests, output
    assert len({resource["service.instance.id"] for resource in receiver.resources}) == 2
