"""Builds the transport for a configuration. Only the one that is configured is imported."""

import os
from collections.abc import Mapping
from typing import Protocol

from ...config import TelemetryConfig
from ...settings.destination import Destination
from ...settings.endpoint import basic_credentials, grpc_target
from .result import ExportResult


class Transport(Protocol):
    """The interface of a transport. Thread-safe."""

    def send(self, payload: bytes, timeout_seconds: float) -> ExportResult:
        """Sends one encoded request within one deadline; never raises."""
        ...

    def connect_only(self, timeout_seconds: float) -> ExportResult | None:
        """Makes a connection and closes it, without TLS and without a request; never raises.

        Returns:
            What `send` would return if no connection can be made; None if one was made, or if only `send` can
            tell.
        """
        ...

    def close(self) -> None:
        """Cancels the exports in progress and closes the connections."""
        ...


def load_transport(config: TelemetryConfig) -> None:
    """Imports what the configured transports need.

    To be called by the thread that sets up: a fork could cut an import by the worker's thread in two.
    """
    if config.sdk_disabled:
        return
    if config.traces_exporter == "console":
        from . import console  # noqa: F401, PLC0415 - see above
    if "otlp" not in {config.traces_exporter, config.metrics_exporter}:
        return
    if config.protocol == "grpc":
        from . import grpc  # noqa: F401, PLC0415 - see above
    else:
        from . import http  # noqa: F401, PLC0415 - see above


def build_transport(config: TelemetryConfig) -> Transport:
    """Builds the transport for spans; it connects when the first batch is sent.

    Raises:
        OSError: a certificate or key cannot be read.
        ssl.SSLError: a certificate or key is invalid.
    """
    if config.traces_exporter == "console":
        from .console import ConsoleTransport  # noqa: PLC0415 - only where it is configured

        return ConsoleTransport()
    return _build_otlp(config.protocol, config.traces_destination, is_for_metrics=False)


def build_metric_transport(config: TelemetryConfig) -> Transport:
    """Builds the transport for pushed metrics, as `build_transport` does for spans."""
    return _build_otlp(config.protocol, config.metrics_destination, is_for_metrics=True)


def _build_otlp(protocol: str, to: Destination, *, is_for_metrics: bool) -> Transport:
    if protocol == "grpc":
        from . import grpc, grpc_certificates  # noqa: PLC0415 - only where it is configured

        return grpc.GrpcTransport(
            grpc_target(to.endpoint, is_insecure=to.is_insecure),
            method=grpc.METRICS_METHOD if is_for_metrics else grpc.TRACES_METHOD,
            certificates=None if to.is_insecure else grpc_certificates.GrpcCertificates.of(to),
            headers=_with_credentials(to.headers, to.endpoint),
            is_compressed=to.is_compressed,
        )
    from . import http, proxy, tls  # noqa: PLC0415 - only where it is configured

    is_secure = to.endpoint.lower().startswith("https:")
    return http.HttpTransport(
        to.endpoint,
        tls=tls.TlsFiles(authority=to.certificate, certificate=to.client_certificate, key=to.client_key)
        if is_secure
        else None,
        proxy=proxy.proxy_for(to.endpoint, os.environ),
        headers=to.headers,
        is_compressed=to.is_compressed,
    )


def _with_credentials(headers: Mapping[str, str], endpoint: str) -> dict[str, str]:
    """Returns the headers with the endpoint's user and password, unless they have an authorization."""
    basic = basic_credentials(endpoint)
    if basic is None or "authorization" in map(str.lower, headers):
        return dict(headers)
    return {**headers, "authorization": basic}
