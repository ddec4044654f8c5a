"""The dashboard "Telemetry pipeline": the path of every span, from its end to Jaeger."""

from collections.abc import Sequence

from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import units

from grafana.cpu_panels import telemetry_cpu
from grafana.dashboard import dashboard, job_variable
from grafana.panels import (
    BAD,
    FULL,
    SPANS_PER_SECOND,
    WARNING,
    Panel,
    Steps,
    breaker_timeline,
    figure,
    heatmap,
    time_series,
    totals,
)
from grafana.queries import (
    BREAKER_CODE,
    COLLECTOR_RSS,
    FAILED,
    PROCESSED_IN,
    PROCESSED_OUT,
    QUEUE_SIZE,
    RECEIVED,
    REFUSED,
    SENT,
    SPANS_ENDED_RATE,
    SPANS_SETTLED_RATE,
    SPANS_UNACCOUNTED,
    SPOOL_FULL_IN_SECONDS,
    STAGE_RATE,
    Query,
    increase,
    label,
    quantile,
    rate,
    total,
)
from telemetry.metrics import names

_JOB = 'job=~"$job"'
_ENDED, _ADOPTED, _SETTLED = (
    f"{name}_total" for name in (names.SPANS_ENDED, names.SPANS_ADOPTED, names.SPANS)
)
_DELIVERED = f'{names.OUTCOME}="delivered"'
_LOST = f'{names.OUTCOME}!="delivered"'
_COLLECTOR, _JAEGER = 'job="collector"', 'job="jaeger"'
_ANY: Steps = {1: BAD}
"""Even one is bad."""


def pipeline_dashboard() -> model.Dashboard:
    """Builds the dashboard."""
    return dashboard(
        "Telemetry pipeline",
        "telemetry-pipeline",
        "Breaker, ledger, outbox, spool and exports of the services, and the way of a span to Jaeger.",
        variables=[job_variable(is_multiple=True)],
        rows={
            "At a glance": _glance(),
            "Breaker": _breaker(),
            "Ledger": _ledger(),
            "What waits": _waiting(),
            "Exports": _exports(),
            "Where each span went": _journey(),
        },
    )


def _glance() -> Sequence[Panel]:
    pending = total(names.SPANS_PENDING, _JOB)
    return (
        figure(
            "Spans ended",
            "Sampled spans that end, a second.",
            SPANS_PER_SECOND,
            Query(rate(_ENDED, _JOB), "ended"),
        ),
        figure(
            "Spans delivered",
            "Spans that the Collector took, a second.",
            SPANS_PER_SECOND,
            Query(rate(_SETTLED, f"{_JOB},{_DELIVERED}"), "delivered"),
        ),
        figure(
            "Spans lost",
            "Spans dropped or rejected in the time that is shown.",
            units.Short,
            Query(f"sum(increase({_SETTLED}{{{_JOB},{_LOST}}}[$__range]))", "lost"),
            steps=_ANY,
        ).decimals(0),
        figure(
            "Waiting now",
            "Spans that ended and wait in memory or on disk.",
            units.Short,
            Query(pending, "waiting"),
            steps={10_000: WARNING, 100_000: BAD},
        ).decimals(0),
        figure(
            "Breakers not closed",
            "Processes whose circuit breaker does not let spans through.",
            units.Short,
            Query(total(names.BREAKER_STATE, f'{_JOB},{names.STATE}=~".*open"'), "not closed"),
            steps=_ANY,
        ).decimals(0),
        figure(
            "Spans unaccounted for",
            "Ended and adopted spans, neither finished nor pending: always 0, or the ledger is wrong.",
            units.Short,
            Query(f"sum({SPANS_UNACCOUNTED}{{{_JOB}}})", "unaccounted"),
            steps={-1e9: BAD, 0: "green", 1: BAD},
        ).decimals(0),
    )


