"""Health of the telemetry: `/health/telemetry`, and checks that an application registers beside it.

Degraded telemetry is no reason to restart an application, so only a dead worker or a failing
critical check is unhealthy; an open breaker, a refused export, recent drops or a spool that cannot be
written are degraded.
"""

import asyncio
import contextvars
import inspect
import os
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from opentelemetry.instrumentation.utils import suppress_instrumentation
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from .current import find_client
from .fork import Lock

if TYPE_CHECKING:
    from .client import TelemetryClient

Status = Literal["healthy", "degraded", "unhealthy"]
Check = Callable[[], object] | Callable[[], Awaitable[object]]
_LONGEST_DETAIL = 300


class ServiceHealth(BaseModel):
    """Who answers."""

    name: str = ""
    version: str = ""
    environment: str = ""
    instance_id: str = ""


class ExporterHealth(BaseModel):
    """Where spans go, and how it went."""

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


class QueueHealth(BaseModel):
    """What waits in memory, in spans, and encoded batches, in bytes."""

    size: int = 0
    capacity: int = 0
    buffer_bytes: int = 0
    buffer_limit_bytes: int = 0


class BatchHealth(BaseModel):
    """How spans are batched."""

    size: int = 0
    delay_ms: float = 0


class SpoolHealth(BaseModel):
    """What waits on disk."""

    enabled: bool = False
    bytes: int = 0
    limit_bytes: int = 0
    spans: int = 0
    oldest_age_seconds: float | None = None
    last_error: str | None = None


class LedgerHealth(BaseModel):
    """Where each span went, in spans."""

    ended: int = 0
    adopted: int = 0
    delivered: int = 0
    rejected: int = 0
    dropped: dict[str, int] = {}
    in_memory: int = 0
    spooled: int = 0


class ResourceHealth(BaseModel):
    """What the process uses; None where the platform does not tell."""

    memory_rss_bytes: int | None = None
    open_files: int | None = None
    disk_free_bytes: int | None = None


class CheckResult(BaseModel):
    """One registered check."""

    status: Literal["ok", "failing", "timeout", "skipped"]
    critical: bool
    duration_ms: float
    detail: str = ""


class TelemetryHealth(BaseModel):
    """The answer of `/health/telemetry`."""

    status: Status
    service: ServiceHealth = ServiceHealth()
    exporter: ExporterHealth = ExporterHealth()
    circuit_breaker: BreakerHealth = BreakerHealth()
    queue: QueueHealth = QueueHealth()
    batch: BatchHealth = BatchHealth()
    sampling_ratio: float | None = 0.0
    """None for a sampler that keeps so many a second."""
    spool: SpoolHealth = SpoolHealth()
    ledger: LedgerHealth = LedgerHealth()
    resources: ResourceHealth = ResourceHealth()
    checks: dict[str, CheckResult] = {}


def check_telemetry_health(client: "TelemetryClient | None" = None) -> TelemetryHealth:
    """The health now, with every synchronous check run. Thread-safe; never raises for a check.

    Takes as long as the slowest check, at most its time-out. Asynchronous checks are skipped and
    say so: they belong to an event loop.

    Args:
        client: the request's or the process's default where it is not given; without any, the
            health of nothing, degraded.
    """
    checks = _registered()
    runs = {name: _start(registration) for name, registration in checks.items() if not registration.is_async}
    results = {
        name: _wait(registration, runs[name]) if name in runs else _skipped(registration)
        for name, registration in checks.items()
    }
    return _health(client or find_client(), results)


async def check_telemetry_health_async(client: "TelemetryClient | None" = None) -> TelemetryHealth:
    """As `check_telemetry_health`, awaiting asynchronous checks too; blocks no event loop."""
    checks = _registered()
    client = client or find_client()
    results = await asyncio.gather(*(_run(registration) for registration in checks.values()))
    return _health(client, dict(zip(checks, results, strict=True)))


def register_health_check(
    name: str, check: Check, *, timeout_seconds: float = 1.0, critical: bool = False
) -> None:
    """Adds a check of the application's own to every later health report.

    A check passes when it returns, unless it returns False. One that raises or takes too long is
    reported, not raised. A synchronous check runs in a thread of its own; while it hangs it is not
    started again. Instrumentations are suppressed in it, for what is asked every few seconds is no trace;
    and in tasks that it starts, also those that outlive it: open a pool that keeps tasks of its own before.

    Args:
        name: its name in the report; registering the name again replaces the check.
        check: a function or coroutine function without arguments. What it returns as text is the detail.
        timeout_seconds: how long it may take.
        critical: whether its failure makes the whole unhealthy, rather than degraded.

    Raises:
        ValueError: the name is empty or the time-out not above 0.
        TypeError: the check cannot be called.
    """
    if not name:
        raise ValueError("name must not be empty: it names the check in the report")
    if not callable(check):
        raise TypeError(f"check of {name!r} must be a function without arguments, got {check!r}")
    if not timeout_seconds > 0:
        raise ValueError(f"timeout_seconds of {name!r} must be above 0, got {timeout_seconds!r}")
    with _lock:
        _registrations[name] = _Registration(name, check, timeout_seconds, critical)


def unregister_health_check(name: str) -> None:
    """Removes a check; harmless when there is none of that name."""
    with _lock:
        _registrations.pop(name, None)


