"""Applications under uvicorn and gunicorn: SIGTERM and several workers."""

import json
import signal
import socket
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
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


WITH_BACKGROUND_WORK = (
    AT_IMPORT
    + """
    from fastapi import BackgroundTasks
    @app.get("/job")
    async def job(tasks: BackgroundTasks):
        import asyncio
        tasks.add_task(asyncio.sleep, 0.2)
        return 1
"""
)


@pytest.mark.parametrize("parser", ["h11", "httptools"])
def test_pipelined_requests_have_traces_of_their_own(
    parser: str, serve: Callable[..., AppServer], receiver: Any
) -> None:
    """A server starts each in the context of the one before, which may still be working."""
    server = serve(WITH_BACKGROUND_WORK, "--http", parser)
    paths = ["/hello/1", "/job", "/hello/2", "/job"]
    requests = "".join(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n" for path in paths)
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), 10) as connection:
        connection.sendall(requests.encode())
        answers = b""
        while answers.count(b"HTTP/1.1 200") < len(paths):
            answers += connection.recv(4096)
    output = server.terminate()
    spans = [span for span in receiver.spans if span.kind == Span.SPAN_KIND_SERVER]
    names = ["GET /hello/{name}", "GET /hello/{name}", "GET /hello/{name}", "GET /job", "GET /job"]
    assert sorted(span.name for span in spans) == names, output
    assert [span.parent_span_id for span in spans] == [b""] * len(spans)
    assert len({span.trace_id for span in spans}) == len(spans)


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
