"""The receiver for both engines: a process that accepts OTLP over gRPC and HTTP and counts spans.

    python -m benchmarks.receiver [GRPC_PORT HTTP_PORT]

It prints its two ports and then, for each line that it reads, the number of spans received so far.
"""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from telemetry.export.otlp.grpc import TRACES_METHOD


class Count:
    """The number of spans received so far. Thread-safe."""

    def __init__(self) -> None:
        self.spans = 0
        self._lock = threading.Lock()

    def take(self, payload: bytes) -> None:
        """Counts the spans of a request."""
        request = ExportTraceServiceRequest.FromString(payload)
        spans = sum(len(scope.spans) for each in request.resource_spans for scope in each.scope_spans)
        with self._lock:
            self.spans += spans


def serve_grpc(count: Count, port: int = 0) -> tuple[grpc.Server, int]:
    """Starts a server for raw requests of the trace service; returns it and its port, any for 0."""

    def export(payload: bytes, _: grpc.ServicerContext) -> bytes:
        count.take(payload)
        return b""

    service, method = TRACES_METHOD.strip("/").rsplit("/", 1)
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", -1)])
    handler: Any = grpc.unary_unary_rpc_method_handler(export)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server, port


def serve_http(count: Count, port: int = 0) -> ThreadingHTTPServer:
    """Starts a server for requests on any path; its port is any for 0."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            """Handles one export."""
            count.take(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Logs nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def main() -> None:
    """Serves until its input ends."""
    count = Count()
    wanted = [int(argument) for argument in sys.argv[1:]] or [0, 0]
    _server, grpc_port = serve_grpc(count, wanted[0])
    http = serve_http(count, wanted[1])
    sys.stdout.write(f"{grpc_port} {http.server_port}\n")
    sys.stdout.flush()
    for _ in sys.stdin:
        sys.stdout.write(f"{count.spans}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
