"""Calculates rates per second between two readings. A part that restarted in between has no rates."""

from dataclasses import dataclass
from functools import cache

from benchmarks.calibration import RequestCost, read_request_cost
from console.readings import Reading, ServiceReading
from grafana.queries import BUSY, STAGES_OF_SPANS


@cache
def request_cost() -> RequestCost:
    """Returns what telemetry adds to a request's own thread, as the benchmark's committed result has it."""
    return read_request_cost()


@dataclass(frozen=True, slots=True)
class ServiceRates:
    """The rates of a service; counts are per second."""

    requests: float
    errors: float
    p50_ms: float | None
    """None without requests."""
    p99_ms: float | None
    ended: float
    delivered: float
    lost: float
    cpu_us_per_span: float | None
    """CPU time of telemetry's own threads per exported span; None while it idles."""
    telemetry_shares: dict[str, float]
    """The parts of the service's CPU time that telemetry's own threads used, by stage, from 0 to 1."""
    calibrated_share: float | None
    """The part that telemetry uses in the requests' threads, by `make bench-request`; None while it idles."""
    freshness_seconds: float | None
    """Mean age of a batch's first span when the Collector accepted the batch; None without batches."""
    spans_per_export: float | None


@dataclass(frozen=True, slots=True)
class Rates:
    """The rates of all parts; None for an unknown one."""

    services: dict[str, ServiceRates | None]
    accepted: float | None
    sent: float | None
    stored: float | None


def rates(before: Reading, after: Reading) -> Rates:
    """Returns the rates from one reading to a later one."""
    seconds = after.at - before.at
    earlier, collector = before.collector, after.collector
    accepted = sent = stored = None
    if earlier is not None and collector is not None:
        accepted = _rate(earlier.accepted, collector.accepted, seconds)
        sent = _rate(earlier.sent, collector.sent, seconds)
    if before.jaeger is not None and after.jaeger is not None:
        stored = _rate(before.jaeger.stored, after.jaeger.stored, seconds)
    return Rates(
        services={
            name: _service(before.services.get(name), service, seconds)
            for name, service in after.services.items()
        },
        accepted=accepted,
        sent=sent,
        stored=stored,
    )


def quantile_ms(share: float, buckets: dict[float, float]) -> float | None:
    """Calculates a quantile of a histogram as Prometheus does: by linear interpolation in its bucket.

    Args:
        share: the quantile, from 0 to 1.
        buckets: the cumulative counts by upper bound; the last bound is infinite.

    Returns:
        The quantile; the last finite bound if it lies beyond that; None without observations.
    """
    bounds = sorted(buckets)
    total = buckets[bounds[-1]] if bounds else 0.0
    if total <= 0:
        return None
    rank = share * total
    lower_bound, lower_count = 0.0, 0.0
    for bound in bounds:
        count = buckets[bound]
        if count >= rank:
            if bound == float("inf"):
                return lower_bound
            inside = count - lower_count
            return lower_bound + (bound - lower_bound) * ((rank - lower_count) / inside if inside else 1.0)
        lower_bound, lower_count = bound, count
    return lower_bound


def _service(
    before: ServiceReading | None, after: ServiceReading | None, seconds: float
) -> ServiceRates | None:
    if before is None or after is None or seconds <= 0 or _is_anew(before, after):
        return None
    buckets = {
        bound: count - before.latency_buckets_ms.get(bound, 0.0)
        for bound, count in after.latency_buckets_ms.items()
    }
    ended = after.ended - before.ended
    batches = after.delivered_batches - before.delivered_batches
    exports = after.exports - before.exports
    exported = after.exported_spans - before.exported_spans
    cpu_seconds = after.cpu_seconds - before.cpu_seconds
    telemetry_seconds = {
        stage: used - before.telemetry_cpu_seconds.get(stage, 0.0)
        for stage, used in after.telemetry_cpu_seconds.items()
    }
    requests = after.requests - before.requests
    calibrated_seconds = request_cost().seconds(
        requests=requests, spans=ended, sampling_ratio=after.sampling_ratio
    )
    return ServiceRates(
        requests=requests / seconds,
        errors=(after.errors - before.errors) / seconds,
        p50_ms=quantile_ms(0.5, buckets),
        p99_ms=quantile_ms(0.99, buckets),
        ended=ended / seconds,
        delivered=(after.delivered - before.delivered) / seconds,
        lost=(sum(after.lost.values()) - sum(before.lost.values())) / seconds,
        cpu_us_per_span=(
            sum(telemetry_seconds.get(stage, 0.0) for stage in STAGES_OF_SPANS) / exported * 1e6
            if exported > BUSY * seconds
            else None
        ),
        telemetry_shares=(
            {stage: used / cpu_seconds for stage, used in telemetry_seconds.items()}
            if cpu_seconds > 0
            else {}
        ),
        calibrated_share=calibrated_seconds / cpu_seconds if requests > 0 and cpu_seconds > 0 else None,
        freshness_seconds=(after.age_seconds - before.age_seconds) / batches if batches > 0 else None,
        spans_per_export=exported / exports if exports > 0 else None,
    )


def _is_anew(before: ServiceReading, after: ServiceReading) -> bool:
    # CPU time alone is not enough: a start costs as much of it as a quiet minute.
    return (
        after.cpu_seconds < before.cpu_seconds
        or after.requests < before.requests
        or after.ended < before.ended
        or after.delivered < before.delivered
    )


def _rate(before: float, after: float, seconds: float) -> float | None:
    return (after - before) / seconds if seconds > 0 and after >= before else None
