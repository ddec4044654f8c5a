"""The dashboard "Service": requests, objectives, functions and processes of one service."""

from collections.abc import Sequence

from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import units

from grafana.dashboard import dashboard, jaeger_variable, job_variable, route_variable
from grafana.panels import (
    BAD,
    HALF,
    WARNING,
    Panel,
    Steps,
    by_labels,
    figure,
    heatmap,
    time_series,
)
from grafana.queries import BURN_RATE, CPU, RANGE, RSS, Query, label, quantile, rate, total
from telemetry.metrics import names

_JOB = 'job="$job"'
_CHOSEN = f'{_JOB},{names.ROUTE}=~"$route"'
_REQUESTS = f"{names.REQUEST_COUNT}_total"
_ERRORS = f"{names.ERROR_COUNT}_total"
_LATENCY = names.REQUEST_LATENCY_MS
_OBJECTIVE_MS = 250
"""As in prometheus/rules/recording.yaml."""
_BURNING: Steps = {1: WARNING, 6: "dark-orange", 14.4: BAD}
"""At 1 the budget lasts exactly for the objective's period; the other steps are the alerts' thresholds."""
_FAILING: Steps = {0.005: WARNING, 0.05: BAD}
_SLOW: Steps = {_OBJECTIVE_MS: WARNING, 1_000: BAD}


def service_dashboard() -> model.Dashboard:
    """Builds the dashboard."""
    return dashboard(
        "Service",
        "service",
        "Requests, objectives, functions and processes of one service.",
        variables=[job_variable(), route_variable(), jaeger_variable()],
        rows={
            "At a glance": _glance(),
            "Requests": _requests(),
            "Objectives": _objectives(),
            "Functions": _functions(),
            "Processes": _processes(),
        },
    )


def _error_ratio(by: str = "", over: str = "$__rate_interval") -> str:
    # Before the first error there is no series: the requests times 0 replace it.
    requests = rate(_REQUESTS, _CHOSEN, by=by, over=over)
    return f"({rate(_ERRORS, _CHOSEN, by=by, over=over)} or 0 * {requests}) / {requests}"


def _glance() -> Sequence[Panel]:
    burn = f'{BURN_RATE}{{{_JOB},objective="%s",window="5m"}}'
    return (
        figure(
            "Requests a second",
            "Requests answered a second, over the chosen routes.",
            units.RequestsPerSecond,
            Query(rate(_REQUESTS, _CHOSEN), "requests"),
        ),
        figure(
            "Errors",
            "Share of requests that were answered with 5xx or ended by an exception.",
            units.PercentUnit,
            Query(_error_ratio(), "errors"),
            steps=_FAILING,
        ),
        figure(
            "p50",
            "Half of the requests took no longer.",
            units.Milliseconds,
            Query(quantile(0.5, _LATENCY, _CHOSEN), "p50"),
            steps=_SLOW,
        ),
        figure(
            "p99",
            "99 of 100 requests took no longer.",
            units.Milliseconds,
            Query(quantile(0.99, _LATENCY, _CHOSEN), "p99"),
            steps=_SLOW,
        ),
        figure(
            "Error budget burns",
            "How many times faster than its objective allows the service fails, over five minutes.",
            "suffix: x",
            Query(burn % "errors", "errors"),
            steps=_BURNING,
        ),
        figure(
            "Latency budget burns",
            f"How many times more requests than allowed took over {_OBJECTIVE_MS} ms, over five minutes.",
            "suffix: x",
            Query(burn % "latency", "latency"),
            steps=_BURNING,
        ),
    )


