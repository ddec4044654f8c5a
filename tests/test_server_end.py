"""Servers that end without the lifespan of the application that is set up."""

import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.app_server import AT_IMPORT, BIN, AppServer
from support.otlp_receiver import OtlpReceiver, never_answer
from support.waiting import Until

MOUNTED = """
    from fastapi import FastAPI
    from telemetry.telemetry import setup_telemetry
    inner = FastAPI()
    setup_telemetry(inner)
    @inner.get("/{name}")
    def hello(name: str):
        import os
        return os.getpid()
    app = FastAPI()
    app.mount("/hello", inner)
"""
ALONE = AT_IMPORT.replace("return name", "import os; return os.getpid()")
RUN_BY_A_SCRIPT = """
    if __name__ == "__main__":
        import sys, uvicorn
        uvicorn.run(app, port=int(sys.argv[1]), lifespan="off", log_level="warning")
        print("the program goes on")
"""
SETUPS = {
    "lifespan off": (ALONE, ("--lifespan", "off")),
    "mounted": (MOUNTED, ()),
    "mounted, lifespan off": (MOUNTED, ("--lifespan", "off")),
}


def ask(server: AppServer, *, processes: int) -> int:
    """Sends requests until so many processes have answered; returns their number."""
    answered: Counter[str | None] = Counter()
    for number in range(2_000):
        if len(answered) == processes and number >= 5:
            return number
        answered[server.get(f"/hello/{number}")] += 1
    raise AssertionError(f"only {len(answered)} of {processes} processes answer")


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("source", "options"), SETUPS.values(), ids=SETUPS.keys())
def test_sigterm_under_uvicorn_loses_nothing(
    source: str, options: tuple[str, ...], workers: int, serve: Callable[..., AppServer], receiver: Any
) -> None:
    """One process ends by the signal as it does without the library, several by their parent's exit."""
    server = serve(source, *options, *(("--workers", str(workers)) if workers > 1 else ()))
    requests = 1 + ask(server, processes=workers)
    output = server.terminate()
    assert len(receiver.names) == requests, output
    assert "Traceback" not in output
    assert server.process.returncode == (-signal.SIGTERM if workers == 1 else 0)


@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["loaded by each", "preloaded"])
@pytest.mark.parametrize("kind", ["uvicorn_worker.UvicornWorker", "asgi"])
def test_sigterm_under_gunicorn_loses_nothing(
    kind: str,
    preload: tuple[str, ...],
    serve: Callable[..., AppServer],
    receiver: Any,
    free_port: int,
) -> None:
    """Its workers are forked and have the default action of the signal; the application is mounted."""
    server = serve(
        MOUNTED,
        *("--bind", f"127.0.0.1:{free_port}", "--workers", "2", "--worker-class", kind),
        *("--no-control-socket", *preload),
        server=(str(BIN / "gunicorn"), "program:app"),
        answer_seconds=30,  # it listens before its workers have loaded the application
    )
    requests = 1 + ask(server, processes=2)
    output = server.terminate()
    assert len(receiver.names) == requests, output
    assert "Traceback" not in output
    assert server.process.returncode == 0


def test_sigterm_of_a_script_that_runs_uvicorn_loses_nothing(
    serve: Callable[..., AppServer], receiver: Any, free_port: int, tmp_path: Path
) -> None:
    """The application is set up before the server begins; what follows it is not executed, as before."""
    server = serve(
        ALONE + RUN_BY_A_SCRIPT, server=(sys.executable, str(tmp_path / "program.py"), str(free_port))
    )
    requests = 1 + ask(server, processes=1)
    output = server.terminate()
    assert len(receiver.names) == requests, output
    assert "the program goes on" not in output
    assert "Traceback" not in output
    assert server.process.returncode == -signal.SIGTERM


