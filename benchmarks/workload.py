"""One measurement in a process of its own: `python -m benchmarks.workload '{"measure": "cpu", …}'`.

The result is printed as JSON.

Every engine gets the same spans: a server span and a database span in it, with six attributes each; the
server's path is a new one each time. The SDK's own tracer creates them, except for the engine `client`.
"""

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Tracer

from benchmarks.waiting import waited_seconds
from telemetry.client import TelemetryClient
from telemetry.config import TelemetryConfig
from telemetry.export.otlp.spans import Encoder
from telemetry.export.pipeline import ExportPipeline

QUEUE_SPANS, BATCH_SPANS, DELAY_MS = 8_192, 512, 1_000
TIMEOUT_SECONDS = 10.0
_BURST_TRACES = 128


class _Nothing(SpanProcessor):
    """A processor without any export, to measure the cost of creating spans."""


class Engine:
    """A tracer with one of the engines behind it.

    Args:
        name: `ours`, `grpc`, `http` or `none` for an engine behind the SDK's tracer; `client` for our own
            tracer with our engine.
        endpoint: where it sends to.
        settings: fields of our configuration.
    """

    def __init__(self, name: str, endpoint: str, **settings: Any) -> None:
        self.processor: SpanProcessor
        if name == "client":
            client = TelemetryClient(_config(endpoint, settings))
            self.processor = client.pipeline
            self._tracer = client.tracer
            self.flush: Callable[[float], bool] = client.force_flush
            self.shutdown: Callable[[], object] = client.shutdown
        else:
            self.processor = _processor(name, endpoint, settings)
            provider = TracerProvider(shutdown_on_exit=False)
            provider.add_span_processor(self.processor)
            self._tracer = provider.get_tracer("benchmark", "1.0")
            self.flush = lambda seconds: provider.force_flush(int(seconds * 1000))
            self.shutdown = provider.shutdown
        self._number = 0

    def end_traces(self, count: int) -> None:
        """Ends this many traces of two spans."""
        for _ in range(count):
            self._number += 1
            end_trace(self._tracer, self._number)

    def wait_for_room(self) -> None:
        """Waits until a burst fits into the queue."""
        while self.waiting > QUEUE_SPANS - 2 * BATCH_SPANS:
            time.sleep(0.0005)

    @property
    def waiting(self) -> int:
        """Spans that have not been sent yet, as far as the engine reports them."""
        if isinstance(self.processor, ExportPipeline):
            return self.processor.ledger.read().in_memory
        if isinstance(self.processor, BatchSpanProcessor):
            return len(self.processor._batch_processor._queue)  # noqa: SLF001 - it has no public way
        return 0


def end_trace(tracer: Tracer, number: int) -> None:
    """Ends a server span and the database span in it."""
    with tracer.start_as_current_span("GET /products/{id}", kind=SpanKind.SERVER) as server:
        server.set_attribute("http.request.method", "GET")
        server.set_attribute("http.route", "/products/{id}")
        server.set_attribute("url.path", f"/products/{number}")
        server.set_attribute("server.address", "127.0.0.1")
        server.set_attribute("network.protocol.version", "1.1")
        with tracer.start_as_current_span("SELECT shop", kind=SpanKind.CLIENT) as database:
            database.set_attribute("db.system.name", "sqlite")
            database.set_attribute("db.namespace", "shop")
            database.set_attribute("db.operation.name", "SELECT")
            database.set_attribute("db.collection.name", "products")
            database.set_attribute("db.query.text", "SELECT * FROM products WHERE id = ?")
            database.set_attribute("db.response.returned_rows", 1)
        server.set_attribute("http.response.status_code", 200)


def _make_spans(traces: int, first: int = 0) -> list[ReadableSpan]:
    """Returns ended spans, two a trace, that were not exported."""
    ended: list[ReadableSpan] = []

    class Keep(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            """Keeps the span."""
            ended.append(span)

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Keep())
    tracer = provider.get_tracer("benchmark", "1.0")
    for number in range(first, first + traces):
        end_trace(tracer, number)
    return ended


