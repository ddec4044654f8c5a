"""Families of our own are what prometheus_client and the OpenTelemetry SDK would make of the same values."""

import signal
import threading
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData, ResourceMetrics, ScopeMetrics
from opentelemetry.sdk.metrics.export import Metric as PushedMetric
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import Metric

from telemetry.metrics.instruments import Metrics
from telemetry.metrics.series import HistogramSeries, exemplar_of

SAMPLED = NonRecordingSpan(SpanContext(0xAB, 0xCD, is_remote=False, trace_flags=TraceFlags(1)))
UNSAMPLED = NonRecordingSpan(SpanContext(0xAB, 0xCD, is_remote=False, trace_flags=TraceFlags(0)))
EXEMPLAR = {"trace_id": f"{0xAB:032x}", "span_id": f"{0xCD:016x}"}
LABELS = ["method", "route", "status_code"]
BOUNDS = (0.5, 1, 250)

Request = tuple[str, str | None, int, float, bool]
requests = st.lists(
    st.tuples(
        st.sampled_from(["GET", "POST"]),
        st.sampled_from(["/a", "/b/{c}", None]),
        st.sampled_from([200, 404]),
        st.floats(0, 1_000) | st.sampled_from([0.5, 1.0, 250.0]),
        st.booleans(),
    ),
    max_size=20,
)


def record(metrics: Metrics, made: Iterable[Request]) -> None:
    """Records requests."""
    for method, route, status, duration, is_sampled in made:
        metrics.requests.record(method, route, status, duration, SAMPLED if is_sampled else UNSAMPLED)


def comparable(families: Iterable[Metric]) -> dict[str, Any]:
    """Returns families without the times at which they were made."""
    return {
        family.name: (
            family.type,
            [
                (
                    *sample[:2],
                    None if sample.name.endswith("_created") else sample.value,
                    sample.exemplar and sample.exemplar[:2],
                )
                for sample in family.samples
            ],
        )
        for family in families
        if family.name.startswith("app_request")
    }


@given(requests)
def test_scraped_families_equal_those_of_prometheus_client(made: list[Request]) -> None:
    """In every sample, label and exemplar."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    record(Metrics(ours, latency_buckets_ms=BOUNDS), made)
    count = Counter("app_request_count", "", LABELS, registry=theirs)
    latency = Histogram("app_request_latency_ms", "", LABELS, registry=theirs, buckets=BOUNDS)
    for method, route, status, duration, is_sampled in made:
        labels = (method, route or "unmatched", status)
        exemplar = EXEMPLAR if is_sampled else None
        count.labels(*labels).inc(exemplar=exemplar)
        latency.labels(*labels).observe(duration, exemplar=exemplar)
    assert comparable(ours.collect()) == comparable(theirs.collect())


def points(metrics: Iterable[PushedMetric]) -> dict[str, Any]:
    """Returns pushed metrics without times, exemplars, least and greatest."""
    found = {}
    for metric in metrics:
        of_metric = {}
        for point in metric.data.data_points:
            value: Any = getattr(point, "value", None)
            if value is None:
                value = (point.count, pytest.approx(point.sum), tuple(point.bucket_counts))  # type: ignore[union-attr]
                value = (*value, tuple(point.explicit_bounds))  # type: ignore[union-attr]
            of_metric[tuple(sorted((point.attributes or {}).items()))] = value
        kind = type(metric.data).__name__, getattr(metric.data, "is_monotonic", None)
        found[metric.name] = (metric.unit, kind, metric.data.aggregation_temporality, of_metric)  # type: ignore[union-attr]
    return found


@given(requests.filter(bool))
def test_pushed_metrics_equal_those_of_the_sdk(made: list[Request]) -> None:
    """In every point; each exemplar is encoded with its trace."""
    metrics, reader = Metrics(CollectorRegistry(), latency_buckets_ms=BOUNDS), InMemoryMetricReader()
    record(metrics, made)
    meter = MeterProvider([reader], shutdown_on_exit=False).get_meter("x")
    count = meter.create_counter("app.request.count", "1")
    latency = meter.create_histogram(
        "app.request.latency.ms", "ms", explicit_bucket_boundaries_advisory=BOUNDS
    )
    for method, route, status, duration, _ in made:
        attributes = dict(zip(LABELS, (method, route or "unmatched", str(status)), strict=True))
        count.add(1, attributes)
        latency.record(duration, attributes)
    collected = reader.get_metrics_data()
    assert collected is not None
    pushed = metrics.push()
    assert points(pushed) == points(collected.resource_metrics[0].scope_metrics[0].metrics)
    scope = ScopeMetrics(InstrumentationScope("x"), pushed, "")
    encoded = encode_metrics(MetricsData([ResourceMetrics(Resource({}), [scope], "")]))
    traces = [
        exemplar.trace_id
        for metric in encoded.resource_metrics[0].scope_metrics[0].metrics
        for point in metric.histogram.data_points
        for exemplar in point.exemplars
    ]
    assert set(traces) == ({(0xAB).to_bytes(16, "big")} if any(each[-1] for each in made) else set())


def test_nothing_is_pushed_before_the_first_request() -> None:
    """A metric without points is none."""
    assert Metrics(CollectorRegistry(), http_metrics="both").push() == []


def test_created_series_follow_prometheus_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """An application that has switched them off has none of ours either."""

    def created() -> list[str]:
        registry = CollectorRegistry()
        metrics = Metrics(registry)
        metrics.requests.record("GET", "/", 200, 1.0, UNSAMPLED)
        metrics.record_function("f", "ok", 1.0)
        families = list(registry.collect())
        return [s.name for each in families for s in each.samples if s.name.endswith("_created")]

    assert {"app_request_count_created", "app_function_duration_ms_created"} < set(created())
    monkeypatch.setattr("prometheus_client.metrics._use_created", False)
    assert created() == []


def test_name_that_exists_is_refused() -> None:
    """As with prometheus_client's own metrics, rather than a page with a family twice."""
    registry = CollectorRegistry()
    Counter("app_request_count", "An application's.", registry=registry)
    with pytest.raises(ValueError, match="app_request_count"):
        Metrics(registry)


