"""Exports metrics over OTLP (`OTEL_METRICS_EXPORTER=otlp`), with the spans' transports and deadlines."""

import threading
from collections.abc import Callable
from typing import Any

from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData

from ...fork import call_in_forked_child
from ..attempt import attempt
from ..breaker import CircuitBreaker, Rejected
from ..otlp.result import ExportResult, no_answer
from ..otlp.transport import Transport


class OtlpMetricExporter(MetricExporter):
    """Exporter of a reader's metrics. Used by the reader's thread; any thread may read `is_sent`.

    Metrics are cumulative, so each push makes up for earlier failed ones: a failed push is neither kept nor
    retried, and nothing stale ever arrives.

    Args:
        build: creates the transport, at the first push.
        breaker: shared with the spans if both go to one server, so that an outage is detected only once.
        attempt_seconds: the deadline of a push.
        on_result: called with each result.
    """

    def __init__(
        self,
        build: Callable[[], Transport],
        breaker: CircuitBreaker,
        *,
        attempt_seconds: float,
        on_result: Callable[[ExportResult], None],
    ) -> None:
        # Not at the top: it is heavy, and most services' metrics are only scraped.
        from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics  # noqa: PLC0415

        super().__init__()
        self._encode = encode_metrics
        self.is_sent = True
        """Whether the latest push arrived."""
        self._build = build
        self._breaker = breaker
        self._attempt_seconds = attempt_seconds
        self._on_result = on_result
        self._lock = threading.Lock()
        self._transport: Transport | None = None
        call_in_forked_child(self._reset_after_fork)

    def export(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,
        **_: Any,
    ) -> MetricExportResult:
        """Pushes once; never raises because of the Collector."""
        result = self._push(metrics_data, min(self._attempt_seconds, timeout_millis / 1000))
        self.is_sent = result is not None and result.is_full_success
        if result is not None:
            self._on_result(result)
        return MetricExportResult.SUCCESS if self.is_sent else MetricExportResult.FAILURE

    def force_flush(self, timeout_millis: float = 10_000) -> bool:  # noqa: ARG002 - the reader collects and exports
        """Returns whether the latest push arrived: nothing is buffered here."""
        return self.is_sent

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:  # noqa: ARG002 - nothing waits
        """Closes the connection."""
        with self._lock:
            transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()

    def _push(self, metrics_data: MetricsData, seconds: float) -> ExportResult | None:
        """Pushes once and returns the result; None if the breaker rejects the call."""
        payload = self._encode(metrics_data).SerializeToString()
        permit = self._breaker.acquire()
        if isinstance(permit, Rejected):
            return None
        try:
            with self._lock:
                if self._transport is None:
                    self._transport = self._build()
                transport = self._transport
        except Exception as error:  # noqa: BLE001 - most likely a bad certificate, which may be fixed
            permit.failure()
            return no_answer("configuration", f"{type(error).__name__}: {error}")
        return attempt(transport, payload, permit, seconds)

    def _reset_after_fork(self) -> None:
        # The connection is the parent's.
        self._lock = threading.Lock()
        self._transport = None
        self.is_sent = True
