"""The panels of what telemetry costs, which two dashboards share."""

from grafana_foundation_sdk.models import units

from benchmarks.calibration import read_request_cost
from grafana.panels import Panel, time_series
from grafana.queries import (
    Query,
    calibrated_share,
    label,
    telemetry_cpu_of_a_span,
    telemetry_share,
)
from telemetry.metrics import names


def telemetry_cpu(labels: str) -> tuple[Panel, ...]:
    """Builds the panels for the services that these labels select."""
    cost = read_request_cost()
    return (
        time_series(
            "CPU of telemetry",
            "Share of the services' processor time. Measured: telemetry's own threads and gRPC's, by what "
            f"they do. Not measured, but calibrated by `make bench-request`: what requests spend, {cost}.",
            units.PercentUnit,
            Query(telemetry_share(labels), label(names.STAGE)),
            Query(calibrated_share(labels, cost), "requests (calibrated)"),
            is_stacked=True,
        ),
        time_series(
            "CPU of telemetry, a span",
            "Processor time of telemetry's own threads and gRPC's for each exported span, failed attempts "
            "included: what `make tune` compares. Nothing while a service idles.",
            units.Seconds,
            Query(telemetry_cpu_of_a_span(labels), label("job")),
        ),
    )
