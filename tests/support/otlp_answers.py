"""Responses of a Collector, as bytes."""

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)


def partial_success(rejected: int, message: str) -> bytes:
    """Returns a partial success, or with no rejected spans a warning."""
    return ExportTraceServiceResponse(
        partial_success=ExportTracePartialSuccess(rejected_spans=rejected, error_message=message)
    ).SerializeToString()
