"""Readings of metrics pages, and the rates between them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.rates import quantile_ms, rates, request_cost
from console.readings import Reading, Samples, read_collector, read_jaeger, read_service
from telemetry.export.breaker import BreakerState

TWO_WORKERS = """\
app_request_count_total{method="GET",route="/",status_code="200",worker="0"} 10
app_request_count_total{method="GET",route="/",status_code="200",worker="1"} 20
app_request_latency_ms_bucket{le="10.0",worker="0"} 5
app_request_latency_ms_bucket{le="10.0",worker="1"} 15
app_request_latency_ms_bucket{le="+Inf",worker="0"} 10
app_request_latency_ms_bucket{le="+Inf",worker="1"} 20
telemetry_spans_ended_total{worker="0"} 100
telemetry_spans_ended_total{worker="1"} 50
telemetry_spans_total{outcome="delivered",worker="0"} 90
telemetry_spans_total{outcome="delivered",worker="1"} 40
telemetry_spans_total{outcome="rejected",worker="0"} 0
telemetry_spans_total{outcome="dropped_queue_full",worker="1"} 3
telemetry_spans_pending{place="memory",worker="0"} 10
telemetry_spans_pending{place="memory",worker="1"} 2
telemetry_spans_pending{place="spool",worker="1"} 5
telemetry_breaker_state{state="closed",worker="0"} 1
telemetry_breaker_state{state="open",worker="0"} 0
telemetry_breaker_state{state="closed",worker="1"} 0
telemetry_breaker_state{state="open",worker="1"} 1
telemetry_queue_capacity{worker="0"} 2048
telemetry_queue_capacity{worker="1"} 2048
telemetry_batch_size_limit{worker="0"} 512
telemetry_batch_size_limit{worker="1"} 512
telemetry_sampling_ratio{worker="0"} 0.5
telemetry_sampling_ratio{worker="1"} 0.5
telemetry_export_batch_spans_sum{worker="0"} 60
telemetry_export_batch_spans_sum{worker="1"} 40
telemetry_cpu_seconds_total{stage="encode",worker="0"} 0.2
telemetry_cpu_seconds_total{stage="encode",worker="1"} 0.1
telemetry_cpu_seconds_total{stage="grpc",worker="1"} 0.05
process_cpu_seconds_total{worker="0"} 1.5
process_cpu_seconds_total{worker="1"} 2.5
"""


def reading(at: float, **changes: float) -> Reading:
    """Returns a reading of the page above, with some numbers changed."""
    page = TWO_WORKERS
    for name, value in changes.items():
        page = page.replace(f'{name}{{worker="0"}} ', f'{name}{{worker="0"}} {value:g} # ')
    return Reading(at, {"storefront": read_service(page)})


def test_workers_are_added_up_and_the_worst_breaker_counts() -> None:
    """All workers of a service are read as one."""
    service = read_service(TWO_WORKERS)
    assert (service.requests, service.ended, service.delivered) == (30, 150, 130)
    assert (service.in_memory, service.spooled, service.waiting) == (12, 5, 17)
    assert service.lost == {"queue_full": 3}
    assert service.breaker is BreakerState.OPEN
    assert (service.batch_size, service.sampling_ratio, service.workers) == (512, 0.5, 2)
    assert service.telemetry_cpu_seconds == {"encode": pytest.approx(0.3), "grpc": 0.05}
    assert service.latency_buckets_ms == {10.0: 20, math.inf: 30}


def test_collector_and_jaeger_are_read_of_their_own_pages() -> None:
    """Values are summed over receivers, transports and exporters."""
    page = """\
