"""The dashboard "Service": requests, functions, spans and processes of one service.

With several workers behind one `/metrics` each series comes once for each of them, under a `worker`
label: every query therefore aggregates.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import prometheus, statetimeline, timeseries
from grafana_foundation_sdk.builders.dashboard import Dashboard, FieldColor, QueryVariable, Row
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.common import (
    DataSourceRef,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    TooltipDisplayMode,
    VisibilityMode,
)

from telemetry import names
from telemetry.export.breaker import BreakerState

UID = "service"
PROMETHEUS = DataSourceRef(type_val="prometheus", uid="prometheus")

_FULL, _HALF = 24, 12
_HEIGHT = 8
_JOB = 'job="$job"'
_JOB_AND_ROUTE = f'{_JOB},{names.ROUTE}=~"$route"'
_REQUESTS = f"{names.REQUEST_COUNT}_total"
_SPANS_PER_SECOND = "suffix: spans/s"
_STATE_COLOURS = {
    BreakerState.CLOSED: "green",
    BreakerState.HALF_OPEN: "yellow",
    BreakerState.OPEN: "red",
    BreakerState.FORCED_OPEN: "purple",
    BreakerState.DISABLED: "gray",
}


@dataclass(frozen=True, slots=True)
class _Query:
    expression: str
    legend: str
    has_exemplars: bool = False


def service_dashboard() -> model.Dashboard:
    """The dashboard, each panel with its place and its number."""
    builder = (
        Dashboard("Service")
        .uid(UID)
        .description("Requests, functions, spans and processes of one service.")
        .tags(["telemetry"])
        .readonly()
        .time("now-15m", "now")
        .refresh("5s")
        .timezone("browser")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .with_variable(_job_variable())
        .with_variable(_route_variable())
    )
    for title, panels in (
        ("Requests", _request_panels()),
        ("Functions", _function_panels()),
        ("Spans: where each one went", _span_panels()),
        ("Processes", _process_panels()),
    ):
        builder.with_row(Row(title))
        for panel in panels:
            builder.with_panel(panel)
    made = builder.build()
    for number, panel_or_row in enumerate(made.panels or (), start=1):
        panel_or_row.id_val = number
    return made


def _job_variable() -> QueryVariable:
    return (
        _variable("job", "Service", f"label_values({_REQUESTS}, job)")
        .description("The service that is looked at.")
        .current(model.VariableOption(selected=True, text="storefront", value="storefront"))
    )


def _route_variable() -> QueryVariable:
    return (
        _variable("route", "Route", f"label_values({_REQUESTS}{{{_JOB}}}, {names.ROUTE})")
        .description("The routes that the panels of requests show.")
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".+")
        .current(model.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def _variable(name: str, label: str, query: str) -> QueryVariable:
    # Services and routes appear with their first request: asked for again whenever the page refreshes.
    return (
        QueryVariable(name)
        .label(label)
        .query(query)
        .datasource(PROMETHEUS)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
    )


def _request_panels() -> Sequence[timeseries.Panel]:
    requests = _rate(names.ROUTE, _REQUESTS, _JOB_AND_ROUTE)
    errors = _rate(names.ROUTE, f"{names.ERROR_COUNT}_total", _JOB_AND_ROUTE)
    buckets = _rate("le", f"{names.REQUEST_LATENCY_MS}_bucket", _JOB_AND_ROUTE)
    return (
        _time_series(
            "Request rate",
            "Requests answered a second, by route template.",
            units.RequestsPerSecond,
            [_Query(requests, _label(names.ROUTE))],
        ).span(_HALF),
        _time_series(
            "Error ratio",
            "Share of a route's requests that were answered with 5xx or ended by an exception.",
            units.PercentUnit,
            # No error yet, no series: the route's requests times 0 stand in.
            [_Query(f"({errors} or 0 * {requests}) / {requests}", _label(names.ROUTE))],
        )
        .span(_HALF)
        .axis_soft_max(0.05),
        _time_series(
            "Latency",
            "Time from a request's arrival to the end of its answer, over the chosen routes. Each dot is one "
            "request: its trace opens in Jaeger.",
            units.Milliseconds,
            [
                _Query(f"histogram_quantile(0.5, {buckets})", "p50"),
                _Query(f"histogram_quantile(0.95, {buckets})", "p95"),
                # On one query only: on each, every dot would be there three times.
                _Query(f"histogram_quantile(0.99, {buckets})", "p99", has_exemplars=True),
            ],
        ).span(_FULL),
    )


def _function_panels() -> Sequence[timeseries.Panel]:
    duration = names.FUNCTION_DURATION_MS
    calls = _rate(f"{names.FUNCTION}, {names.OUTCOME}", f"{duration}_count", _JOB)
    buckets = _rate(f"{names.FUNCTION}, le", f"{duration}_bucket", _JOB)
    return (
        _time_series(
            "Calls of measured functions",
            "Calls a second of functions under measure_performance, by outcome: ok, error or cancelled.",
            units.OpsPerSecond,
            [_Query(calls, f"{_label(names.FUNCTION)} {_label(names.OUTCOME)}")],
        ).span(_HALF),
        _time_series(
            "Duration of measured functions, p95",
            "95 of 100 calls took no longer than this, whatever their outcome.",
            units.Milliseconds,
            [_Query(f"histogram_quantile(0.95, {buckets})", _label(names.FUNCTION))],
        ).span(_HALF),
    )


def _span_panels() -> Sequence[timeseries.Panel | statetimeline.Panel]:
    settled = _rate(names.OUTCOME, f"{names.SPANS}_total", _JOB)
    export_buckets = _rate("le", f"{names.EXPORT_DURATION_SECONDS}_bucket", _JOB)
    transitions = f"sum by ({names.TO}) ({names.BREAKER_TRANSITIONS}_total{{{_JOB}}})"
    none_yet = f'label_replace(vector(0), "{names.TO}", "{BreakerState.OPEN.value}", "", "")'
    return (
        _time_series(
            "Spans by what became of them",
            "Ended spans whose fate is settled: delivered to the Collector, rejected, or dropped and why.",
            _SPANS_PER_SECOND,
            [_Query(settled, _label(names.OUTCOME))],
        ).span(_HALF),
        _time_series(
            "Spans pending",
            "Ended spans whose fate is open, and how many fit in memory. Above that new spans are dropped.",
            units.Short,
            [
                _Query(
                    f"sum by ({names.PLACE}) ({names.SPANS_PENDING}{{{_JOB}}})", f"in {_label(names.PLACE)}"
                ),
                _Query(f"sum({names.QUEUE_CAPACITY}{{{_JOB}}})", "capacity"),
            ],
        )
        .override_by_name(
            "capacity",
            [
                model.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [8, 8]}),
                model.DynamicConfigValue("custom.fillOpacity", 0),
                model.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": "text"}),
            ],
        )
        .span(_HALF),
        _breaker_state_panel().span(_FULL),
        _time_series(
            "Breaker transitions",
            "Changes of the circuit breaker since the processes started, by the state that they led to.",
            units.Short,
            # The sum and not its increase: the first change makes the series, and no increase shows it.
            [_Query(f"{transitions} or on() {none_yet}", f"to {_label(names.TO)}")],
        )
        .decimals(0)
        .span(_HALF),
        _time_series(
            "Export duration",
            "How long one attempt to send a batch to the Collector took, failed attempts included.",
            units.Seconds,
            [
                _Query(f"histogram_quantile(0.5, {export_buckets})", "p50"),
                _Query(f"histogram_quantile(0.95, {export_buckets})", "p95"),
            ],
        ).span(_HALF),
    )


def _breaker_state_panel() -> statetimeline.Panel:
    query = _Query(f"sum by ({names.STATE}) ({names.BREAKER_STATE}{{{_JOB}}})", _label(names.STATE))
    panel = (
        statetimeline.Panel()
        .title("Breaker state")
        .description("The circuit breaker's state: a bar while any of the service's processes is in it.")
        .datasource(PROMETHEUS)
        .unit(units.Short)
        .decimals(0)
        .height(_HEIGHT)
        .color_scheme(FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
        .fill_opacity(80)
        .show_value(VisibilityMode.NEVER)
        .legend(common_builders.VizLegendOptions().show_legend(show_legend=False))
        .targets([_target(query, "A")])
    )
    for state, colour in _STATE_COLOURS.items():
        steps = [{"value": None, "color": "transparent"}, {"value": 1, "color": colour}]
        panel.override_by_name(
            state.value, [model.DynamicConfigValue("thresholds", {"mode": "absolute", "steps": steps})]
        )
    return panel


def _process_panels() -> Sequence[timeseries.Panel]:
    return (
        _time_series(
            "CPU",
            "Processor time that the service's processes use: 100 % is one core.",
            units.PercentUnit,
            [_Query(f"sum(rate(process_cpu_seconds_total{{{_JOB}}}[$__rate_interval]))", "all processes")],
        ).span(_HALF),
        _time_series(
            "Memory",
            "Resident memory of the service's processes.",
            units.BytesIEC,
            [_Query(f"sum(process_resident_memory_bytes{{{_JOB}}})", "all processes")],
        ).span(_HALF),
    )


def _rate(by: str, metric: str, labels: str) -> str:
    return f"sum by ({by}) (rate({metric}{{{labels}}}[$__rate_interval]))"


def _label(name: str) -> str:
    """A label's value, in a legend."""
    return f"{{{{{name}}}}}"


def _time_series(title: str, description: str, unit: str, queries: Sequence[_Query]) -> timeseries.Panel:
    return (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(PROMETHEUS)
        .unit(unit)
        .min(0)
        .height(_HEIGHT)
        .fill_opacity(10)
        .show_points(VisibilityMode.NEVER)
        .legend(
            common_builders.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(show_legend=True)
        )
        .tooltip(
            common_builders.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING)
        )
        .targets([_target(query, ref_id) for query, ref_id in zip(queries, "ABC", strict=False)])
    )


def _target(query: _Query, ref_id: str) -> prometheus.Dataquery:
    return (
        prometheus.Dataquery()
        .ref_id(ref_id)
        .datasource(PROMETHEUS)
        .expr(query.expression)
        .legend_format(query.legend)
        .exemplar(query.has_exemplars)
        .range()
    )