async def health_response(request: Request, client: "TelemetryClient") -> Response:
    """Answers `GET /health/telemetry`: 200 when healthy or degraded, 503 when unhealthy."""
    del request
    health = await check_telemetry_health_async(client)
    return Response(
        health.model_dump_json(),
        status_code=503 if health.status == "unhealthy" else 200,
        media_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


@dataclass(eq=False)
class _Registration:
    name: str
    check: Check
    timeout_seconds: float
    is_critical: bool
    run: "_ThreadRun | None" = None

    @property
    def is_async(self) -> bool:
        call = getattr(self.check, "__call__", None)  # noqa: B004 - an object may have an async __call__
        return inspect.iscoroutinefunction(self.check) or inspect.iscoroutinefunction(call)

    def report(
        self, status: Literal["ok", "failing", "timeout", "skipped"], seconds: float, detail: str = ""
    ) -> CheckResult:
        return CheckResult(
            status=status,
            critical=self.is_critical,
            duration_ms=round(seconds * 1000, 3),
            detail=detail[:_LONGEST_DETAIL],
        )

    def judge(self, seconds: float, returned: object, error: BaseException | None) -> CheckResult:
        if error is not None:
            # Unlike str(error), this works for an exception that cannot be printed.
            return self.report("failing", seconds, "".join(traceback.format_exception_only(error)).strip())
        if inspect.isawaitable(returned):
            if inspect.iscoroutine(returned):
                returned.close()
            return self.report(
                "failing", seconds, "it returned an awaitable: register the coroutine function"
            )
        if returned is False:
            return self.report("failing", seconds, "the check returned False")
        return self.report("ok", seconds, returned if isinstance(returned, str) else "")


class _ThreadRun:
    """One run of a synchronous check, in a daemon thread: a pool's would keep the process from ending."""

    def __init__(self, check: Callable[[], object]) -> None:
        self.started = time.perf_counter()
        self.process = os.getpid()
        self.future: Future[object] = Future()
        self.future.set_running_or_notify_cancel()  # from here on nobody can cancel it
        context = contextvars.copy_context()
        threading.Thread(
            target=context.run, args=(self._run, check), name="telemetry-health-check", daemon=True
        ).start()

    def _run(self, check: Callable[[], object]) -> None:
        try:
            with suppress_instrumentation():
                self.future.set_result(check())
        except BaseException as error:  # noqa: BLE001 - reported, whatever it is
            self.future.set_exception(error)

    def seconds(self) -> float:
        """Since the start."""
        return time.perf_counter() - self.started


def _start(registration: _Registration) -> _ThreadRun:
    with _lock:
        run = registration.run
        # A run of the parent never ends in a forked child.
        if run is None or run.process != os.getpid() or run.future.done():
            run = registration.run = _ThreadRun(registration.check)
        return run


def _wait(registration: _Registration, run: _ThreadRun) -> CheckResult:
    left = registration.timeout_seconds - run.seconds()
    wait([run.future], timeout=max(0.0, left))
    return _judge(registration, run)


def _judge(registration: _Registration, run: _ThreadRun) -> CheckResult:
    seconds = run.seconds()
    if not run.future.done():
        return registration.report("timeout", seconds, f"still running since {seconds:.1f} s")
    error = run.future.exception()
    return registration.judge(seconds, None if error else run.future.result(), error)


async def _run(registration: _Registration) -> CheckResult:
    if not registration.is_async:
        run = _start(registration)
        left = registration.timeout_seconds - run.seconds()
        waiting = asyncio.wrap_future(run.future)
        await asyncio.wait([waiting], timeout=max(0.0, left))
        if not waiting.cancel():
            waiting.exception()  # seen here, judged below
        return _judge(registration, run)
    started = time.perf_counter()
    with suppress_instrumentation():  # a task keeps the context that it is made in
        task = asyncio.ensure_future(registration.check())  # type: ignore[call-overload]
    try:
        await asyncio.wait([task], timeout=registration.timeout_seconds)
    finally:
        task.cancel()  # harmless when it is done; where it is not, nobody waits for it any more
    seconds = time.perf_counter() - started
    if not task.done():
        return registration.report("timeout", seconds, "it was cancelled")
    if task.cancelled():
        return registration.report("failing", seconds, "it cancelled itself")
    error = task.exception()
    return registration.judge(seconds, None if error else task.result(), error)


def _skipped(registration: _Registration) -> CheckResult:
    return registration.report("skipped", 0.0, "asynchronous: await check_telemetry_health_async() to run it")


def _registered() -> Mapping[str, _Registration]:
    with _lock:
        return dict(_registrations)


def _health(client: "TelemetryClient | None", checks: dict[str, CheckResult]) -> TelemetryHealth:
    failing = [check for check in checks.values() if check.status in {"failing", "timeout"}]
    is_unhealthy = any(check.critical for check in failing)
    is_degraded = bool(failing)
    parts: dict[str, Any] = {}
    if client is None:
        is_degraded = True
    else:
        parts, pipeline = client.health_parts(), client.pipeline
        is_unhealthy = is_unhealthy or not pipeline.is_worker_alive
        is_degraded = (
            is_degraded
            or pipeline.breaker.state not in {"closed", "disabled"}
            or pipeline.status.is_last_failure_permanent
            or (pipeline.spool_status is not None and pipeline.spool_status.trouble is not None)
            or pipeline.ledger.dropped_in_last_minute() > 0
        )
    status: Status = "unhealthy" if is_unhealthy else "degraded" if is_degraded else "healthy"
    spool = None if client is None else client.pipeline.spool_status
    resources = _resources(None if spool is None else spool.disk_free_bytes)
    return TelemetryHealth(status=status, **parts, resources=resources, checks=checks)


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


_lock = Lock()
_registrations: dict[str, _Registration] = {}
