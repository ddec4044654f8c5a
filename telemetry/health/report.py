"""The health report: how it is built, and its model, with which readers of `/health/telemetry` validate it.

Degraded telemetry is no reason to restart an application, so only a dead worker or a failing
critical check is unhealthy; an open breaker, a refused export, recent drops or a spool that cannot be
written are degraded.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

from ..export.breaker import BreakerSnapshot
from ..export.ledger import LedgerReading
from ..export.pipeline import ExportPipeline
from ..export.push.state import PushState

Status = Literal["healthy", "degraded", "unhealthy"]


class ServiceHealth(BaseModel):
    """The service that answers."""

    name: str = ""
    version: str = ""
    environment: str = ""
    instance_id: str = ""


class ExporterHealth(BaseModel):
    """The exporter's destination and latest results."""

    endpoint: str = ""
    protocol: str = ""
    last_success_age_seconds: float | None = None
    last_error: str | None = None


class BreakerHealth(BaseModel):
    """The circuit breaker."""

    state: str = "closed"
    retry_in_seconds: float | None = None
    opened_total: int = 0
    failure_rate: float = 0.0


class PushHealth(BaseModel):
    """Metrics that are pushed, and the breaker that permits it: their own, or the spans'."""

    endpoint: str = ""
    last_error: str | None = None
    has_own_breaker: bool = False
    circuit_breaker: BreakerHealth = BreakerHealth()


class QueueHealth(BaseModel):
    """The queue in memory, in spans, and encoded batches, in bytes."""

    size: int = 0
    capacity: int = 0
    buffer_bytes: int = 0
    buffer_limit_bytes: int = 0


class BatchHealth(BaseModel):
    """How spans are batched."""

    size: int = 0
    delay_ms: float = 0


class SpoolHealth(BaseModel):
    """The spool on disk."""

    enabled: bool = False
    bytes: int = 0
    limit_bytes: int = 0
    spans: int = 0
    oldest_age_seconds: float | None = None
    last_error: str | None = None
    stranded_spans: int = 0
    """Spans in it for another endpoint or other headers, to which no process sends any more."""


class LedgerHealth(BaseModel):
    """Where each span went, in spans."""

    ended: int = 0
    adopted: int = 0
    delivered: int = 0
    rejected: int = 0
    dropped: dict[str, int] = {}
    in_memory: int = 0
    spooled: int = 0

    @property
    def pending(self) -> int:
        """Pending spans, in memory or on disk."""
        return self.in_memory + self.spooled

    @property
    def lost(self) -> dict[str, int]:
        """Dropped spans by reason, and those that the Collector rejected."""
        return {**self.dropped, "rejected": self.rejected}

    @property
    def is_balanced(self) -> bool:
        """Whether the ledger's identity holds."""
        terms = {name: getattr(self, name) for name in LedgerHealth.model_fields}
        return LedgerReading(**terms).is_balanced


class ResourceHealth(BaseModel):
    """The process's resource usage; None where the platform does not report it."""

    memory_rss_bytes: int | None = None
    open_files: int | None = None
    disk_free_bytes: int | None = None


class CheckResult(BaseModel):
    """The result of one registered check."""

    status: Literal["ok", "failing", "timeout", "skipped"]
    critical: bool
    duration_ms: float
    detail: str = ""


class TelemetryHealth(BaseModel):
    """The response body of `/health/telemetry`."""

    status: Status
    service: ServiceHealth = ServiceHealth()
    exporter: ExporterHealth = ExporterHealth()
    circuit_breaker: BreakerHealth = BreakerHealth()
    queue: QueueHealth = QueueHealth()
    batch: BatchHealth = BatchHealth()
    sampling_ratio: float | None = 0.0
    """None for the rate-limited sampler."""
    spool: SpoolHealth = SpoolHealth()
    ledger: LedgerHealth = LedgerHealth()
    resources: ResourceHealth = ResourceHealth()
    checks: dict[str, CheckResult] = {}
    metrics_push: PushHealth | None = None
    """None if metrics are not pushed, or by an earlier version."""


_SECTIONS = frozenset(TelemetryHealth.model_fields) - {"metrics_push"}
_LEDGER = frozenset(LedgerHealth.model_fields)


def read_report(body: bytes | str) -> TelemetryHealth:
    """Reads a response of `/health/telemetry`, ignoring what a later version adds.

    Raises:
        ValueError: it is not such a report.
    """
    try:
        report = TelemetryHealth.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"not a health report{f' ({where})' if where else ''}: {first['msg']}") from None
    missing = _SECTIONS - report.model_fields_set or _LEDGER - report.ledger.model_fields_set
    if missing:
        # Missing values must not be read as zeros, which would add up.
        raise ValueError(f"not a health report: it lacks {', '.join(sorted(missing))}")
    return report


