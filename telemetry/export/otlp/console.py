"""Prints spans instead of sending them."""

import base64
import json
import sys
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from .result import Disposition, ExportResult

_IDS = frozenset({"traceId", "spanId", "parentSpanId"})


class ConsoleTransport:
    """A transport that prints requests as OTLP/JSON (`OTEL_TRACES_EXPORTER=console`)."""

    def send(self, payload: bytes, timeout_seconds: float) -> ExportResult:  # noqa: ARG002 - a terminal has no deadline
        """Prints one request."""
        try:
            sys.stdout.write(_as_json(payload) + "\n")
        except (OSError, ValueError) as error:  # the stream is closed
            return ExportResult(Disposition.PERMANENT, "console", str(error))
        return ExportResult(Disposition.DELIVERED)

    def connect_only(self, timeout_seconds: float) -> None:
        """Does nothing: there is no server."""

    def close(self) -> None:
        """Does nothing: no resources are held."""


def _as_json(payload: bytes) -> str:
    """Returns a request as OTLP/JSON, whose identifiers are hexadecimal and whose enums are numbers."""
    request = ExportTraceServiceRequest.FromString(payload)
    return json.dumps(_with_hex(MessageToDict(request, use_integers_for_enums=True)), indent=2)


def _with_hex(value: Any, key: str = "") -> Any:
    """Returns a part of the message with identifiers as logs have them; protobuf's JSON makes them base64."""
    if isinstance(value, dict):
        return {name: _with_hex(each, name) for name, each in value.items()}
    if isinstance(value, list):
        return [_with_hex(each) for each in value]
    return base64.b64decode(value).hex() if key in _IDS else value
