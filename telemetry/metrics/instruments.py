"""Instruments for requests, decorated functions and export attempts, recorded as they happen."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from opentelemetry.sdk.metrics.export import Metric as PushedMetric
from opentelemetry.trace import Span, get_current_span
from prometheus_client import CollectorRegistry, Counter, Histogram

from ..export.attempt import Attempt
from ..export.otlp.result import Disposition
from ..settings.request import LATENCY_BUCKETS_MS
from . import names
from .families import Description, Family, HistogramFamily, SumFamily
from .label_sets import LabelSets
from .request_instruments import RequestMetrics
from .series import HistogramSeries, SumSeries, exemplar_of

_EXPORT_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_AGE_BUCKETS_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 7_200, 86_400)
_BATCH_BUCKETS_SPANS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096)
_FUNCTION_DURATION = Description(
    names.FUNCTION_DURATION_MS, "Duration of measured functions, in milliseconds."
)
_FUNCTION_ERRORS = Description(names.FUNCTION_ERROR_COUNT, "Exceptions that left tracked functions.")


class Metrics:
    """The library's own instruments, in one registry. Thread-safe.

    Requests and functions, whose label sets are many and whose records must be cheap, have series of our
    own; the rest are prometheus_client's.

    Args:
        registry: registers the instruments.
        http_metrics: the requests' metrics: the guide's, the conventions', or both.
        latency_buckets_ms: the upper bounds of buckets for requests and functions, in milliseconds.
        max_label_sets: the most label sets of each metric of requests and functions.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        http_metrics: Literal["app", "standard", "both"] = "app",
        latency_buckets_ms: Sequence[float] = LATENCY_BUCKETS_MS,
        max_label_sets: int = 2_000,
    ) -> None:
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
        has_created = _has_created(self._export_bytes)
        self.requests = RequestMetrics(
            http_metrics, latency_buckets_ms, max_label_sets, has_created=has_created
        )
        """Those of requests."""
        self._functions = LabelSets(
            names.FUNCTION_DURATION_MS,
            (names.FUNCTION, names.OUTCOME),
            {names.FUNCTION},
            max_label_sets,
            lambda: HistogramSeries(latency_buckets_ms),
        )
        self._function_errors = LabelSets(
            names.FUNCTION_ERROR_COUNT,
            (names.FUNCTION, names.ERROR_TYPE),
            {names.FUNCTION, names.ERROR_TYPE},
            max_label_sets,
            SumSeries,
        )
        families: Iterable[Family[Any, Any]] = (
            *self.requests.families,
            HistogramFamily(
                _FUNCTION_DURATION,
                self._functions,
                HistogramSeries.read,
                bounds=latency_buckets_ms,
                has_created=has_created,
            ),
            SumFamily(_FUNCTION_ERRORS, self._function_errors, SumSeries.read, has_created=has_created),
        )
        for family in families:
            registry.register(family)

    def push(self) -> list[PushedMetric]:
        """Returns the requests' metrics as the OpenTelemetry SDK collects them."""
        pushed = [family.push() for family in self.requests.families]
        return [metric for metric in pushed if metric is not None]

    def record_function(
        self, function: str, outcome: str, duration_ms: float, span: Span | None = None
    ) -> None:
        """Records one call of a measured function.

        Args:
            function: its name.
            outcome: ok, error or cancelled.
            duration_ms: the call's.
            span: the exemplar's; None for no exemplar.
        """
        key = (function, outcome)
        series = self._functions.rows.get(key)
        if series is None:
            series = self._functions.bind(key)
        series.observe(duration_ms, None if span is None else exemplar_of(span, duration_ms))

    def record_function_error(self, function: str, error_type: str) -> None:
        """Counts one exception that left a tracked function."""
        key = (function, error_type)
        series = self._function_errors.rows.get(key)
        if series is None:
            series = self._function_errors.bind(key)
        series.add(1, exemplar_of(get_current_span(), 1))

    def record_export(self, attempt: Attempt) -> None:
        """Records one export attempt."""
        self._export_duration.observe(attempt.duration_seconds)
        self._export_batch.observe(attempt.spans)
        self._export_bytes.inc(attempt.payload_bytes)
        if attempt.result.disposition is Disposition.DELIVERED:
            self._export_age.observe(attempt.age_seconds)
        else:
            self._export_failures.labels(attempt.result.kind).inc()


def _has_created(counter: Counter) -> bool:
    """Whether prometheus_client's own series say when they began, which an application can switch off."""
    return any(each.name.endswith("_created") for family in counter.collect() for each in family.samples)
