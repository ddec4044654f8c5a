"""Instruments for requests, decorated functions and export attempts, recorded as they happen.

They are prometheus_client's, whose histograms carry exemplars; requests are also recorded in
OpenTelemetry instruments when metrics are pushed.
"""

from collections.abc import Mapping

from opentelemetry.metrics import Meter
from opentelemetry.trace import Span, get_current_span
from prometheus_client import CollectorRegistry, Counter, Histogram

from ..export.attempt import Attempt
from ..export.otlp.response import Disposition
from . import names

LATENCY_BUCKETS_MS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000)
_EXPORT_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_AGE_BUCKETS_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 7_200, 86_400)
_BATCH_BUCKETS_SPANS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096)


class Metrics:
    """The library's own instruments, in one registry. Thread-safe.

    Args:
        registry: registers the instruments.
        meter: records requests as well; given when metrics are pushed too.
    """

    def __init__(self, registry: CollectorRegistry, meter: Meter | None = None) -> None:
        request_labels = (names.METHOD, names.ROUTE, names.STATUS_CODE)
        self._requests = Counter(names.REQUEST_COUNT, "Requests answered.", request_labels, registry=registry)
        self._latency = Histogram(
            names.REQUEST_LATENCY_MS,
            "Time from a request's arrival to the end of its answer, in milliseconds.",
            request_labels,
            buckets=LATENCY_BUCKETS_MS,
            registry=registry,
        )
        self._errors = Counter(
            names.ERROR_COUNT,
            "Requests that failed: answered with 5xx, or ended by an exception.",
            (*request_labels, names.ERROR_TYPE),
            registry=registry,
        )
        self._function_duration = Histogram(
            names.FUNCTION_DURATION_MS,
            "Duration of measured functions, in milliseconds.",
            (names.FUNCTION, names.OUTCOME),
            buckets=LATENCY_BUCKETS_MS,
            registry=registry,
        )
        self._function_errors = Counter(
            names.FUNCTION_ERROR_COUNT,
            "Exceptions that left tracked functions.",
            (names.FUNCTION, names.ERROR_TYPE),
            registry=registry,
        )
        self._export_duration = Histogram(
            names.EXPORT_DURATION_SECONDS,
            "Duration of export attempts, failed ones included.",
            buckets=_EXPORT_BUCKETS_SECONDS,
            registry=registry,
        )
        self._export_batch = Histogram(
            names.EXPORT_BATCH_SPANS,
            "Spans in an export attempt.",
            buckets=_BATCH_BUCKETS_SPANS,
            registry=registry,
        )
        self._export_bytes = Counter(
            names.EXPORT_BYTES,
            "Encoded bytes of export attempts, before compression.",
            registry=registry,
        )
        self._export_age = Histogram(
            names.EXPORT_AGE_SECONDS,
            "Age of a batch's first span when the Collector accepted it.",
            buckets=_AGE_BUCKETS_SECONDS,
            registry=registry,
        )
        self._export_failures = Counter(
            names.EXPORT_FAILURES, "Export attempts that failed.", (names.KIND,), registry=registry
        )
        self._pushed = None if meter is None else _PushedRequestInstruments(meter)

    def record_request(
        self, *, method: str, route: str, status_code: int, duration_ms: float, span: Span
    ) -> None:
        """Records one answered request; the exemplar is the span's trace."""
        labels = (method, route, str(status_code))
        exemplar = _exemplar(span)
        self._requests.labels(*labels).inc(exemplar=exemplar)
        self._latency.labels(*labels).observe(duration_ms, exemplar=exemplar)
        if self._pushed is not None:
            self._pushed.record(dict(zip(_LABELS, labels, strict=True)), duration_ms)

    def record_request_error(
        self, *, method: str, route: str, status_code: int, error_type: str, span: Span
    ) -> None:
        """Counts one request that failed; the exemplar is the span's trace."""
        labels = (method, route, str(status_code), error_type)
        self._errors.labels(*labels).inc(exemplar=_exemplar(span))
        if self._pushed is not None:
            self._pushed.record_error(dict(zip((*_LABELS, names.ERROR_TYPE), labels, strict=True)))

    def record_function(self, function: str, outcome: str, duration_ms: float) -> None:
        """Records one call of a measured function; `outcome` is ok, error or cancelled."""
        self._function_duration.labels(function, outcome).observe(duration_ms, exemplar=_exemplar())

    def record_function_error(self, function: str, error_type: str) -> None:
        """Counts one exception that left a tracked function."""
        self._function_errors.labels(function, error_type).inc(exemplar=_exemplar())

    def record_export(self, attempt: Attempt) -> None:
        """Records one export attempt."""
        self._export_duration.observe(attempt.duration_seconds)
        self._export_batch.observe(attempt.spans)
        self._export_bytes.inc(attempt.payload_bytes)
        if attempt.result.disposition is Disposition.DELIVERED:
            self._export_age.observe(attempt.age_seconds)
        else:
            self._export_failures.labels(attempt.result.kind).inc()


class _PushedRequestInstruments:
    def __init__(self, meter: Meter) -> None:
        self._requests = meter.create_counter(names.OTEL_REQUEST_COUNT, "1", "Requests answered.")
        self._latency = meter.create_histogram(
            names.OTEL_REQUEST_LATENCY_MS,
            "ms",
            "Time to answer.",
            explicit_bucket_boundaries_advisory=LATENCY_BUCKETS_MS,
        )
        self._errors = meter.create_counter(names.OTEL_ERROR_COUNT, "1", "Requests that failed.")

    def record(self, attributes: Mapping[str, str], duration_ms: float) -> None:
        self._requests.add(1, attributes)
        self._latency.record(duration_ms, attributes)

    def record_error(self, attributes: Mapping[str, str]) -> None:
        self._errors.add(1, attributes)


_LABELS = (names.METHOD, names.ROUTE, names.STATUS_CODE)


def _exemplar(span: Span | None = None) -> dict[str, str] | None:
    context = (span or get_current_span()).get_span_context()
    if not context.is_valid or not context.trace_flags.sampled:
        # The trace of an unsampled exemplar could not be opened.
        return None
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
