"""Builds the transport for a configuration."""

import ssl
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import grpc
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ...config import TelemetryConfig
from ...settings.endpoint import grpc_target
from .grpc import METRICS_METHOD, TRACES_METHOD, GrpcTransport
from .http import HttpTransport
from .response import Disposition, ExportResult


class Transport(Protocol):
    """The interface of a transport. Thread-safe."""

    def send(self, payload: bytes, timeout_seconds: float) -> ExportResult:
        """Sends one encoded request within one deadline; never raises."""
        ...

    def close(self) -> None:
        """Cancels the exports in progress and closes the connections."""
        ...


class ConsoleTransport:
    """A transport that prints requests as OTLP JSON (`OTEL_TRACES_EXPORTER=console`)."""

    def send(self, payload: bytes, timeout_seconds: float) -> ExportResult:  # noqa: ARG002 - a terminal has no deadline
        """Prints one request."""
        try:
            sys.stdout.write(MessageToJson(ExportTraceServiceRequest.FromString(payload)) + "\n")
        except (OSError, ValueError) as error:  # the stream is closed
            return ExportResult(Disposition.PERMANENT, "console", str(error))
        return ExportResult(Disposition.DELIVERED)

    def close(self) -> None:
        """Does nothing: no resources are held."""


def build_transport(config: TelemetryConfig) -> Transport:
    """Builds the transport for spans; it connects when the first batch is sent.

    Raises:
        OSError: a certificate or key cannot be read.
        ssl.SSLError: a certificate or key is invalid.
    """
    if config.traces_exporter == "console":
        return ConsoleTransport()
    return _build_otlp(
        config, config.export_endpoint, TRACES_METHOD, config.headers, is_insecure=config.is_insecure
    )


def build_metric_transport(config: TelemetryConfig) -> Transport:
    """Builds the transport for pushed metrics, as `build_transport` does for spans."""
    return _build_otlp(
        config,
        config.metrics_export_endpoint,
        METRICS_METHOD,
        config.metrics_export_headers,
        is_insecure=config.is_metrics_insecure,
    )


def _build_otlp(
    config: TelemetryConfig,
    endpoint: str,
    grpc_method: str,
    headers: Mapping[str, str],
    *,
    is_insecure: bool,
) -> Transport:
    is_compressed = config.compression == "gzip"
    if config.protocol == "grpc":
        return GrpcTransport(
            grpc_target(endpoint),
            method=grpc_method,
            credentials=None if is_insecure else _credentials(config),
            # gRPC metadata keys are lower case.
            headers={key.lower(): value for key, value in headers.items()},
            is_compressed=is_compressed,
        )
    is_secure = endpoint.lower().startswith("https:")
    return HttpTransport(
        endpoint,
        context=_context(config) if is_secure else None,
        headers=headers,
        is_compressed=is_compressed,
    )


def _credentials(config: TelemetryConfig) -> grpc.ChannelCredentials:
    def read(file: str | None) -> bytes | None:
        return None if file is None else Path(file).read_bytes()

    return grpc.ssl_channel_credentials(
        root_certificates=read(config.certificate),
        private_key=read(config.client_key),
        certificate_chain=read(config.client_certificate),
    )


def _context(config: TelemetryConfig) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=config.certificate)
    if config.client_certificate is not None:
        context.load_cert_chain(config.client_certificate, config.client_key)
    return context
