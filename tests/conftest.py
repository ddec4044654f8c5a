"""Fixtures for all tests: a clean environment, an OTLP receiver, servers, clients and waiting."""

import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Rewrites the assertions of `support` as pytest does those of the tests.
pytest.register_assert_rewrite("support")

from support.app_server import AppServer, serving  # noqa: E402 - see above
from support.certificates import make_certificate  # noqa: E402 - see above
from support.decorated import Observed, observe  # noqa: E402 - see above
from support.free_ports import free_port as next_free_port  # noqa: E402 - see above
from support.otlp_receiver import OtlpReceiver  # noqa: E402 - see above
from support.traced_app import shut_down_clients  # noqa: E402 - see above
from support.waiting import Until, wait_until  # noqa: E402 - see above

from telemetry.tracing.log_fields import remove_log_fields  # noqa: E402 - see above

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background jobs start with SIGINT ignored; the tests' children must react to Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The tests do not depend on the programs on the machine's PATH or on what can be downloaded today.
os.environ["PROGRAMS_FROM"] = "build"
# The tests must not stop a stack that runs from the same checkout.
os.environ["COMPOSE_PROJECT_NAME"] = f"fastapi-telemetry-test-{os.getpid()}"
for name in ("RUNTIME", "PORT_OFFSET", "STACK_RUN_DIR"):
    os.environ.pop(name, None)
# Requests to loopback must not go through a company's proxy.
os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1,localhost"

pytest_plugins = ["support.running_stack"]
# Examples have no deadline: a busy machine must not fail a test.
settings.register_profile("project", deadline=None)
settings.load_profile("project")

_INSTRUMENTORS = (
    "opentelemetry.instrumentation.grpc.GrpcInstrumentorClient",
    "opentelemetry.instrumentation.grpc.GrpcAioInstrumentorClient",
    "opentelemetry.instrumentation.httpx.HTTPX2ClientInstrumentor",
    "opentelemetry.instrumentation.httpx.HTTPXClientInstrumentor",
    "opentelemetry.instrumentation.sqlalchemy.SQLAlchemyInstrumentor",
)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Self-signed localhost certificates with their keys: a valid one and an expired one."""
    folder = tmp_path_factory.mktemp("certificates")
    return {name: make_certificate(folder, name, days=days) for name, days in (("valid", 2), ("expired", -1))}


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    """A receiver that accepts everything."""
    running = OtlpReceiver()
    yield running
    running.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Writes what a test has logged so that it can be sent: lone surrogates would end a process of tests."""
    report = yield
    report.sections = [
        (title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections
    ]
    return report


@pytest.fixture(autouse=True)
def instrumentations_end_with_their_test() -> Iterator[None]:
    """Removes a test's process-wide instrumentation, so that later tests' own requests are not traced."""
    yield
    for name in _INSTRUMENTORS:
        module, _, class_name = name.rpartition(".")
        if module in sys.modules:
            instrumentor = getattr(sys.modules[module], class_name)()
            if instrumentor.is_instrumented_by_opentelemetry:
                instrumentor.uninstrument()
    remove_log_fields()
    shut_down_clients()


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
    """A client that the decorators find, together with the telemetry that it records."""
    with observe() as seen:
        yield seen


@pytest.fixture
def serve(receiver: OtlpReceiver, free_port: int, tmp_path: Path) -> Iterator[Callable[..., AppServer]]:
    """Starts uvicorn with an application's source and the receiver as its Collector."""
    with serving(receiver.endpoint, free_port, tmp_path) as start:
        yield start