def test_samples_are_of_the_time_at_which_they_were_collected() -> None:
    """They are made later, off the event loop, and read as a list is."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.record_function("f", "ok", 1.0)
    (family,) = [each for each in registry.collect() if each.name == "app_function_duration_ms"]
    metrics.record_function("f", "ok", 1.0)
    metrics.record_function("g", "ok", 1.0)
    assert {sample.labels["function"] for sample in family.samples} == {"f"}
    assert [s.value for s in family.samples if s.name == "app_function_duration_ms_count"] == [1]
    assert family.samples[-1] == list(family.samples)[len(family.samples) - 1]
    assert family.samples[:2] == list(family.samples)[:2]


def test_no_observation_of_racing_threads_is_lost() -> None:
    """And each reading is of one moment: its sum belongs to its counts."""
    series = HistogramSeries((1, 2))
    done = threading.Event()
    torn: list[Any] = []

    def read() -> None:
        while not done.is_set():
            reading = series.read()
            if reading.total != sum(reading.counts) * 1.5:
                torn.append(reading)

    def observe() -> None:
        for _ in range(20_000):
            series.observe(1.5)

    reader = threading.Thread(target=read)
    threads = [threading.Thread(target=observe) for _ in range(4)]
    for each in (reader, *threads):
        each.start()
    for each in threads:
        each.join(60)
    done.set()
    reader.join(60)
    assert series.read().counts == [0, 80_000, 0]
    assert torn == []


def test_signal_handler_may_record_what_it_interrupts() -> None:
    """The handler runs in the thread that holds the lock, which it must not wait for."""
    series = HistogramSeries((1,))
    before = signal.signal(signal.SIGUSR1, lambda *_: series.observe(0.5))
    try:
        with series._lock:
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert series.read().counts == [1, 0]


def test_unsampled_span_is_no_exemplar() -> None:
    """Its trace could not be opened."""
    assert exemplar_of(UNSAMPLED, 1.0) is None
    exemplar = exemplar_of(SAMPLED, 1.5)
    assert exemplar is not None
    assert exemplar[:3] == (0xAB, 0xCD, 1.5)
