"""What the library measures: requests, decorated functions, and its own export pipeline.

Recorded in prometheus_client, whose histograms carry exemplars; requests also as OpenTelemetry
instruments when metrics are pushed.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from opentelemetry.metrics import Meter
from opentelemetry.trace import get_current_span
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ..export.attempt import Attempt
from ..export.breaker import BreakerState
from ..export.ledger import DropReason
from ..export.otlp.response import Disposition
from ..export.pipeline import ExportPipeline
from . import names

LATENCY_BUCKETS_MS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000)
_EXPORT_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_AGE_BUCKETS_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 7_200, 86_400)
_BATCH_BUCKETS_SPANS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096)


class Metrics:
    """The library's own instruments, in one registry. Thread-safe.

    Args:
        registry: where they are registered.
        meter: given when metrics are pushed too; then requests are recorded through it as well.
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
            "How long ago the first span of a batch had ended when the Collector took it.",
            buckets=_AGE_BUCKETS_SECONDS,
            registry=registry,
        )
        self._export_failures = Counter(
            names.EXPORT_FAILURES, "Export attempts that failed.", (names.KIND,), registry=registry
        )
        self._pushed = None if meter is None else _PushedRequestInstruments(meter)

    def record_request(
        self, *, method: str, route: str, status_code: int, duration_ms: float, error_type: str | None
    ) -> None:
        """Records one answered request; the exemplar is the current span's trace."""
        labels = (method, route, str(status_code))
        exemplar = _exemplar()
        self._requests.labels(*labels).inc(exemplar=exemplar)
        self._latency.labels(*labels).observe(duration_ms, exemplar=exemplar)
        if error_type is not None:
            self._errors.labels(*labels, error_type).inc(exemplar=exemplar)
        if self._pushed is not None:
            self._pushed.record(dict(zip(_LABELS, labels, strict=True)), duration_ms, error_type)

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


def collect_everything(registry: CollectorRegistry) -> Iterator[Metric]:
    """The library's registry, then the process's default one, in which applications keep their own."""
    yield from registry.collect()
    yield from REGISTRY.collect()


class PipelineCollector(Collector):
    """Offers ledger, breaker and limits of a pipeline to a scrape, each as one consistent reading.

    Args:
        pipeline: read at each scrape.
        sampling_ratio: gives the one in effect; None while there is none.
    """

    def __init__(self, pipeline: ExportPipeline, sampling_ratio: Callable[[], float | None]) -> None:
        self._pipeline = pipeline
        self._sampling_ratio = sampling_ratio

    def collect(self) -> Iterable[Metric]:
        """The metric families, read now."""
        config = self._pipeline.config
        yield from self._ledger()
        yield from self._breaker()
        yield GaugeMetricFamily(
            names.QUEUE_CAPACITY, "The most spans kept in memory.", value=config.max_queue_size
        )
        yield GaugeMetricFamily(
            names.BATCH_SIZE_LIMIT, "The most spans in one export.", value=self._pipeline.batching.size
        )
        yield GaugeMetricFamily(
            names.BUFFER_BYTES, "Encoded batches in memory.", value=self._pipeline.buffered_bytes
        )
        yield GaugeMetricFamily(
            names.BUFFER_LIMIT_BYTES, "The most of them.", value=self._pipeline.limits.buffer_bytes
        )
        spool = self._pipeline.spool_status
        yield GaugeMetricFamily(
            names.SPOOL_BYTES, "Encoded batches on disk.", value=0 if spool is None else spool.size_bytes
        )
        yield GaugeMetricFamily(
            names.SPOOL_LIMIT_BYTES, "The most of them.", value=0 if spool is None else config.spool_max_bytes
        )
        ratio = self._sampling_ratio()
        if ratio is not None:
            yield GaugeMetricFamily(
                names.SAMPLING_RATIO, "The share of new traces that is kept.", value=ratio
            )

    def describe(self) -> Iterable[Metric]:
        """Nothing: the registry need not collect while registering."""
        return ()

    def _ledger(self) -> Iterable[Metric]:
        reading = self._pipeline.ledger.read()
        yield CounterMetricFamily(names.SPANS_ENDED, "Sampled spans that ended.", value=reading.ended)
        yield CounterMetricFamily(
            names.SPANS_ADOPTED, "Spans inherited from an earlier process's spool.", value=reading.adopted
        )
        spans = CounterMetricFamily(
            names.SPANS, "Spans whose fate is settled, by fate.", labels=[names.OUTCOME]
        )
        spans.add_metric(["delivered"], reading.delivered)
        spans.add_metric(["rejected"], reading.rejected)
        for reason in DropReason:
            spans.add_metric([f"dropped_{reason}"], reading.dropped.get(reason, 0))
        yield spans
        pending = GaugeMetricFamily(names.SPANS_PENDING, "Spans whose fate is open.", labels=[names.PLACE])
        pending.add_metric(["memory"], reading.in_memory)
        pending.add_metric(["spool"], reading.spooled)
        yield pending

    def _breaker(self) -> Iterable[Metric]:
        snapshot = self._pipeline.breaker.snapshot()
        state = GaugeMetricFamily(
            names.BREAKER_STATE, "The circuit breaker's state: 1 for the present one.", labels=[names.STATE]
        )
        for each in BreakerState:
            state.add_metric([each.value], float(snapshot.state is each))
        yield state
        transitions = CounterMetricFamily(
            names.BREAKER_TRANSITIONS, "Changes of the breaker's state.", labels=[names.FROM, names.TO]
        )
        for (old, new), count in snapshot.transitions.items():
            transitions.add_metric([old.value, new.value], count)
        yield transitions


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

    def record(self, attributes: Mapping[str, str], duration_ms: float, error_type: str | None) -> None:
        self._requests.add(1, attributes)
        self._latency.record(duration_ms, attributes)
        if error_type is not None:
            self._errors.add(1, {**attributes, names.ERROR_TYPE: error_type})


_LABELS = (names.METHOD, names.ROUTE, names.STATUS_CODE)


def _exemplar() -> dict[str, str] | None:
    context = get_current_span().get_span_context()
    if not context.is_valid or not context.trace_flags.sampled:
        # The trace of an unsampled exemplar could not be opened.
        return None
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