def _processor(name: str, endpoint: str, settings: Mapping[str, Any]) -> SpanProcessor:
    if name == "none":
        return _Nothing()
    if name == "ours":
        return ExportPipeline(_config(endpoint, settings))
    exporter = (
        GrpcExporter(endpoint=endpoint, insecure=True)
        if name == "grpc"
        else HttpExporter(endpoint=f"{endpoint}/v1/traces")
    )
    return BatchSpanProcessor(
        exporter,
        max_queue_size=QUEUE_SPANS,
        max_export_batch_size=BATCH_SPANS,
        schedule_delay_millis=DELAY_MS,
    )


def _config(endpoint: str, settings: Mapping[str, Any]) -> TelemetryConfig:
    """Returns a configuration that batches as the stock engine does here."""
    same = {
        "max_queue_size": QUEUE_SPANS,
        "max_export_batch_size": BATCH_SPANS,
        "schedule_delay_ms": DELAY_MS,
        "exporter_timeout_seconds": TIMEOUT_SECONDS,
        "export_timeout_ms": TIMEOUT_SECONDS * 1000,
    }
    return TelemetryConfig(endpoint=endpoint, **{**same, **settings})


def measure_cpu(engine: str, endpoint: str, traces: int, traces_per_second: float) -> dict[str, float]:
    """Measures the CPU microseconds a span, over all threads, while spans end at a steady rate."""
    made = Engine(engine, endpoint)
    made.end_traces(1_000)
    made.flush(30)
    started, used = time.monotonic(), time.process_time()
    for done in range(0, traces, _BURST_TRACES):
        made.end_traces(_BURST_TRACES)
        time.sleep(max(0.0, started + (done + _BURST_TRACES) / traces_per_second - time.monotonic()))
    made.flush(30)
    used = time.process_time() - used
    made.shutdown()
    spans = 2 * (traces + -traces % _BURST_TRACES)
    return {"us_per_span": used / spans * 1e6, "spans": spans + 2_000}


def measure_export(
    engine: str, endpoint: str, traces: int, traces_per_second: float | None
) -> dict[str, float]:
    """Measures CPU microseconds a span, from its end to the response; the spans were created before.

    Without a rate they end as fast as the engine accepts them.
    """
    made = Engine(engine, endpoint)
    made.end_traces(1_000)
    made.flush(30)
    spans = _make_spans(traces)
    started, used = time.monotonic(), time.process_time()
    for done in range(0, len(spans), 2 * _BURST_TRACES):
        for span in spans[done : done + 2 * _BURST_TRACES]:
            made.processor.on_end(span)
        if traces_per_second is None:
            made.wait_for_room()
        else:
            due = started + (done / 2 + _BURST_TRACES) / traces_per_second
            time.sleep(max(0.0, due - time.monotonic()))
    made.flush(30)
    used = time.process_time() - used
    made.shutdown()
    return {"us_per_span": used / len(spans) * 1e6, "spans": len(spans) + 2_000}


def measure_throughput(engine: str, endpoint: str, traces: int) -> dict[str, float]:
    """Measures delivered spans a second, created as fast as possible without dropping any."""
    made = Engine(engine, endpoint)
    made.end_traces(1_000)
    made.flush(30)
    started, waited = time.monotonic(), waited_seconds()
    for _ in range(0, traces, _BURST_TRACES):
        made.wait_for_room()
        made.end_traces(_BURST_TRACES)
    made.flush(60)
    seconds, waited = time.monotonic() - started, waited_seconds() - waited
    made.shutdown()
    spans = 2 * (traces + -traces % _BURST_TRACES)
    return {"spans_per_second": spans / seconds, "waited": waited / seconds, "spans": spans + 2_000}


def measure_encoding(traces: int, rounds: int) -> dict[str, float]:
    """Measures microseconds a span of our encoder and of the official one, on spans each has not seen."""
    encoder, number = Encoder(), 0
    used = {"ours": 0.0, "official": 0.0}
    for _ in range(rounds):
        for name, encode in (
            ("ours", encoder.encode),
            ("official", lambda spans: encode_spans(spans).SerializeToString()),
        ):
            ended = _make_spans(traces, first=number)
            number += traces
            started = time.process_time()
            encode(ended)
            used[name] += time.process_time() - started
    return {name: seconds / (2 * traces * rounds) * 1e6 for name, seconds in used.items()}


