"""The dashboard "Collector": what it receives, samples, queues and sends, and Jaeger behind it."""

from collections.abc import Sequence

from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import units

from grafana.dashboard import dashboard
from grafana.panels import BAD, FULL, HALF, SPANS_PER_SECOND, THIRD, WARNING, Panel, figure, time_series
from grafana.queries import (
    COLLECTOR_CPU,
    COLLECTOR_HEAP,
    COLLECTOR_RSS,
    COLLECTOR_UPTIME,
    FAILED,
    IN_FLIGHT,
    LIMITER_ACCEPTED,
    LIMITER_REFUSED,
    QUEUE_CAPACITY,
    QUEUE_SIZE,
    RECEIVED,
    RECEIVED_POINTS,
    REFUSED,
    SEND_FAILED,
    SENT,
    SENT_POINTS,
    TAIL,
    Query,
    label,
    quantile,
    rate,
    total,
)

_COLLECTOR, _JAEGER = 'job="collector"', 'job="jaeger"'
_ANY = {0.01: BAD}


def collector_dashboard() -> model.Dashboard:
    """Builds the dashboard."""
    return dashboard(
        "Collector",
        "collector",
        "Receivers, processors, queue and exporters of the OpenTelemetry Collector, and Jaeger behind it.",
        variables=[],
        rows={
            "At a glance": _glance(),
            "Receivers": _receivers(),
            "Processors": _processors(),
            "Tail sampling": _tail_sampling(),
            "Exporters": _exporters(),
            "Process": _process(),
            "Jaeger": _jaeger(),
        },
    )


def _glance() -> Sequence[Panel]:
    return (
        figure(
            "Up",
            "Whether Prometheus can read the Collector's own metrics.",
            "none",
            Query(f"max(up{{{_COLLECTOR}}})", "up"),
            steps={-1: BAD, 1: "green"},
        ),
        figure(
            "Running for",
            "Time since the Collector started.",
            units.Seconds,
            Query(f"max({COLLECTOR_UPTIME}{{{_COLLECTOR}}})", "uptime"),
        ),
        figure(
            "Accepted",
            "Spans accepted a second.",
            SPANS_PER_SECOND,
            Query(rate(RECEIVED, _COLLECTOR), "accepted"),
        ),
        figure(
            "Refused",
            "Spans refused a second: the services keep them and send them again.",
            SPANS_PER_SECOND,
            Query(rate(REFUSED, _COLLECTOR), "refused"),
            steps=_ANY,
        ),
        figure(
            "Queue used",
            "How full the fullest queue is.",
            units.PercentUnit,
            Query(f"max({QUEUE_SIZE}{{{_COLLECTOR}}} / {QUEUE_CAPACITY}{{{_COLLECTOR}}})", "queue"),
            steps={0.1: WARNING, 0.8: BAD},
        ),
        figure(
            "Sent",
            "Spans that Jaeger took, a second.",
            SPANS_PER_SECOND,
            Query(rate(SENT, _COLLECTOR), "sent"),
        ),
    )


def _receivers() -> Sequence[Panel]:
    by = "receiver, transport"
    legend = f"{label('receiver')} {label('transport')}"
    return (
        time_series(
            "Spans accepted",
            "Spans that were taken, a second, by how they came.",
            SPANS_PER_SECOND,
            Query(rate(RECEIVED, _COLLECTOR, by=by), legend),
            width=THIRD,
        ),
        time_series(
            "Spans refused",
            "Spans that the Collector could not take just then, and spans that failed inside it, a second.",
            SPANS_PER_SECOND,
            Query(rate(REFUSED, _COLLECTOR, by=by), f"refused {legend}"),
            Query(rate(FAILED, _COLLECTOR, by=by), f"failed {legend}"),
            steps=_ANY,
            width=THIRD,
        ),
        time_series(
            "Metric points accepted",
            "Points a second of services that push their metrics.",
            "suffix: points/s",
            Query(rate(RECEIVED_POINTS, _COLLECTOR, by=by), legend),
            width=THIRD,
        ),
    )


def _processors() -> Sequence[Panel]:
    return (
        time_series(
            "Memory limiter",
            "Spans that it let through and refused, a second.",
            SPANS_PER_SECOND,
            Query(rate(LIMITER_ACCEPTED, _COLLECTOR), "let through"),
            Query(rate(LIMITER_REFUSED, _COLLECTOR), "refused"),
        ),
        time_series(
            "Memory",
            "The memory limiter looks at the heap, and refuses above its limit (COLLECTOR_MEMORY_LIMIT_MIB).",
            units.BytesIEC,
            Query(total(COLLECTOR_HEAP, _COLLECTOR), "heap"),
            Query(total(COLLECTOR_RSS, _COLLECTOR), "resident"),
        ),
    )


