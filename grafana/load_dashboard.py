"""The dashboard "Load test": Locust's figures next to the service's and the pipeline's."""

from collections.abc import Sequence

from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import units

from grafana.cpu_panels import telemetry_cpu
from grafana.dashboard import dashboard
from grafana.panels import (
    BAD,
    FULL,
    QUARTER,
    SPANS_PER_SECOND,
    WARNING,
    Panel,
    breaker_timeline,
    figure,
    time_series,
)
from grafana.queries import (
    BREAKER_CODE,
    CPU,
    LOCUST_INTENDED_RATE,
    LOCUST_LATENCY,
    LOCUST_REQUESTS,
    LOCUST_START_DELAY,
    LOCUST_USERS,
    STAGE_RATE,
    Query,
    label,
    quantile,
    rate,
    total,
)
from telemetry.metrics import names

_SHOP = 'job=~"storefront|inventory"'
_STOREFRONT = 'job="storefront"'
_FAILED = 'outcome="failed"'


def load_dashboard() -> model.Dashboard:
    """Builds the dashboard."""
    return dashboard(
        "Load test",
        "load-test",
        "What Locust asks for and sees, and what it does to the service and to its telemetry. Purple bands "
        "are faults of `make outage` and cells of `make tune`.",
        variables=[],
        rows={"Locust": _locust(), "Service": _service(), "Telemetry": _telemetry()},
    )


def _locust() -> Sequence[Panel]:
    failed = rate(LOCUST_REQUESTS, _FAILED)
    requests = rate(LOCUST_REQUESTS)
    return (
        figure(
            "Users",
            "Shoppers at the same time.",
            units.Short,
            Query(total(LOCUST_USERS), "users"),
            width=QUARTER,
        ),
        figure(
            "Requests a second",
            "Requests that ended, a second.",
            units.RequestsPerSecond,
            Query(requests, "requests"),
            width=QUARTER,
        ),
        figure(
            "Failure ratio",
            "Share of requests that did not end as a shopper expects.",
            units.PercentUnit,
            Query(f"{failed} / {requests}", "failures"),
            steps={0.001: WARNING, 0.01: BAD},
            width=QUARTER,
        ),
        figure(
            "p99",
            "99 of 100 requests ended within this time of when they were due.",
            units.Seconds,
            Query(quantile(0.99, LOCUST_LATENCY), "p99"),
            steps={0.25: WARNING, 1: BAD},
            width=QUARTER,
        ),
        time_series(
            "Requests: wanted and made",
            "Requests a second that were asked for and that ended. Below what was asked for, service or "
            "generator is too slow.",
            units.RequestsPerSecond,
            Query(rate(LOCUST_REQUESTS, by="name"), label("name")),
            Query(total(LOCUST_INTENDED_RATE), "wanted"),
            is_stacked=True,
            limits=["wanted"],
        ),
        time_series(
            "Latency as a shopper sees it",
            "From when a request was due to its end, so that a service that hangs shows.",
            units.Seconds,
            Query(quantile(0.5, LOCUST_LATENCY), "p50"),
            Query(quantile(0.95, LOCUST_LATENCY), "p95"),
            Query(quantile(0.99, LOCUST_LATENCY), "p99"),
            steps={0.25: WARNING, 1: BAD},
        ),
        time_series(
            "Failures",
            "Requests a second that did not end as a shopper expects.",
            units.RequestsPerSecond,
            Query(rate(LOCUST_REQUESTS, _FAILED, by="name"), label("name")),
            steps={0.01: BAD},
        ),
        time_series(
            "Requests sent late",
            "How late requests were sent after they were due: much, and the generator is the bottleneck.",
            units.Seconds,
            Query(quantile(0.99, LOCUST_START_DELAY), "p99"),
            steps={0.1: WARNING, 0.5: BAD},
        ),
    )


def _service() -> Sequence[Panel]:
    return (
        time_series(
            "Requests answered",
            "Requests a second, as the services count them.",
            units.RequestsPerSecond,
            Query(rate(f"{names.REQUEST_COUNT}_total", _SHOP, by="job"), label("job")),
        ),
        time_series(
            "Latency as the storefront sees it",
            "From a request's arrival to the end of its answer. What a shopper sees on top of it is waiting.",
            units.Milliseconds,
            Query(quantile(0.5, names.REQUEST_LATENCY_MS, _STOREFRONT), "p50"),
            Query(quantile(0.95, names.REQUEST_LATENCY_MS, _STOREFRONT), "p95"),
            Query(quantile(0.99, names.REQUEST_LATENCY_MS, _STOREFRONT), "p99", has_exemplars=True),
            steps={250: WARNING, 1_000: BAD},
        ),
        time_series(
            "CPU",
            "Processor time of the services: 100 % is one core.",
            units.PercentUnit,
            Query(rate(CPU, _SHOP, by="job"), label("job")),
        ),
    )


def _telemetry() -> Sequence[Panel]:
    return (
        breaker_timeline(
            "Breaker state",
            "The circuit breaker of each service; of several processes the one that is furthest from closed.",
            Query(f"{BREAKER_CODE}{{{_SHOP}}}", label("job")),
        ),
        time_series(
            "Spans a second at each stage",
            "The flow of spans from the services to Jaeger.",
            SPANS_PER_SECOND,
            Query(STAGE_RATE, label("stage")),
        ),
        *telemetry_cpu(_SHOP),
        time_series(
            "Spans waiting",
            "Ended spans that are not sent yet, in memory and on disk.",
            units.Short,
            Query(
                total(names.SPANS_PENDING, _SHOP, by=f"job, {names.PLACE}"),
                f"{label('job')}: {label(names.PLACE)}",
            ),
            width=FULL // 2,
        ),
    )