def measure_requests(endpoint: str, requests: int, per_second: float) -> dict[str, float]:
    """Measures the milliseconds of in-process requests to an instrumented app, from when they were due."""
    from fastapi import FastAPI  # noqa: PLC0415 - the other measurements need none of it

    from telemetry.telemetry import setup_telemetry  # noqa: PLC0415

    app = FastAPI()
    client = setup_telemetry(
        app,
        TelemetryConfig(endpoint=endpoint, exporter_timeout_seconds=1.0, breaker_open_max_seconds=8),
    )

    @app.get("/products/{product_id}")
    async def product(product_id: int) -> dict[str, int]:
        with client.start_span("lookup"):
            return {"id": product_id}

    async def ask(number: int) -> None:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": f"/products/{number}",
            "raw_path": b"",
            "query_string": b"",
            "headers": [(b"host", b"test")],
            "server": ("test", 80),
            "client": ("test", 1),
            "root_path": "",
        }

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(_: Any) -> None:
            """Ignores the response."""

        await app(scope, receive, send)

    async def run() -> list[float]:
        for number in range(500):
            await ask(number)
        latencies = []
        started = time.perf_counter()
        for number in range(requests):
            due = started + number / per_second
            # Not asyncio.sleep: its own delay would dominate the measurement.
            while (wait := due - time.perf_counter()) > 0:
                time.sleep(wait if wait < 0.0005 else wait / 2)  # noqa: ASYNC251, PLR2004
            await ask(number)
            latencies.append((time.perf_counter() - due) * 1000)
        return latencies

    latencies = sorted(asyncio.run(run()))
    client.shutdown(0.5)
    return {
        "p50_ms": latencies[len(latencies) // 2],
        "p99_ms": latencies[int(len(latencies) * 0.99)],
        "opened": client.pipeline.breaker.snapshot().opened_total,
    }


def measure_shutdown(engine: str, endpoint: str) -> dict[str, float]:
    """Measures the seconds that a shutdown takes with a full queue."""
    made = Engine(engine, endpoint)
    made.end_traces(QUEUE_SPANS)
    started = time.monotonic()
    made.shutdown()
    return {"seconds": time.monotonic() - started}


def measure_outage(endpoint: str, traces: int) -> dict[str, float]:
    """Measures bytes held for a span while the Collector is dead: in encoded batches and in the process."""
    made = Engine("ours", endpoint, buffer_max_bytes=2**30)
    pipeline = made.processor
    assert isinstance(pipeline, ExportPipeline)  # noqa: S101 - for the type checker
    for _ in range(20):
        made.end_traces(_BURST_TRACES)
        _wait(lambda: pipeline.buffered_bytes > 0)
    _wait(lambda: pipeline.breaker.snapshot().opened_total > 0)
    before, held_before = _resident_bytes(), pipeline.ledger.read().in_memory
    for _ in range(0, traces, _BURST_TRACES):
        made.end_traces(_BURST_TRACES)
        time.sleep(0.02)  # spans dropped because of a full queue make the run void
    time.sleep(2 * DELAY_MS / 1000)
    held = pipeline.ledger.read().in_memory
    figures = {
        "buffered_bytes_per_span": pipeline.buffered_bytes / held,
        "resident_bytes_per_span": (_resident_bytes() - before) / (held - held_before),
        "dropped": float(sum(pipeline.ledger.read().dropped.values())),
    }
    pipeline.stop(0.1)
    return figures


def _wait(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_true():
        if time.monotonic() > deadline:
            raise TimeoutError("the engine makes no progress")
        time.sleep(0.002)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


_MEASURES: Mapping[str, Callable[..., dict[str, float]]] = {
    "cpu": measure_cpu,
    "export": measure_export,
    "throughput": measure_throughput,
    "encoding": measure_encoding,
    "requests": measure_requests,
    "shutdown": measure_shutdown,
    "outage": measure_outage,
}

if __name__ == "__main__":
    logging.disable()  # a dead Collector is the subject, not news
    given = json.loads(sys.argv[1])
    sys.stdout.write(json.dumps(_MEASURES[given.pop("measure")](**given)) + "\n")