otelcol_receiver_accepted_spans_total{receiver="otlp",transport="grpc"} 7
otelcol_receiver_accepted_spans_total{receiver="otlp",transport="http"} 3
otelcol_exporter_queue_size{exporter="otlp_http/jaeger"} 4
otelcol_exporter_sent_spans_total{exporter="otlp_http/jaeger"} 6
"""
    collector = read_collector(page)
    assert (collector.accepted, collector.queued, collector.sent, collector.refused) == (10, 4, 6, 0)
    assert read_jaeger(page).stored == 6


def test_what_is_no_metrics_page_is_refused() -> None:
    """Another program may listen on the port."""
    with pytest.raises(ValueError, match=r".*"):
        Samples("<html>{not a page")


def test_rates_are_per_second_between_two_readings() -> None:
    """Rates are those of the service as a whole."""
    later = reading(2, telemetry_spans_ended_total=140, process_cpu_seconds_total=1.52)
    found = rates(reading(0), later)
    storefront = found.services["storefront"]
    assert storefront is not None
    assert storefront.ended == 20
    assert storefront.cpu_us_per_span is None, "nothing was exported in between"
    assert storefront.calibrated_share is None, "no request in between"
    assert storefront.p99_ms is None, "no request in between"
    assert found.accepted is None, "the Collector did not answer"


def test_cpu_of_telemetry_is_a_share_of_the_processes() -> None:
    """Measured are its own threads, over what was exported; the requests' part is the benchmark's figure."""
    page = TWO_WORKERS
    for before, after in (
        ('process_cpu_seconds_total{worker="0"} 1.5', 'process_cpu_seconds_total{worker="0"} 1.6'),
        ('stage="encode",worker="0"} 0.2', 'stage="encode",worker="0"} 0.203'),
        (
            'stage="grpc",worker="1"} 0.05',
            'stage="grpc",worker="1"} 0.051\ntelemetry_cpu_seconds_total{stage="push",worker="1"} 0.01',
        ),
        ('batch_spans_sum{worker="0"} 60', 'batch_spans_sum{worker="0"} 260'),
        ('status_code="200",worker="0"} 10', 'status_code="200",worker="0"} 30'),
        ('spans_ended_total{worker="0"} 100', 'spans_ended_total{worker="0"} 140'),
    ):
        assert before in page
        page = page.replace(before, after)
    storefront = rates(reading(0), Reading(10, {"storefront": read_service(page)})).services["storefront"]
    assert storefront is not None
    assert storefront.cpu_us_per_span == pytest.approx(20), "without what pushing metrics costs"
    assert storefront.telemetry_shares == {
        "encode": pytest.approx(0.03),
        "grpc": pytest.approx(0.01),
        "push": pytest.approx(0.1),
    }
    used = request_cost().seconds(requests=20, spans=40, sampling_ratio=0.5)
    assert storefront.calibrated_share == pytest.approx(used / 0.1)


@pytest.mark.parametrize(
    "changes", [{"process_cpu_seconds_total": 0.1}, {"telemetry_spans_ended_total": 0}], ids=str
)
def test_a_service_that_was_started_anew_has_no_rate(changes: dict[str, float]) -> None:
    """A drop in either counter shows a restart: the new process may have used as much CPU time as the old."""
    found = rates(reading(0), reading(1, **changes))
    assert found.services == {"storefront": None}


@pytest.mark.parametrize(
    ("buckets", "share", "expected"),
    [
        ({10.0: 0.0, 20.0: 100.0, math.inf: 100.0}, 0.5, 15.0),
        ({10.0: 100.0, 20.0: 100.0, math.inf: 100.0}, 0.99, 9.9),
        ({10.0: 0.0, 20.0: 0.0, math.inf: 5.0}, 0.5, 20.0),
        ({10.0: 0.0, math.inf: 0.0}, 0.5, None),
        ({}, 0.5, None),
    ],
)
def test_quantile_is_that_of_prometheus(
    buckets: dict[float, float], share: float, expected: float | None
) -> None:
    """It is linear within a bucket, the highest finite bound beyond that, and None without samples."""
    assert quantile_ms(share, buckets) == (None if expected is None else pytest.approx(expected))


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.floats(0.01, 1))
def test_quantile_lies_within_the_bounds(counts: list[int], share: float) -> None:
    """This holds for any observations."""
    bounds = [*(float(2**n) for n in range(len(counts) - 1)), math.inf]
    total, buckets = 0, {}
    for bound, count in zip(bounds, counts, strict=True):
        total += count
        buckets[bound] = float(total)
    found = quantile_ms(share, buckets)
    assert (found is None) is (total == 0)
    assert found is None or 0 <= found <= max([0.0, *bounds[:-1]])