def _breaker() -> Sequence[Panel]:
    steps = rate(f"{names.BREAKER_TRANSITIONS}_total", _JOB, by=f"{names.FROM}, {names.TO}")
    return (
        breaker_timeline(
            "Breaker state",
            "The circuit breaker of each service; of several processes the one that is furthest from closed.",
            Query(f"{BREAKER_CODE}{{{_JOB}}}", label("job")),
        ),
        time_series(
            "Breaker transitions",
            "Changes of the breaker's state a second, in all processes: none when all is well.",
            "suffix: /s",
            Query(steps, f"{label(names.FROM)} to {label(names.TO)}"),
        ),
        time_series(
            "Export failures",
            "Attempts to send that failed, a second, by what went wrong.",
            "suffix: /s",
            Query(rate(f"{names.EXPORT_FAILURES}_total", _JOB, by=names.KIND), label(names.KIND)),
        ),
    )


def _ledger() -> Sequence[Panel]:
    waits = f"sum by ({names.PLACE}) (deriv({names.SPANS_PENDING}{{{_JOB}}}[1m]))"
    return (
        time_series(
            "Flow of spans",
            "Spans a second: what ends must be delivered, be lost, or begin to wait. What was kept in an "
            "outage is delivered on top of what ends.",
            SPANS_PER_SECOND,
            Query(f"sum by ({names.OUTCOME}) ({SPANS_SETTLED_RATE}{{{_JOB}}}) > 0", label(names.OUTCOME)),
            Query(f"{waits} > 0", f"begin to wait: {label(names.PLACE)}"),
            Query(f"sum({SPANS_ENDED_RATE}{{{_JOB}}})", "ended"),
            is_stacked=True,
            limits=["ended"],
        ),
        time_series(
            "Where all spans are",
            "Since the processes started: the layers are what became of them, the dashed line is how many "
            "there were. They meet, or spans are unaccounted for.",
            units.Short,
            Query(f"{total(_SETTLED, _JOB, by=names.OUTCOME)} > 0", label(names.OUTCOME)),
            Query(
                f"{total(names.SPANS_PENDING, _JOB, by=names.PLACE)} > 0", f"waiting: {label(names.PLACE)}"
            ),
            Query(f"{total(_ENDED, _JOB)} + {total(_ADOPTED, _JOB)}", "ended and adopted"),
            is_stacked=True,
            limits=["ended and adopted"],
        ),
        time_series(
            "Spans lost, by reason",
            "Spans dropped or rejected, a second: each reason has its line in the runbook.",
            SPANS_PER_SECOND,
            Query(
                f"sum by (job, {names.OUTCOME}) ({SPANS_SETTLED_RATE}{{{_JOB},{_LOST}}})",
                f"{label('job')} {label(names.OUTCOME)}",
            ),
            steps={0.01: BAD},
            width=FULL,
        ),
    )


def _waiting() -> Sequence[Panel]:
    return (
        time_series(
            "Spans waiting",
            "Pending spans, and how many fit into the queue before they are encoded.",
            units.Short,
            Query(total(names.SPANS_PENDING, _JOB, by=names.PLACE), f"in {label(names.PLACE)}"),
            Query(total(names.QUEUE_CAPACITY, _JOB), "capacity of the queue"),
            limits=["capacity of the queue"],
        ),
        time_series(
            "Outbox",
            "Encoded spans in memory, against the bound of all processes together.",
            units.BytesIEC,
            Query(total(names.BUFFER_BYTES, _JOB, by="job"), label("job")),
            Query(total(names.BUFFER_LIMIT_BYTES, _JOB), "limit"),
            limits=["limit"],
        ),
        time_series(
            "Spool",
            "Encoded spans on disk, against the bound of all processes together.",
            units.BytesIEC,
            Query(total(names.SPOOL_BYTES, _JOB, by="job"), label("job")),
            Query(total(names.SPOOL_LIMIT_BYTES, _JOB), "limit"),
            limits=["limit"],
        ),
        time_series(
            "Time until the spool is full",
            "At the rate of the last minute; nothing while it does not grow.",
            units.Seconds,
            Query(f"{SPOOL_FULL_IN_SECONDS}{{{_JOB}}}", label("job")),
            steps={0: BAD, 3_600: "green"},
        ),
    )