def _tail_sampling() -> Sequence[Panel]:
    latency = f"{TAIL}_sampling_decision_timer_latency_milliseconds"
    return (
        time_series(
            "Traces decided",
            "Traces kept and left out, a second, with tail sampling on (TAIL_SAMPLING_PERCENTAGE).",
            "suffix: traces/s",
            Query(
                rate(f"{TAIL}_global_count_traces_sampled_total", by="sampled"), f"kept: {label('sampled')}"
            ),
            width=THIRD,
        ),
        time_series(
            "Decisions by policy",
            "Traces that each policy wanted kept, a second: errors, slow ones, and a share of the rest.",
            "suffix: traces/s",
            Query(rate(f"{TAIL}_count_traces_sampled_total", 'sampled="true"', by="policy"), label("policy")),
            width=THIRD,
        ),
        time_series(
            "Duration of decisions",
            "How long one round of decisions took, once a second.",
            units.Milliseconds,
            Query(quantile(0.5, latency), "p50"),
            Query(quantile(0.99, latency), "p99"),
            steps={500: WARNING, 1_000: BAD},
            width=THIRD,
        ),
        time_series(
            "Traces in memory",
            "Traces that are kept until they are decided: a Collector that is killed loses them.",
            units.Short,
            Query(total(f"{TAIL}_sampling_traces_on_memory"), "undecided or remembered"),
        ),
        time_series(
            "Traces given up too early",
            "Traces a second that had to go before their decision, because too many came: raise num_traces.",
            "suffix: traces/s",
            Query(rate(f"{TAIL}_sampling_trace_dropped_too_early_total"), "given up"),
            steps=_ANY,
        ),
    )


def _exporters() -> Sequence[Panel]:
    return (
        time_series(
            "Spans sent",
            "Spans that the next one took, and spans that could not be sent, a second.",
            SPANS_PER_SECOND,
            Query(rate(SENT, _COLLECTOR, by="exporter"), f"sent: {label('exporter')}"),
            Query(rate(SEND_FAILED, _COLLECTOR, by="exporter"), f"failed: {label('exporter')}"),
        ),
        time_series(
            "Queue",
            "Spans in the queue on disk, against its capacity.",
            units.Short,
            Query(total(QUEUE_SIZE, _COLLECTOR, by="exporter"), label("exporter")),
            Query(total(QUEUE_CAPACITY, _COLLECTOR), "capacity"),
            limits=["capacity"],
        ),
        time_series(
            "Requests under way",
            "Requests that were sent and not answered yet.",
            units.Short,
            Query(total(IN_FLIGHT, _COLLECTOR, by="exporter"), label("exporter")),
            steps={10: WARNING},
        ),
        time_series(
            "Metric points sent",
            "Points of the span metrics and of services that push, given to Prometheus, a second.",
            "suffix: points/s",
            Query(rate(SENT_POINTS, _COLLECTOR, by="exporter"), label("exporter")),
        ),
    )


def _process() -> Sequence[Panel]:
    return (
        time_series(
            "CPU",
            "Processor time that the Collector uses: 100 % is one core.",
            units.PercentUnit,
            Query(rate(COLLECTOR_CPU, _COLLECTOR), "Collector"),
            steps={0.8: WARNING},
            width=HALF,
        ),
        time_series(
            "CPU of a span",
            "Processor time of the Collector for each span that it accepted.",
            units.Seconds,
            Query(
                f"{rate(COLLECTOR_CPU, _COLLECTOR, over='1m')} "
                f"/ ({rate(RECEIVED, _COLLECTOR, over='1m')} > 0)",
                "Collector",
            ),
            width=HALF,
        ),
    )


def _jaeger() -> Sequence[Panel]:
    return (
        time_series(
            "Spans received and stored",
            "Spans that Jaeger received, and spans that are in its storage, a second.",
            SPANS_PER_SECOND,
            Query(rate(RECEIVED, _JAEGER), "received"),
            Query(rate(SENT, _JAEGER), "stored"),
            Query(rate(REFUSED, _JAEGER), "refused"),
            Query(rate(SEND_FAILED, _JAEGER), "not stored"),
            width=FULL,
        ),
    )