def _requests() -> Sequence[Panel]:
    by_operation = f"{names.METHOD}, {names.ROUTE}"
    operation = f"${{__data.fields.{names.METHOD}}}%20${{__data.fields.{names.ROUTE}:percentencode}}"
    return (
        time_series(
            "Request rate",
            "Requests answered a second, by route template.",
            units.RequestsPerSecond,
            Query(rate(_REQUESTS, _CHOSEN, by=names.ROUTE), label(names.ROUTE)),
        ),
        time_series(
            "Error ratio",
            "Share of a route's requests that were answered with 5xx or ended by an exception.",
            units.PercentUnit,
            Query(_error_ratio(names.ROUTE), label(names.ROUTE)),
            steps=_FAILING,
        ).axis_soft_max(0.01),
        time_series(
            "Latency",
            "Time from a request's arrival to the end of its answer, over the chosen routes. Each dot is one "
            "request: its trace opens in Jaeger.",
            units.Milliseconds,
            Query(quantile(0.5, _LATENCY, _CHOSEN), "p50"),
            Query(quantile(0.95, _LATENCY, _CHOSEN), "p95"),
            # On one query only: otherwise every dot would appear three times.
            Query(quantile(0.99, _LATENCY, _CHOSEN), "p99", has_exemplars=True),
            steps=_SLOW,
        ),
        heatmap(
            "Latency, all requests",
            "Requests a second by how long they took: two bands are two kinds, which a percentile hides.",
            units.Milliseconds,
            Query(rate(f"{_LATENCY}_bucket", _CHOSEN, by="le"), label("le")),
        ),
        time_series(
            "p99 by route",
            "99 of 100 of a route's requests took no longer.",
            units.Milliseconds,
            Query(quantile(0.99, _LATENCY, _CHOSEN, by=names.ROUTE), label(names.ROUTE)),
            steps=_SLOW,
        ),
        by_labels(
            "Slow and failing requests",
            "Each kind of request in the time that is shown; a click searches its traces in Jaeger.",
            (
                Query(quantile(0.99, _LATENCY, _CHOSEN, by=by_operation, over=RANGE), "p99"),
                units.Milliseconds,
            ),
            (Query(quantile(0.5, _LATENCY, _CHOSEN, by=by_operation, over=RANGE), "p50"), units.Milliseconds),
            (Query(rate(_REQUESTS, _CHOSEN, by=by_operation, over=RANGE), "rate"), units.RequestsPerSecond),
            (Query(_error_ratio(by_operation, RANGE), "errors"), units.PercentUnit),
            link=(
                "Traces in Jaeger",
                f"${{jaeger}}/search?service=${{job}}&operation={operation}&lookback=1h&limit=20",
            ),
            steps={"p99": _SLOW, "errors": _FAILING},
            width=HALF,
        ),
    )


def _objectives() -> Sequence[Panel]:
    burn = Query(f'{BURN_RATE}{{{_JOB},objective="%s"}}', f"over {label('window')}")
    return tuple(
        time_series(
            title,
            description,
            "suffix: x",
            Query(burn.expression % objective, burn.legend),
            steps=_BURNING,
        )
        for objective, title, description in (
            (
                "errors",
                "Error budget: burn rate",
                "How many times more often than allowed requests fail; an alert needs two windows.",
            ),
            (
                "latency",
                "Latency budget: burn rate",
                f"How many times more requests than allowed took over {_OBJECTIVE_MS} ms.",
            ),
        )
    )


def _functions() -> Sequence[Panel]:
    duration = names.FUNCTION_DURATION_MS
    return (
        time_series(
            "Calls of measured functions",
            "Calls a second of functions under measure_performance, by outcome: ok, error or cancelled.",
            units.OpsPerSecond,
            Query(
                rate(f"{duration}_count", _JOB, by=f"{names.FUNCTION}, {names.OUTCOME}"),
                f"{label(names.FUNCTION)} {label(names.OUTCOME)}",
            ),
        ),
        time_series(
            "Duration of measured functions, p95",
            "95 of 100 calls took no longer than this, whatever their outcome.",
            units.Milliseconds,
            Query(quantile(0.95, duration, _JOB, by=names.FUNCTION), label(names.FUNCTION)),
            steps=_SLOW,
        ),
    )


def _processes() -> Sequence[Panel]:
    return (
        time_series(
            "CPU",
            "Processor time that the service's processes use, and telemetry's own threads in them: 100 % is "
            "one core.",
            units.PercentUnit,
            Query(rate(CPU, _JOB), "all processes"),
            Query(rate(f"{names.CPU_SECONDS}_total", _JOB), "telemetry's threads"),
        ),
        time_series(
            "Memory",
            "Resident memory of the service's processes.",
            units.BytesIEC,
            Query(total(RSS, _JOB), "all processes"),
        ),
    )
