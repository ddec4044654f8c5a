"""Pushes the load lab's metrics to the OTLP receiver of Prometheus.

They are pushed rather than scraped, so that processes on the host and in containers are treated alike.
"""

import logging
import os
import socket
from typing import Any

import requests
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

PERIOD_SECONDS = 2.0
END_SECONDS = 2.0
"""How long the last push may take."""
_TIMEOUT_SECONDS = 0.9
"""Two exports, the one in progress and the last one, still fit into `END_SECONDS`."""
_OTLP_PATH = "/api/v1/otlp/v1/metrics"

_logger = logging.getLogger(__name__)


def pushing_provider(prometheus_url: str, job: str, *, is_quiet: bool = False) -> MeterProvider:
    """Returns a provider that pushes its metrics every two seconds, and once more at its shutdown.

    Args:
        prometheus_url: the address of a Prometheus with its OTLP receiver enabled.
        job: the service name of the metrics.
        is_quiet: whether failed pushes go unreported; otherwise the first one is logged.
    """
    # The resource is given in full: the environment's resource attributes are meant for the shop.
    process = f"{socket.gethostname()}:{os.getpid()}"
    exporter = _Exporter(prometheus_url, job, is_quiet=is_quiet)
    return MeterProvider(
        metric_readers=[PeriodicExportingMetricReader(exporter, PERIOD_SECONDS * 1000)],
        resource=Resource({"service.name": job, "service.instance.id": process}),
        shutdown_on_exit=False,
    )


class _Exporter(OTLPMetricExporter):
    """An exporter that logs once that the metrics are not accepted, instead of at each attempt."""

    def __init__(self, url: str, job: str, *, is_quiet: bool) -> None:
        self._job = job
        self._url = url.rstrip("/") + _OTLP_PATH
        self._has_warned = is_quiet
        session = requests.Session()
        session.trust_env = False  # a proxy would not know this machine's own ports
        super().__init__(endpoint=self._url, timeout=_TIMEOUT_SECONDS, session=session)
        # The exporter logs every attempt, some with a traceback; and so does the reader.
        for name in ("opentelemetry.exporter", "opentelemetry.sdk.metrics"):
            logging.getLogger(name).setLevel(logging.CRITICAL)

    def export(
        self, metrics_data: MetricsData, timeout_millis: float | None = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        """Sends the metrics, and logs the first failure."""
        result = super().export(metrics_data, timeout_millis, **kwargs)
        if result is MetricExportResult.FAILURE and not self._has_warned:
            self._has_warned = True
            _logger.warning(
                "the metrics of %s do not reach Prometheus: %s does not accept them", self._job, self._url
            )
        return result
