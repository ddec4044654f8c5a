"""An OTLP receiver on a real socket."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from support.free_ports import free_port

Answer = Callable[[grpc.ServicerContext], None]


def accept(_: grpc.ServicerContext) -> None:
    """Answers OK."""


def never_answer(is_over: threading.Event) -> Answer:
    """Returns an answer that does not come before the test is over, or for a minute."""

    def wait(_: grpc.ServicerContext) -> None:
        is_over.wait(60)

    return wait


class MetricsReceiver(metrics_service_pb2_grpc.MetricsServiceServicer):
    """The part of a receiver that accepts metrics."""

    def __init__(self, receiver: "OtlpReceiver") -> None:
        self._receiver = receiver

    def Export(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - the service's name
        """Handles one push."""
        self._receiver.answer_push(context)
        self._receiver.metric_pushes.append(request)
        return metrics_service_pb2.ExportMetricsServiceResponse()


class OtlpReceiver(trace_service_pb2_grpc.TraceServiceServicer):
    """An OTLP/gRPC server on loopback that keeps what it accepts and misbehaves on demand."""

    def __init__(self) -> None:
        self.port = free_port()
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
        """Answers metrics: like spans, unless `push_answer` is set."""
        (self.answer if self.push_answer is None else self.push_answer)(context)

    @property
    def endpoint(self) -> str:
        """The address that it listens on, or listened on."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def spans(self) -> list[Span]:
        """The spans accepted so far."""
        with self._lock:
            return list(self._spans)

    @property
    def names(self) -> list[str]:
        """The names of the spans accepted so far."""
        return [span.name for span in self.spans]

    @property
    def resources(self) -> list[dict[str, str]]:
        """The resource attributes of each request accepted."""
        with self._lock:
            return list(self._resources)

    def start(self) -> None:
        """Listens, again on the same port after `stop()`."""
        # The port can be bound again without waiting for the kernel.
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
        """Handles one export."""
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