def test_sigterm_under_the_launcher_loses_nothing(
    serve: Callable[..., AppServer], receiver: Any, free_port: int
) -> None:
    """The client is made before the server, so the handler is there before uvicorn's."""
    source = ALONE.replace("setup_telemetry(app)", "").replace(
        "from telemetry.telemetry import setup_telemetry", ""
    )
    server = serve(source, "--lifespan", "off", launcher=(str(BIN / "opentelemetry-instrument"),))
    requests = 1 + ask(server, processes=1)
    output = server.terminate()
    assert len(receiver.names) == requests, output
    assert server.process.returncode == -signal.SIGTERM


WITH_A_SLOW_ONE = """
    import asyncio, pathlib
    from fastapi import FastAPI
    from telemetry.telemetry import setup_telemetry
    inner = FastAPI()
    setup_telemetry(inner)
    @inner.get("/slow")
    async def slow():
        pathlib.Path("under way").touch()
        await asyncio.sleep(1)
        return 1
    app = FastAPI()
    @app.get("/hello/first")
    def hello(): return 1
    app.mount("/inner", inner)
"""


def test_first_span_of_a_process_may_end_while_its_server_does(
    serve: Callable[..., AppServer], receiver: Any, tmp_path: Path, until: Until
) -> None:
    """A request that is under way at the signal is answered, and its span is sent."""
    server = serve(WITH_A_SLOW_ONE)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.get, "/inner/slow")
        until("the request to be under way", (tmp_path / "under way").exists)
        output = server.terminate()
        assert answer.result() == "1"
    assert receiver.names == ["GET /inner/slow"], output


WITH_ITS_OWN_HANDLER = """
    import signal
    from contextlib import asynccontextmanager
    from fastapi import FastAPI
    from telemetry.telemetry import setup_telemetry
    @asynccontextmanager
    async def lifespan(app):
        servers = signal.getsignal(signal.SIGTERM)
        def handle(number, frame):
            print("the application's own", flush=True)
            servers(number, frame)
        signal.signal(signal.SIGTERM, handle)
        yield
    inner = FastAPI()
    setup_telemetry(inner)
    @inner.get("/{name}")
    def hello(name: str):
        return name
    app = FastAPI(lifespan=lifespan)
    app.mount("/hello", inner)
"""


def test_application_may_put_its_handler_before_uvicorns(
    serve: Callable[..., AppServer], receiver: Any
) -> None:
    """It is called, and nothing is lost."""
    server = serve(WITH_ITS_OWN_HANDLER)
    output = server.terminate()
    assert receiver.names == ["GET /hello/{name}"], output
    assert "the application's own" in output
    assert server.process.returncode == -signal.SIGTERM


@pytest.mark.parametrize("is_spooled", [False, True], ids=["no spool", "spool"])
def test_dead_collector_delays_all_ends_together_by_one_budget(
    is_spooled: bool, serve: Callable[..., AppServer], receiver: OtlpReceiver, tmp_path: Path, free_port: int
) -> None:
    """Lifespan, server and signal share it, although spans and metrics wait for an answer in vain."""
    is_over = threading.Event()
    receiver.answer = never_answer(is_over)
    variables = {
        "TELEMETRY_SHUTDOWN_SECONDS": "6",
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "60",
        "OTEL_BSP_EXPORT_TIMEOUT": "60000",
    }
    if is_spooled:
        variables["TELEMETRY_SPOOL_DIR"] = str(tmp_path / "spool")
    # Both are set up alike, so the first to end is not the last holder of the pipeline.
    source = MOUNTED + "\n    setup_telemetry(app)\n"
    server = serve(
        source + RUN_BY_A_SCRIPT.replace('lifespan="off", ', ""),
        server=(sys.executable, str(tmp_path / "program.py"), str(free_port)),
        **variables,
    )
    started = time.monotonic()
    output = server.terminate()
    seconds = time.monotonic() - started
    is_over.set()
    assert ("remain in the spool" if is_spooled else "shutdown dropped") in output
    assert seconds < 12, "two budgets take longer than that"
    assert server.process.returncode == -signal.SIGTERM
