"""A minimal Collector that can be killed: it accepts OTLP over gRPC, counts spans and discards them.

    python -m demo.receiver 127.0.0.1:14317

It prints the number of received spans before it responds, so that its count is never below what a client
considers delivered, however it ends.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)


class Receiver(TraceServiceServicer):
    """A trace service that accepts every export."""

    def __init__(self) -> None:
        self._spans = 0

    def Export(  # noqa: N802 - the service's name
        self, request: ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> ExportTraceServiceResponse:
        """Counts the spans of one request, on the server's only thread."""
        del context
        self._spans += sum(
            len(scope_spans.spans)
            for resource_spans in request.resource_spans
            for scope_spans in resource_spans.scope_spans
        )
        sys.stdout.write(f"{self._spans}\n")
        sys.stdout.flush()
        return ExportTraceServiceResponse()


def main(address: str) -> None:
    """Serves until it is killed."""
    server = grpc.server(ThreadPoolExecutor(1), options=[("grpc.so_reuseport", 0)])
    add_TraceServiceServicer_to_server(Receiver(), server)  # type: ignore[no-untyped-call] # generated
    server.add_insecure_port(address)
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main(sys.argv[1])
