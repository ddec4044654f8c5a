"""Queries of the dashboards, and the names of metrics that are not the library's.

With several workers behind one `/metrics` each series comes once for each of them, under a `worker`
label: every query therefore aggregates.
"""

from dataclasses import dataclass

from telemetry.metrics import names

INTERVAL = "$__rate_interval"
RANGE = "$__range"

# Recorded by prometheus/rules/recording.yaml.
BURN_RATE = "job:slo_burn_rate:ratio"
SPANS_ENDED_RATE = "job:telemetry_spans_ended:rate1m"
SPANS_SETTLED_RATE = "job_outcome:telemetry_spans:rate1m"
SPANS_UNACCOUNTED = "job:telemetry_spans_unaccounted:sum"
BREAKER_CODE = "job:telemetry_breaker_state:code"
SPOOL_FULL_IN_SECONDS = "job:telemetry_spool_full_in:seconds"
STAGE_RATE = "stage:spans:rate1m"

# The Collector's own, and those of Jaeger, which is made of the same parts.
RECEIVED = "otelcol_receiver_accepted_spans_total"
REFUSED = "otelcol_receiver_refused_spans_total"
FAILED = "otelcol_receiver_failed_spans_total"
RECEIVED_POINTS = "otelcol_receiver_accepted_metric_points_total"
PROCESSED_IN = "otelcol_processor_incoming_items_total"
PROCESSED_OUT = "otelcol_processor_outgoing_items_total"
LIMITER_ACCEPTED = "otelcol_processor_memory_limiter_accepted_spans_total"
LIMITER_REFUSED = "otelcol_processor_memory_limiter_refused_spans_total"
SENT = "otelcol_exporter_sent_spans_total"
SEND_FAILED = "otelcol_exporter_send_failed_spans_total"
SENT_POINTS = "otelcol_exporter_sent_metric_points_total"
QUEUE_SIZE = "otelcol_exporter_queue_size"
QUEUE_CAPACITY = "otelcol_exporter_queue_capacity"
IN_FLIGHT = "otelcol_exporter_in_flight_requests"
COLLECTOR_CPU = "otelcol_process_cpu_seconds_total"
COLLECTOR_RSS = "otelcol_process_memory_rss_bytes"
COLLECTOR_HEAP = "otelcol_process_runtime_heap_alloc_bytes"
COLLECTOR_UPTIME = "otelcol_process_uptime_seconds_total"
TAIL = "otelcol_processor_tail_sampling"

# Of any Python process.
CPU = "process_cpu_seconds_total"
BUSY = 5
"""Spans a second from which on processor time is compared with them."""
RSS = "process_resident_memory_bytes"

# Pushed by loadtest: Locust's statistics, and what its experiments do.
LOCUST_REQUESTS = "locust_requests_total"
LOCUST_LATENCY = "locust_request_latency_seconds"
LOCUST_START_DELAY = "locust_start_delay_seconds"
LOCUST_USERS = "locust_users"
LOCUST_INTENDED_RATE = "locust_intended_rate"
ACTIVITY = "loadtest_activity"


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel.

    Args:
        expression: PromQL.
        legend: what its series are called; `{{label}}` is a label's value.
        has_exemplars: whether its exemplars are shown as dots.
    """

    expression: str
    legend: str
    has_exemplars: bool = False


def rate(metric: str, labels: str = "", *, by: str = "", over: str = INTERVAL) -> str:
    """A counter's increase a second, summed."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (rate({metric}{{{labels}}}[{over}]))"


def total(metric: str, labels: str = "", *, by: str = "") -> str:
    """A gauge or counter, summed."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} ({metric}{{{labels}}})"


def increase(metric: str, labels: str = "") -> str:
    """By how much a counter grew in the time that is shown."""
    return f"sum(increase({metric}{{{labels}}}[{RANGE}]))"


def cpu_of_a_span(labels: str) -> str:
    """Processor time of each service's processes for each span that ended.

    Nothing below `BUSY` spans a second, where it would be the cost of being there and not of spans.
    """
    cpu = rate(CPU, labels, by="job", over="1m")
    return f"{cpu} / ({rate(f'{names.SPANS_ENDED}_total', labels, by='job', over='1m')} > {BUSY})"


def quantile(share: float, histogram: str, labels: str = "", *, by: str = "", over: str = INTERVAL) -> str:
    """A quantile of a histogram."""
    buckets = rate(f"{histogram}_bucket", labels, by=f"{by}, le" if by else "le", over=over)
    return f"histogram_quantile({share:g}, {buckets})"


def label(name: str) -> str:
    """A label's value, in a legend."""
    return f"{{{{{name}}}}}"
