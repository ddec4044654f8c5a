"""The library in processes of its own: uvicorn and SIGTERM, the launcher, a copied folder."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from uv import find_uv_bin

from requirements.install import environment_of_uv, ways_to_packages

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
OFFICIAL_DISTRO = (
    "opentelemetry-distro==0.66b1 "
    "--hash=sha256:bf29f42ed11397c6fbea36c1e45481d9430a27ea116719c4902bdfbdeee54605\n"
)

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

    def start(
        source: str,
        *options: str,
        launcher: tuple[str, ...] = (),
        server: tuple[str, ...] = (),
        **variables: str,
    ) -> Server:
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
            [
                *launcher,
                *(server or (str(BIN / "uvicorn"), "program:app", "--port", str(free_port))),
                *options,
            ],
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


def ask_every_worker(server: Server, workers: int) -> int:
    """Sends requests, several at once, until each worker has answered one; returns how many."""
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
    serve: Callable[..., Server], receiver: Any, free_port: int
) -> None:
    """Gunicorn --preload: each worker has a connection, a queue and an instance id of its own."""
    server = serve(WITH_A_SPAN_BEFORE_THE_FORK, server=(*GUNICORN, "--bind", f"127.0.0.1:{free_port}"))
    requests = 1 + ask_every_worker(server, 4)  # one had waited for the server
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


def test_spawned_workers_lose_nothing(serve: Callable[..., Server], receiver: Any) -> None:
    """Uvicorn --workers 2."""
    server = serve(WITH_ITS_PROCESS, "--workers", "2")
    requests = 1 + ask_every_worker(server, 2)
    output = server.terminate()
    assert "Traceback" not in output
    assert receiver.names == ["GET /hello/{name}"] * requests, output
    assert len({resource["service.instance.id"] for resource in receiver.resources}) == 2


FORK_WHILE_SENDING = """
    import os, sys, threading, time
    from telemetry.client import TelemetryClient

    client = TelemetryClient(schedule_delay_ms=1, max_export_batch_size=5)
    is_over = threading.Event()

    def work():
        number = 0
        while not is_over.is_set():
            with client.start_span(f"parent {number}"):
                number += 1
            time.sleep(0.0002)
        counts.append(number)

    counts = []
    thread = threading.Thread(target=work)
    thread.start()
    children = []
    for child in range(10):
        time.sleep(0.02)
        pid = os.fork()
        if pid == 0:
            for number in range(20):
                with client.start_span(f"child {child} {number}"):
                    pass
            is_sent = client.force_flush(10)
            ledger = client.pipeline.ledger.read()
            os._exit(0 if is_sent and ledger.ended == ledger.delivered == 20 else 1)
        children.append(pid)
    states = [os.waitpid(pid, 0)[1] for pid in children]
    is_over.set()
    thread.join()
    assert client.shutdown(10)
    assert states == [0] * 10, states
    print(counts[0])
"""


def test_fork_while_spans_are_sent_loses_nothing_and_sends_nothing_twice(
    receiver: Any, tmp_path: Path
) -> None:
    """With a warm connection and exports under way in the parent, ten times."""
    source = tmp_path / "program.py"
    source.write_text(textwrap.dedent(FORK_WHILE_SENDING))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning", str(source)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=50,
    )
    expected = {f"parent {number}" for number in range(int(done.stdout))}
    expected |= {f"child {child} {number}" for child in range(10) for number in range(20)}
    assert Counter(receiver.names) == dict.fromkeys(expected, 1)
    assert len({resource["service.instance.id"] for resource in receiver.resources}) == 11


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


@pytest.fixture(scope="session")
def official_distro(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with OpenTelemetry's own distribution: first on the path, it is the first that is found."""
    folder = tmp_path_factory.mktemp("distro")
    pin = folder / "pin.txt"
    pin.write_text(OFFICIAL_DISTRO)
    install = ["pip", "install", "--quiet", "--no-deps", "--require-hashes", "--target", folder, "-r", pin]
    subprocess.run([find_uv_bin(), *install, *ways_to_packages()], env=environment_of_uv(), check=True)
    return str(folder)


def test_launcher_uses_our_distribution_beside_the_official_one(
    serve: Callable[..., Server], receiver: Any, official_distro: str, tmp_path: Path
) -> None:
    """Our providers, health and metrics; and nothing that the other one would have set."""
    path = os.pathsep.join((official_distro, str(tmp_path), str(ROOT)))
    server = serve(
        WITHOUT_A_LINE,
        launcher=(str(BIN / "opentelemetry-instrument"),),
        PYTHONPATH=path,
        OTEL_PYTHON_DISTRO="",
    )
    assert '"name":"program"' in str(server.get("/health/telemetry")).replace(" ", "")
    assert 'route="/hello/{name}"' in str(server.get("/metrics"))
    output = server.terminate()
    assert receiver.names == ["GET /hello/{name}"], output
    assert receiver.metric_pushes == [], "opentelemetry-distro pushes metrics where nothing else is said"


@pytest.mark.parametrize(
    ("options", "variables"),
    [
        pytest.param(("--distro", "distro"), {}, id="option"),
        pytest.param((), {"OTEL_PYTHON_DISTRO": "distro"}, id="variable"),
    ],
)
def test_launcher_uses_another_distribution_where_it_is_asked_for(
    options: tuple[str, ...],
    variables: dict[str, str],
    serve: Callable[..., Server],
    official_distro: str,
    tmp_path: Path,
) -> None:
    """In both ways that the launcher knows."""
    launcher = (str(BIN / "opentelemetry-instrument"), *options)
    path = os.pathsep.join((official_distro, str(tmp_path), str(ROOT)))
    settings = {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
    server = serve(WITHOUT_A_LINE, launcher=launcher, PYTHONPATH=path, **settings, **variables)
    assert server.get("/health/telemetry") is None


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


def test_exit_takes_one_budget_however_many_configurations_there_are() -> None:
    """Each hangs at its own Collector, and all are stopped side by side."""
    script = """
        import os, socket, sys, time
        from telemetry.client import TelemetryClient
        holes = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
        clients = [
            TelemetryClient(
                endpoint=f"http://127.0.0.1:{hole.getsockname()[1]}", protocol="http/protobuf",
                exporter_timeout_seconds=60, export_timeout_ms=60000, shutdown_seconds=2,
            )
            for hole in holes
        ]
        for client in clients:
            with client.start_span("hangs"):
                pass
        print(time.monotonic(), flush=True)
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    # One after the other they would take eight seconds.
    assert time.monotonic() - float(done.stdout) < 5
    assert done.stderr.count("shutdown gave up 1 span(s)") == 4
    assert "Traceback" not in done.stderr


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
        import logging, sys, threading
        import telemetry.telemetry, telemetry.client, telemetry.decorators
        import telemetry.health_check, telemetry.distro
        from opentelemetry import trace
        assert threading.active_count() == 1, threading.enumerate()
        assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
        assert not logging.getLogger().handlers
        stock = [name for name in sys.modules if name.startswith("opentelemetry.exporter.otlp.proto.grpc")
                 or name.startswith("opentelemetry.exporter.otlp.proto.http")]
        assert not stock, stock
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, check=True, timeout=30)
