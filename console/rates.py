"""Calculates rates per second between two readings. A part that restarted in between has no rates."""

from dataclasses import dataclass

from console.readings import Reading, ServiceReading
from grafana.queries import BUSY


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
    """CPU time of the whole service per ended span; None while it idles."""
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
    return ServiceRates(
        requests=(after.requests - before.requests) / seconds,
        errors=(after.errors - before.errors) / seconds,
        p50_ms=quantile_ms(0.5, buckets),
        p99_ms=quantile_ms(0.99, buckets),
        ended=ended / seconds,
        delivered=(after.delivered - before.delivered) / seconds,
        lost=(sum(after.lost.values()) - sum(before.lost.values())) / seconds,
        cpu_us_per_span=(
            (after.cpu_seconds - before.cpu_seconds) / ended * 1e6 if ended > BUSY * seconds else None
        ),
        freshness_seconds=(after.age_seconds - before.age_seconds) / batches if batches > 0 else None,
        spans_per_export=(after.exported_spans - before.exported_spans) / exports if exports > 0 else None,
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
