"""The dashboards' queries, and the names of metrics that are not the library's.

With several workers behind one `/metrics`, each has its own series, with a `worker` label, so every query
aggregates.
"""

from dataclasses import dataclass

from benchmarks.calibration import RequestCost
from telemetry.export.cpu import Stage
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

# The Collector's own metrics, which Jaeger also has, because it is built from the same components.
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

# Metrics of any Python process.
CPU = "process_cpu_seconds_total"
BUSY = 5
"""The rate, in spans per second, above which the CPU time per span is meaningful."""
RSS = "process_resident_memory_bytes"
STAGES_OF_SPANS = (Stage.ENCODE, Stage.SEND, Stage.GRPC)
"""The stages that spans cost; pushed metrics are not theirs."""

# Pushed by loadtest: Locust's statistics, and the experiments' activities.
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
        expression: the PromQL expression.
        legend: the name of its series; `{{label}}` is replaced by a label's value.
        has_exemplars: whether its exemplars are shown as dots.
    """

    expression: str
    legend: str
    has_exemplars: bool = False


def rate(metric: str, labels: str = "", *, by: str = "", over: str = INTERVAL) -> str:
    """Returns a query for the summed rate per second of a counter."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (rate({metric}{{{labels}}}[{over}]))"


def total(metric: str, labels: str = "", *, by: str = "") -> str:
    """Returns a query for the sum of a gauge or counter."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} ({metric}{{{labels}}})"


def increase(metric: str, labels: str = "") -> str:
    """Returns a query for a counter's increase in the displayed time range."""
    return f"sum(increase({metric}{{{labels}}}[{RANGE}]))"


def telemetry_cpu_of_a_span(labels: str) -> str:
    """Returns a query for the CPU time of each service's telemetry threads per exported span.

    It gives nothing at or below `BUSY` spans per second, where idle cost would dominate.
    """
    stages = f'{names.STAGE}=~"{"|".join(STAGES_OF_SPANS)}"'
    cpu = rate(f"{names.CPU_SECONDS}_total", f"{labels},{stages}", by="job", over="1m")
    return f"{cpu} / ({rate(f'{names.EXPORT_BATCH_SPANS}_sum', labels, by='job', over='1m')} > {BUSY})"


def telemetry_share(labels: str) -> str:
    """Returns a query for the share of the processes' CPU time in telemetry's own threads, by stage."""
    cpu = rate(f"{names.CPU_SECONDS}_total", labels, by=names.STAGE)
    return f"{cpu} / scalar({rate(CPU, labels)})"


def calibrated_share(labels: str, cost: RequestCost) -> str:
    """Returns a query for the share that telemetry uses in the requests' threads, by the benchmark's figures.

    As `RequestCost.seconds`, for services whose sampler has a ratio: `sampled = requests * ratio`, so
    `cost = sampled * (sampled_us - unsampled_us - span_us) + requests * unsampled_us + spans * span_us`.
    """
    requests = rate(f"{names.REQUEST_COUNT}_total", labels, by="job")
    sampled = f"sum({requests} * min by (job) ({names.SAMPLING_RATIO}{{{labels}}}))"
    used = (
        f"{sampled} * {cost.sampled_us - cost.unsampled_us - cost.span_us:.1f}"
        f" + sum({requests}) * {cost.unsampled_us:.1f}"
        f" + {rate(f'{names.SPANS_ENDED}_total', labels)} * {cost.span_us:.1f}"
    )
    return f"({used}) / 1e6 / {rate(CPU, labels)}"


def quantile(share: float, histogram: str, labels: str = "", *, by: str = "", over: str = INTERVAL) -> str:
    """Returns a query for a quantile of a histogram."""
    buckets = rate(f"{histogram}_bucket", labels, by=f"{by}, le" if by else "le", over=over)
    return f"histogram_quantile({share:g}, {buckets})"


def label(name: str) -> str:
    """Returns a label's placeholder for a legend."""
    return f"{{{{{name}}}}}"