def make_report(
    pipeline: ExportPipeline,
    *,
    push: PushState | None,
    instance_id: str,
    sampling_ratio: float | None,
    checks: Mapping[str, CheckResult],
) -> TelemetryHealth:
    """Builds the current health report of one client's telemetry. Thread-safe.

    Args:
        pipeline: read once, each part consistently.
        push: how pushes of metrics go; None if there are none.
        instance_id: the process's `service.instance.id`.
        sampling_ratio: the ratio in effect; None for the rate-limited sampler.
        checks: results of the application's own checks.
    """
    config, breaker, ledger = pipeline.config, pipeline.breaker.snapshot(), pipeline.ledger.read()
    spool = pipeline.spool_status
    is_degraded = (
        breaker.state not in {"closed", "disabled"}
        or pipeline.status.is_last_failure_permanent
        or (spool is not None and spool.trouble is not None)
        or pipeline.ledger.dropped_in_last_minute() > 0
        or (push is not None and not _may_push(push))
    )
    return TelemetryHealth(
        status=_status(checks, is_worker_alive=pipeline.is_worker_alive, is_degraded=is_degraded),
        service=ServiceHealth(
            name=config.service_name,
            version=config.service_version,
            environment=config.environment,
            instance_id=instance_id,
        ),
        exporter=ExporterHealth(
            endpoint=config.shown_endpoint,
            protocol=config.protocol,
            last_success_age_seconds=pipeline.last_success_age_seconds,
            last_error=pipeline.status.last_error,
        ),
        circuit_breaker=_breaker(breaker),
        queue=QueueHealth(
            size=ledger.in_memory,
            capacity=config.max_queue_size,
            buffer_bytes=pipeline.buffered_bytes,
            buffer_limit_bytes=pipeline.limits.buffer_bytes,
        ),
        batch=BatchHealth(
            size=pipeline.batching.size, delay_ms=round(pipeline.batching.delay_seconds * 1000)
        ),
        sampling_ratio=sampling_ratio,
        spool=_spool(pipeline, ledger.spooled),
        ledger=LedgerHealth(
            ended=ledger.ended,
            adopted=ledger.adopted,
            delivered=ledger.delivered,
            rejected=ledger.rejected,
            dropped={reason.value: spans for reason, spans in ledger.dropped.items()},
            in_memory=ledger.in_memory,
            spooled=ledger.spooled,
        ),
        resources=_resources(None if spool is None else spool.disk_free_bytes),
        checks=dict(checks),
        metrics_push=None
        if push is None
        else PushHealth(
            endpoint=push.endpoint,
            last_error=push.status.reading.last_error,
            has_own_breaker=push.has_own_breaker,
            circuit_breaker=_breaker(push.breaker.snapshot()),
        ),
    )


def _breaker(snapshot: BreakerSnapshot) -> BreakerHealth:
    return BreakerHealth(
        state=snapshot.state,
        retry_in_seconds=snapshot.retry_in_seconds,
        opened_total=snapshot.opened_total,
        failure_rate=snapshot.failure_rate,
    )


def _may_push(push: PushState) -> bool:
    return push.breaker.state in {"closed", "disabled"} and not push.status.reading.is_last_failure_permanent


def make_empty_report(checks: Mapping[str, CheckResult]) -> TelemetryHealth:
    """Builds a report without any telemetry: degraded, or unhealthy if a critical check fails."""
    return TelemetryHealth(
        status=_status(checks, is_worker_alive=True, is_degraded=True),
        resources=_resources(None),
        checks=dict(checks),
    )


def _status(checks: Mapping[str, CheckResult], *, is_worker_alive: bool, is_degraded: bool) -> Status:
    failing = [check for check in checks.values() if check.status in {"failing", "timeout"}]
    if not is_worker_alive or any(check.critical for check in failing):
        return "unhealthy"
    return "degraded" if is_degraded or failing else "healthy"


def _spool(pipeline: ExportPipeline, spans: int) -> SpoolHealth:
    status = pipeline.spool_status
    if status is None:
        return SpoolHealth()
    return SpoolHealth(
        enabled=True,
        bytes=status.size_bytes,
        limit_bytes=pipeline.config.spool_max_bytes,
        spans=spans,
        oldest_age_seconds=(
            None if status.oldest_at_seconds is None else max(0.0, time.time() - status.oldest_at_seconds)
        ),
        last_error=status.trouble,
        stranded_spans=status.stranded_spans,
    )


def _resources(disk_free_bytes: int | None) -> ResourceHealth:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return ResourceHealth(
            memory_rss_bytes=pages * os.sysconf("SC_PAGE_SIZE"),
            open_files=sum(1 for _ in Path("/proc/self/fd").iterdir()),
            disk_free_bytes=disk_free_bytes,
        )
    except OSError:
        return ResourceHealth(disk_free_bytes=disk_free_bytes)