def _exports() -> Sequence[Panel]:
    spans, payload = f"{names.EXPORT_BATCH_SPANS}_sum", f"{names.EXPORT_BYTES}_total"
    exports = f"{names.EXPORT_BATCH_SPANS}_count"
    return (
        heatmap(
            "Batch sizes",
            "Exports a second by how many spans they carried.",
            units.Short,
            Query(rate(f"{names.EXPORT_BATCH_SPANS}_bucket", _JOB, by="le"), label("le")),
        ),
        time_series(
            "Spans an export",
            "Mean size of a batch, and where a batch is full.",
            units.Short,
            Query(f"{rate(spans, _JOB, by='job')} / ({rate(exports, _JOB, by='job')} > 0)", label("job")),
            Query(f"max({names.BATCH_SIZE_LIMIT}{{{_JOB}}})", "limit"),
            limits=["limit"],
        ),
        time_series(
            "Export duration",
            "How long one attempt to send a batch to the Collector took, failed attempts included.",
            units.Seconds,
            Query(quantile(0.5, names.EXPORT_DURATION_SECONDS, _JOB), "p50"),
            Query(quantile(0.95, names.EXPORT_DURATION_SECONDS, _JOB), "p95"),
            Query(quantile(0.99, names.EXPORT_DURATION_SECONDS, _JOB), "p99"),
            steps={0.5: WARNING, 1: BAD},
        ).axis_soft_max(0.05),
        time_series(
            "Freshness",
            "Age of a batch's first span when the Collector accepted it.",
            units.Seconds,
            Query(quantile(0.5, names.EXPORT_AGE_SECONDS, _JOB), "p50"),
            Query(quantile(0.95, names.EXPORT_AGE_SECONDS, _JOB), "p95"),
            steps={10: WARNING, 60: BAD},
        ),
        time_series(
            "Bytes sent",
            "Encoded spans given to the transport, before compression.",
            units.BytesPerSecondIEC,
            Query(rate(payload, _JOB, by="job"), label("job")),
        ),
        time_series(
            "Sampling ratio in effect",
            "Share of new traces that are sampled; nothing for a sampler that has no ratio.",
            units.PercentUnit,
            Query(f"min by (job) ({names.SAMPLING_RATIO}{{{_JOB}}})", label("job")),
        ).max(1),
        *telemetry_cpu(_JOB),
    )


def _journey() -> Sequence[Panel]:
    tail = 'processor="tail_sampling"'
    return (
        totals(
            "Spans in the time that is shown",
            "From the services to Jaeger. What the Collector refuses comes again; what is missing on the "
            "right is queued or sampled out. Every service is counted, chosen or not.",
            units.Short,
            Query(increase(_ENDED), "ended"),
            Query(increase(_SETTLED, _DELIVERED), "delivered"),
            Query(increase(_SETTLED, _LOST), "lost"),
            Query(total(names.SPANS_PENDING), "waiting"),
            Query(increase(RECEIVED, _COLLECTOR), "accepted by the Collector"),
            Query(f"{increase(REFUSED, _COLLECTOR)} + {increase(FAILED, _COLLECTOR)}", "refused"),
            Query(total(QUEUE_SIZE, _COLLECTOR), "queued"),
            Query(
                f"({increase(PROCESSED_IN, tail)} - {increase(PROCESSED_OUT, tail)}) "
                f"or 0 * {total(COLLECTOR_RSS, _COLLECTOR)}",
                "sampled out",
            ),
            Query(increase(SENT, _COLLECTOR), "sent to Jaeger"),
            Query(increase(SENT, _JAEGER), "stored by Jaeger"),
        ),
        time_series(
            "Spans a second at each stage",
            "The same flow at each stage of its way, over all services.",
            SPANS_PER_SECOND,
            Query(STAGE_RATE, label("stage")),
            width=FULL,
        ),
    )
