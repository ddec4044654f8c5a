"""The shop as real processes on free ports, and a receiver that keeps the spans they send."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeVar

import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from support.free_ports import free_port

from service.settings import DEMO_API_KEY

T = TypeVar("T")
PROJECT = Path(__file__).resolve().parents[2]
WITH_KEY = {"Authorization": f"Bearer {DEMO_API_KEY}"}
"""What the shop asks of those who write."""
SETTINGS_PREFIXES = ("OTEL_", "TELEMETRY_", "SHOP_", "SERVICE_", "ENVIRONMENT", "INVENTORY_URL")


@dataclass(frozen=True)
class ReceivedSpan:
    """A span as it was received, with the service that created it."""

    service: str
    span: Span

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        return self.span.trace_id.hex()


class Receiver:
    """An OTLP/HTTP receiver on a free port."""

    def __init__(self) -> None:
        self.spans: list[ReceivedSpan] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.spans.extend(_unpack(ExportTraceServiceRequest.FromString(body)))
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Keeps the tests' output clean."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def trace(self, trace_id: str) -> list[ReceivedSpan]:
        """Returns the spans of a trace that were received so far."""
        return [received for received in list(self.spans) if received.trace_id == trace_id]

    def close(self) -> None:
        """Ends the server and its thread."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _unpack(request: ExportTraceServiceRequest) -> Iterator[ReceivedSpan]:
    for resource_spans in request.resource_spans:
        service = next(
            attribute.value.string_value
            for attribute in resource_spans.resource.attributes
            if attribute.key == "service.name"
        )
        for scope_spans in resource_spans.scope_spans:
            yield from (ReceivedSpan(service, span) for span in scope_spans.spans)


def wait_for(what: str, look: Callable[[], T | None], *, seconds: float = 20.0) -> T:
    """Returns the first true value found; the failure names what was waited for."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds:g} s in vain for {what}")


def clean_environment(**settings: str) -> dict[str, str]:
    """Returns this process's environment with no settings but the given ones."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS_PREFIXES)}
    return {**inherited, "PYTHONPATH": str(PROJECT), **settings}


@contextmanager
def run_process(command: list[str], log: Path, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """Runs Python with these arguments; ends it with SIGTERM, and with SIGKILL if that takes too long."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command], env=clean_environment(**settings), stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def run_service(
    name: str, folder: Path, *, port: int, arguments: tuple[str, ...] = (), **settings: str
) -> Iterator[httpx.Client]:
    """Runs one service under uvicorn; yields a client that may write, for `wait_until_alive` to wait on."""
    command = ["-m", "uvicorn", f"service.{name}.app:app", "--port", str(port), "--no-access-log", *arguments]
    settings = {"SERVICE_NAME": name, "SHOP_DATABASE_DIR": str(folder), **settings}
    with (
        run_process(command, folder.parent / f"{name}-{port}.log", **settings),
        httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers=WITH_KEY, timeout=10, trust_env=False
        ) as client,
    ):
        yield client


def wait_until_alive(client: httpx.Client) -> None:
    """Waits for the service to answer."""

    def is_alive() -> bool:
        try:
            return client.get("/healthz").is_success
        except httpx.TransportError:
            return False

    wait_for(f"{client.base_url} to answer", is_alive)


@dataclass(frozen=True)
class Shop:
    """Both services, in development, sending to the receiver."""

    storefront: httpx.Client
    inventory: httpx.Client
    receiver: Receiver
    folder: Path

    @property
    def storefront_port(self) -> int:
        """Where the storefront listens."""
        port = self.storefront.base_url.port
        assert port is not None
        return port


@contextmanager
def run_shop(folder: Path) -> Iterator[Shop]:
    """Runs the shop with its databases in `folder/shop` and its logs in `folder`."""
    database_dir = folder / "shop"
    receiver = Receiver()
    inventory_port = free_port()
    settings = {
        "ENVIRONMENT": "development",
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "TELEMETRY_TRACE_RESPONSE": "true",
        "TELEMETRY_EXCLUDED_URLS": "/healthz",
        "INVENTORY_URL": f"http://127.0.0.1:{inventory_port}",
    }
    try:
        with (
            run_service("inventory", database_dir, port=inventory_port, **settings) as inventory,
            run_service("storefront", database_dir, port=free_port(), **settings) as storefront,
        ):
            wait_until_alive(inventory)
            wait_until_alive(storefront)
            yield Shop(storefront, inventory, receiver, folder)
    finally:
        receiver.close()


def trace_of(shop: Shop, answer: httpx.Response, *services: str) -> list[ReceivedSpan]:
    """Waits for the services' server spans and every parent, since batches overtake; returns the trace."""
    trace_id = answer.headers["traceresponse"].split("-")[1]

    def look() -> list[ReceivedSpan] | None:
        trace = shop.receiver.trace(trace_id)
        there = {it.service for it in trace if it.span.kind == Span.SPAN_KIND_SERVER}
        parents = {it.span.parent_span_id for it in trace} - {b""}
        is_whole = parents <= {it.span.span_id for it in trace}
        return trace if is_whole and there.issuperset(services) else None

    return wait_for(f"trace {trace_id} with the server spans of {services}", look)
