"""Parses the parts' metrics.

With several workers, each has its own series: numbers are summed, and the breaker's state is the one
furthest from closed.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from telemetry.export.breaker import BreakerState
from telemetry.metrics import names

_FURTHEST_FIRST = (
    BreakerState.FORCED_OPEN,
    BreakerState.OPEN,
    BreakerState.HALF_OPEN,
    BreakerState.DISABLED,
    BreakerState.CLOSED,
)


@dataclass(frozen=True, slots=True)
class ServiceReading:
    """A reading of a service; counts are since its processes started."""

    requests: float
    errors: float
    latency_buckets_ms: dict[float, float]
    """The cumulative counts of requests by upper bound."""
    breaker: BreakerState
    ended: float
    adopted: float
    delivered: float
    lost: dict[str, float]
    """The nonzero counts of rejected and dropped spans, by reason."""
    in_memory: float
    spooled: float
    spool_bytes: float
    spool_limit_bytes: float
    batch_size: float
    sampling_ratio: float | None
    exports: float
    exported_spans: float
    age_seconds: float
    """The sum over the delivered batches."""
    delivered_batches: float
    cpu_seconds: float
    telemetry_cpu_seconds: dict[str, float]
    """Of telemetry's own threads, by stage."""
    rss_bytes: float
    workers: int

    @property
    def waiting(self) -> float:
        """The number of spans in memory and on disk."""
        return self.in_memory + self.spooled


@dataclass(frozen=True, slots=True)
class CollectorReading:
    """A reading of the Collector."""

    accepted: float
    refused: float
    queued: float
    sent: float
    cpu_seconds: float
    rss_bytes: float


@dataclass(frozen=True, slots=True)
class JaegerReading:
    """A reading of Jaeger."""

    stored: float


@dataclass(frozen=True, slots=True)
class Reading:
    """The readings of all parts at one time; None for a part that did not answer."""

    at: float
    """In seconds since the epoch."""
    services: dict[str, ServiceReading | None] = field(default_factory=dict)
    collector: CollectorReading | None = None
    jaeger: JaegerReading | None = None


class Samples:
    """The samples of a metrics response.

    Args:
        text: the response body in Prometheus's text format.

    Raises:
        ValueError: the text is not in that format.
    """

    def __init__(self, text: str) -> None:
        self._samples: dict[str, list[tuple[dict[str, str], float]]] = defaultdict(list)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._samples[sample.name].append((sample.labels, sample.value))

    def total(self, name: str, **labels: str) -> float:
        """Returns the sum of a metric's samples with these labels; 0 if there are none."""
        return sum(value for found, value in self._samples[name] if labels.items() <= found.items())

    def by(self, name: str, label: str) -> dict[str, float]:
        """Returns the sums of a metric's samples by a label."""
        sums: dict[str, float] = defaultdict(float)
        for labels, value in self._samples[name]:
            sums[labels.get(label, "")] += value
        return dict(sums)

    def lowest(self, name: str) -> float | None:
        """Returns the lowest of a metric's samples, or None if there are none."""
        return min((value for _, value in self._samples[name]), default=None)


def read_service(text: str) -> ServiceReading:
    """Parses a service's metrics."""
    samples = Samples(text)
    finished = samples.by(f"{names.SPANS}_total", names.OUTCOME)
    waiting = samples.by(names.SPANS_PENDING, names.PLACE)
    states = samples.by(names.BREAKER_STATE, names.STATE)
    buckets = samples.by(f"{names.REQUEST_LATENCY_MS}_bucket", "le")
    return ServiceReading(
        requests=samples.total(f"{names.REQUEST_COUNT}_total"),
        errors=samples.total(f"{names.ERROR_COUNT}_total"),
        latency_buckets_ms={float(bound): count for bound, count in buckets.items()},
        breaker=next((state for state in _FURTHEST_FIRST if states.get(state.value)), BreakerState.CLOSED),
        ended=samples.total(f"{names.SPANS_ENDED}_total"),
        adopted=samples.total(f"{names.SPANS_ADOPTED}_total"),
        delivered=finished.pop("delivered", 0.0),
        lost={outcome.removeprefix("dropped_"): count for outcome, count in finished.items() if count},
        in_memory=waiting.get("memory", 0.0),
        spooled=waiting.get("spool", 0.0),
        spool_bytes=samples.total(names.SPOOL_BYTES),
        spool_limit_bytes=samples.total(names.SPOOL_LIMIT_BYTES),
        batch_size=samples.lowest(names.BATCH_SIZE_LIMIT) or 0.0,
        sampling_ratio=samples.lowest(names.SAMPLING_RATIO),
        exports=samples.total(f"{names.EXPORT_BATCH_SPANS}_count"),
        exported_spans=samples.total(f"{names.EXPORT_BATCH_SPANS}_sum"),
        age_seconds=samples.total(f"{names.EXPORT_AGE_SECONDS}_sum"),
        delivered_batches=samples.total(f"{names.EXPORT_AGE_SECONDS}_count"),
        cpu_seconds=samples.total("process_cpu_seconds_total"),
        telemetry_cpu_seconds=samples.by(f"{names.CPU_SECONDS}_total", names.STAGE),
        rss_bytes=samples.total("process_resident_memory_bytes"),
        workers=len(samples.by(names.QUEUE_CAPACITY, names.WORKER)),
    )


def read_collector(text: str) -> CollectorReading:
    """Parses the Collector's own metrics."""
    samples = Samples(text)
    return CollectorReading(
        accepted=samples.total("otelcol_receiver_accepted_spans_total"),
        refused=samples.total("otelcol_receiver_refused_spans_total"),
        queued=samples.total("otelcol_exporter_queue_size"),
        sent=samples.total("otelcol_exporter_sent_spans_total"),
        cpu_seconds=samples.total("otelcol_process_cpu_seconds_total"),
        rss_bytes=samples.total("otelcol_process_memory_rss_bytes"),
    )


def read_jaeger(text: str) -> JaegerReading:
    """Parses Jaeger's own metrics."""
    return JaegerReading(stored=Samples(text).total("otelcol_exporter_sent_spans_total"))
