"""Fixtures of all tests: a clean environment, and an OTLP receiver on a real socket."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import settings
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from support.free_ports import free_port as next_free_port
from support.misbehaving import make_certificate

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

Answer = Callable[[grpc.ServicerContext], None]


def accept(_: grpc.ServicerContext) -> None:
    """Answers OK."""


class MetricsReceiver(metrics_service_pb2_grpc.MetricsServiceServicer):
    """The part of a receiver that takes metrics."""

    def __init__(self, receiver: "OtlpReceiver") -> None:
        self._receiver = receiver

    def Export(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - the service's name
        """One push."""
        self._receiver.answer_push(context)
        self._receiver.metric_pushes.append(request)
        return metrics_service_pb2.ExportMetricsServiceResponse()


class OtlpReceiver(trace_service_pb2_grpc.TraceServiceServicer):
    """An OTLP/gRPC server on loopback that keeps what it accepts and misbehaves on demand."""

    def __init__(self) -> None:
        self.port = next_free_port()
        self.answer: Answer = accept
        self.push_answer: Answer | None = None
        self.calls = 0
        self.accepted = 0
        """Spans accepted so far, kept or not."""
        self.keeps_spans = True
        self.metric_pushes: list[Any] = []
        self._spans: list[Span] = []
        self._resources: list[dict[str, str]] = []
        self._lock = threading.Lock()
        self._server: grpc.Server | None = None
        self.start()

    def answer_push(self, context: grpc.ServicerContext) -> None:
        """Answers metrics, as spans are answered where nothing else is said."""
        (self.answer if self.push_answer is None else self.push_answer)(context)

    @property
    def endpoint(self) -> str:
        """Where it listens, or listened."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def spans(self) -> list[Span]:
        """The spans accepted so far."""
        with self._lock:
            return list(self._spans)

    @property
    def names(self) -> list[str]:
        """Their names."""
        return [span.name for span in self.spans]

    @property
    def resources(self) -> list[dict[str, str]]:
        """The resource attributes of each request accepted."""
        with self._lock:
            return list(self._resources)

    def start(self) -> None:
        """Listens, again on the same port after `stop()`."""
        # The same port again needs no waiting for the kernel.
        server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, server)
        metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(MetricsReceiver(self), server)
        assert server.add_insecure_port(f"127.0.0.1:{self.port}") == self.port
        server.start()
        self._server = server

    def stop(self) -> None:
        """Stops listening; connections are refused from now on."""
        if self._server is not None:
            self._server.stop(grace=None).wait()
            self._server = None

    def Export(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - the service's name
        """One export."""
        with self._lock:
            self.calls += 1
        self.answer(context)
        with self._lock:
            for resource_spans in request.resource_spans:
                self.accepted += sum(len(each.spans) for each in resource_spans.scope_spans)
                if not self.keeps_spans:
                    continue
                self._resources.append(
                    {
                        **{a.key: a.value.string_value for a in resource_spans.resource.attributes},
                        "span names": str(
                            {s.name for each in resource_spans.scope_spans for s in each.spans}
                        ),
                    }
                )
                for scope_spans in resource_spans.scope_spans:
                    self._spans.extend(scope_spans.spans)
        return trace_service_pb2.ExportTraceServiceResponse()


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
def until() -> Callable[[str, Callable[[], object]], None]:
    """Waits until something is true, at most 10 s; the failure names what was waited for."""

    def wait(what: str, is_true: Callable[[], object], seconds: float = 10.0) -> None:
        deadline = time.monotonic() + seconds
        while not is_true():
            if time.monotonic() > deadline:
                pytest.fail(f"waited {seconds:g} s in vain for: {what}")
            threading.Event().wait(0.005)

    return wait


@pytest.fixture
def free_port() -> int:
    """A TCP port on loopback that nobody listens on."""
    return next_free_port()
