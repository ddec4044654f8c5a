"""The library in processes of its own: uvicorn and SIGTERM, the launcher, a copied folder."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent

AT_IMPORT = """
    from fastapi import FastAPI
    from telemetry.telemetry import setup_telemetry
    app = FastAPI()
    setup_telemetry(app)
    @app.get("/hello/{name}")
    def hello(name: str): return name
"""
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
WITHOUT_A_LINE = """
    from fastapi import FastAPI
    app = FastAPI()
    @app.get("/hello/{name}")
    def hello(name: str): return name
"""


class Server:
    """One uvicorn process."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> str | None:
        """The body of an answer; None while nobody answers."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=5) as answer:  # noqa: S310 - loopback
                return str(answer.read().decode())
        except (urllib.error.URLError, ConnectionError):
            return None

    def terminate(self) -> str:
        """Sends SIGTERM, as an orchestrator does, and returns what the process printed."""
        self.process.send_signal(signal.SIGTERM)
        output, _ = self.process.communicate(timeout=20)
        return output


@pytest.fixture
def serve(receiver: Any, free_port: int, tmp_path: Path, until: Any) -> Iterator[Callable[..., Server]]:
    """Starts uvicorn on an application's source, with the receiver as its Collector."""
    servers: list[Server] = []

    def start(source: str, *options: str, launcher: tuple[str, ...] = (), **variables: str) -> Server:
        (tmp_path / "program.py").write_text(textwrap.dedent(source))
        environment = {
            **os.environ,
            "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}",
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "SERVICE_NAME": "program",
            # Far longer than the test: only a flush can bring the spans out.
            "OTEL_BSP_SCHEDULE_DELAY": "600000",
            **variables,
        }
        process = subprocess.Popen(
            [*launcher, str(BIN / "uvicorn"), "program:app", "--port", str(free_port), *options],
            env=environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        servers.append(Server(process, free_port))
        until("uvicorn to answer", lambda: servers[-1].get("/hello/first"), seconds=20)
        return servers[-1]

    yield start
    for server in servers:
        server.process.kill()
        server.process.communicate()


@pytest.mark.parametrize(
    ("source", "options"),
    [
        pytest.param(AT_IMPORT, (), id="at import"),
        pytest.param(IN_A_FACTORY, ("--factory",), id="in a factory"),
        pytest.param(IN_A_LIFESPAN, (), id="inside a lifespan"),
    ],
)
def test_sigterm_under_uvicorn_loses_nothing(
    source: str, options: tuple[str, ...], serve: Callable[..., Server], receiver: Any
) -> None:
    """What is queued when the signal comes is sent before the process ends."""
    server = serve(source, *options)
    for number in range(20):
        server.get(f"/hello/{number}")
    output = server.terminate()
    assert receiver.names == ["GET /hello/{name}"] * 21, output
    assert "Traceback" not in output
    assert server.process.returncode == -signal.SIGTERM


def test_sigterm_with_a_dead_collector_is_bounded_and_tells_what_was_lost(
    serve: Callable[..., Server], receiver: Any
) -> None:
    """The process ends within its budget, and its log says how many spans were given up."""
    server = serve(AT_IMPORT, TELEMETRY_SHUTDOWN_SECONDS="1")
    receiver.stop()
    server.get("/hello/lost")
    output = server.terminate()
    assert "shutdown gave up" in output


def test_launcher_needs_no_code(serve: Callable[..., Server], receiver: Any) -> None:
    """`opentelemetry-instrument uvicorn module:app` gives a plain app spans, metrics and health."""
    server = serve(WITHOUT_A_LINE, launcher=(str(BIN / "opentelemetry-instrument"),))
    assert '"name":"program"' in str(server.get("/health/telemetry")).replace(" ", "")
    assert 'route="/hello/{name}"' in str(server.get("/metrics"))
    output = server.terminate()
    assert receiver.names == ["GET /hello/{name}"], output
    assert receiver.resources[0]["service.name"] == "program"
    assert "already instrumented" not in output


def test_launcher_and_setup_together_make_one_span(serve: Callable[..., Server], receiver: Any) -> None:
    """An app that calls setup_telemetry() itself is not traced twice by the launcher."""
    server = serve(AT_IMPORT, launcher=(str(BIN / "opentelemetry-instrument"),))
    server.terminate()
    assert receiver.names == ["GET /hello/{name}"]


def test_script_that_just_ends_has_sent_its_spans(receiver: Any) -> None:
    """As the guide writes it, with no shutdown: the interpreter's exit flushes."""
    script = """
        from telemetry.client import TelemetryClient
        with TelemetryClient(schedule_delay_ms=600000).start_span("operation_name") as span:
            span.set_attribute("key", "value")
    """
    subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        cwd=ROOT,
        env={**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint},
        check=True,
        timeout=30,
    )
    assert receiver.names == ["operation_name"]


def test_folder_works_where_it_is_copied(tmp_path: Path, receiver: Any) -> None:
    """The library may live as app.core.telemetry: its imports are relative."""
    shutil.copytree(ROOT / "telemetry", tmp_path / "app" / "core" / "telemetry")
    script = """
        import sys
        from fastapi import FastAPI
        from app.core.telemetry.client import TelemetryClient
        from app.core.telemetry.decorators import trace_function
        from app.core.telemetry.telemetry import setup_telemetry
        client = setup_telemetry(FastAPI())
        @trace_function
        def work(): pass
        work()
        assert client.shutdown()
        assert "telemetry" not in sys.modules, "an absolute import reached the original"
    """
    subprocess.run(
        [sys.executable, "-W", "error", "-P", "-c", textwrap.dedent(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint},
        check=True,
        timeout=30,
    )
    assert len(receiver.spans) == 1


def test_import_has_no_side_effect() -> None:
    """Importing every module starts no thread, sets no provider and touches no logger."""
    script = """
        import logging, threading
        before = logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter").filters[:]
        import telemetry.telemetry, telemetry.client, telemetry.decorators
        import telemetry.health_check, telemetry.distro
        from opentelemetry import trace
        assert threading.active_count() == 1, threading.enumerate()
        assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
        assert not logging.getLogger().handlers
        ours = [f for f in logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter").filters
                if type(f).__module__.startswith("telemetry")]
        assert not ours
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, check=True, timeout=30)
