"""Prints spans instead of sending them."""

import sys

from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from .result import Disposition, ExportResult


class ConsoleTransport:
    """A transport that prints requests as OTLP JSON (`OTEL_TRACES_EXPORTER=console`)."""

    def send(self, payload: bytes, timeout_seconds: float) -> ExportResult:  # noqa: ARG002 - a terminal has no deadline
        """Prints one request."""
        try:
            sys.stdout.write(MessageToJson(ExportTraceServiceRequest.FromString(payload)) + "\n")
        except (OSError, ValueError) as error:  # the stream is closed
            return ExportResult(Disposition.PERMANENT, "console", str(error))
        return ExportResult(Disposition.DELIVERED)

    def connect_only(self, timeout_seconds: float) -> None:
        """Does nothing: there is no server."""

    def close(self) -> None:
        """Does nothing: no resources are held."""
