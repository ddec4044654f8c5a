"""A decorated function, or the stock way to trace it: `python -m benchmarks.request_functions '{…}'`.

The result is printed as JSON.
"""

import gc
import json
import logging
import os
import sys
import time
from collections.abc import Callable

from opentelemetry import trace

from benchmarks.request_variants import FLUSH_SECONDS

_BLOCK = 400
"""Calls between two flushes: fewer than a batch, so that each batch is sent outside the timed calls."""
_FUNCTION_NAME = "code.function.name"


def measure(way: str, endpoint: str, calls: int, *, is_sampled: bool) -> dict[str, float]:
    """Measures microseconds a call below a parent span.

    `us_per_call` is the CPU of the calling thread; `us_per_call_sent` that of the process, sending included.

    Args:
        way: `ours`, with `trace_function`, or `stock`, with the SDK's `start_as_current_span`.
        endpoint: the receiver's, for gRPC.
        calls: their number, a multiple of the block's.
        is_sampled: whether the parent, and so every call, is.
    """
    os.environ |= {
        "OTEL_SERVICE_NAME": "benchmark",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "1" if is_sampled else "0",
    }
    tracer, function, flush = (_ours if way == "ours" else _stock)(endpoint)
    used = in_calls = 0.0
    for block in range(-2, calls // _BLOCK):  # the first two warm up
        gc.collect()
        process, thread = time.process_time(), time.thread_time()
        with tracer.start_as_current_span("parent"):
            for number in range(_BLOCK):
                function(number)
        thread = time.thread_time() - thread
        flush()
        process = time.process_time() - process
        if block >= 0:
            used += process
            in_calls += thread
    spans = (_BLOCK + 1) * (calls // _BLOCK + 2) if is_sampled else 0
    return {"us_per_call": in_calls / calls * 1e6, "us_per_call_sent": used / calls * 1e6, "spans": spans}


def _ours(endpoint: str) -> tuple[trace.Tracer, Callable[[int], int], Callable[[], object]]:
    from telemetry.client import TelemetryClient  # noqa: PLC0415 - the stock process imports none of it
    from telemetry.decorators import trace_function  # noqa: PLC0415

    client = TelemetryClient(endpoint=endpoint)

    @trace_function
    def work(number: int) -> int:
        return number + 1

    return client.tracer, work, lambda: client.force_flush(FLUSH_SECONDS)


def _stock(endpoint: str) -> tuple[trace.Tracer, Callable[[int], int], Callable[[], object]]:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, insecure=True)))
    tracer = provider.get_tracer("benchmark")
    attributes = {_FUNCTION_NAME: f"{__name__}._stock.<locals>.work"}

    def work(number: int) -> int:
        with tracer.start_as_current_span("work", attributes=attributes):
            return number + 1

    return tracer, work, lambda: provider.force_flush(FLUSH_SECONDS * 1000)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    sys.stdout.write(json.dumps(measure(**json.loads(sys.argv[1]))) + "\n")
