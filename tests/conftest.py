"""Fixtures of all tests: a clean environment, an OTLP receiver, servers and clients, patience."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Their assertions explain themselves as those of the tests do.
pytest.register_assert_rewrite("support")

from support.app_server import AppServer, serving  # noqa: E402 - see above
from support.certificates import make_certificate  # noqa: E402 - see above
from support.decorated import Observed, observe  # noqa: E402 - see above
from support.free_ports import free_port as next_free_port  # noqa: E402 - see above
from support.otlp_receiver import OtlpReceiver  # noqa: E402 - see above
from support.waiting import Until, wait_until  # noqa: E402 - see above

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # So starts what a shell puts in the background; the tests' children are to take Ctrl-C as in a terminal.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What a machine has on its PATH, and what can be downloaded this day, is not what the tests are about.
os.environ["PROGRAMS_FROM"] = "build"
# A stack that runs while its checkout is tested is nobody's to stop.
os.environ["COMPOSE_PROJECT_NAME"] = f"fastapi-telemetry-test-{os.getpid()}"
for name in ("RUNTIME", "PORT_OFFSET", "STACK_RUN_DIR"):
    os.environ.pop(name, None)
# What answers on loopback is not to be looked for behind a company's proxy.
os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1,localhost"

pytest_plugins = ["support.running_stack"]
# A busy machine is no defect: no example is judged by its time.
settings.register_profile("project", deadline=None)
settings.load_profile("project")

_INSTRUMENTORS = (
    "opentelemetry.instrumentation.httpx.HTTPXClientInstrumentor",
    "opentelemetry.instrumentation.sqlalchemy.SQLAlchemyInstrumentor",
    "opentelemetry.instrumentation.logging.LoggingInstrumentor",
)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Self-signed certificates of localhost with their keys: a valid one and one that has expired."""
    folder = tmp_path_factory.mktemp("certificates")
    return {name: make_certificate(folder, name, days=days) for name, days in (("valid", 2), ("expired", -1))}


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    """A receiver that accepts everything."""
    running = OtlpReceiver()
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def instrumentations_end_with_their_test() -> Iterator[None]:
    """Takes back what a test switched on for the process: a later one's own requests are no spans."""
    yield
    for name in _INSTRUMENTORS:
        module, _, class_name = name.rpartition(".")
        if module in sys.modules:
            instrumentor = getattr(sys.modules[module], class_name)()
            if instrumentor.is_instrumented_by_opentelemetry:
                instrumentor.uninstrument()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starts each test from an environment without any of the library's variables."""
    for name in list(os.environ):
        if name.startswith(("OTEL_", "TELEMETRY_")) or name in {
            "ENVIRONMENT",
            "SERVICE_NAME",
            "SERVICE_VERSION",
            "WEB_CONCURRENCY",
            "PROMETHEUS_MULTIPROC_DIR",
        }:
            monkeypatch.delenv(name)


@pytest.fixture
def until() -> Until:
    """Waits until something is true, at most 10 s; the failure names what was waited for."""
    return wait_until


@pytest.fixture
def free_port() -> int:
    """A TCP port on loopback that nobody listens on."""
    return next_free_port()


@pytest.fixture
def observed() -> Iterator[Observed]:
    """A client of its own, which the decorators find, and what it sees."""
    with observe() as seen:
        yield seen


@pytest.fixture
def serve(receiver: OtlpReceiver, free_port: int, tmp_path: Path) -> Iterator[Callable[..., AppServer]]:
    """Starts uvicorn on an application's source, with the receiver as its Collector."""
    with serving(receiver.endpoint, free_port, tmp_path) as start:
        yield start
