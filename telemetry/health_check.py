"""The health of the telemetry, and health checks of the application's own."""

from .current import Client, find_client
from .health.checks import Check, Registration, register, run_checks, run_checks_async, unregister
from .health.report import (
    BatchHealth,
    BreakerHealth,
    CheckResult,
    ExporterHealth,
    LedgerHealth,
    QueueHealth,
    ResourceHealth,
    ServiceHealth,
    SpoolHealth,
    TelemetryHealth,
    make_empty_report,
    make_report,
)

__all__ = [
    "BatchHealth",
    "BreakerHealth",
    "CheckResult",
    "ExporterHealth",
    "LedgerHealth",
    "QueueHealth",
    "ResourceHealth",
    "ServiceHealth",
    "SpoolHealth",
    "TelemetryHealth",
    "check_telemetry_health",
    "check_telemetry_health_async",
    "register_health_check",
    "unregister_health_check",
]


def check_telemetry_health(client: Client | None = None) -> TelemetryHealth:
    """Runs every synchronous check and returns the current health. Thread-safe; no check makes it raise.

    Takes as long as the slowest check, at most that check's timeout. Asynchronous checks are reported
    as skipped, since they belong to an event loop.

    Args:
        client: defaults to the request's client, else the process's; without any, the report is
            empty and at best degraded.
    """
    return _health(client or find_client(), run_checks())


async def check_telemetry_health_async(client: Client | None = None) -> TelemetryHealth:
    """Like `check_telemetry_health`, but awaits asynchronous checks too and does not block the event loop."""
    client = client or find_client()
    return _health(client, await run_checks_async())


def register_health_check(
    name: str, check: Check, *, timeout_seconds: float = 1.0, critical: bool = False
) -> None:
    """Adds an application's own check to every later health report.

    A check passes when it returns, unless it returns False. An exception or a timeout is reported, not
    raised. A synchronous check runs in a thread of its own and is not started again while it hangs.
    Instrumentation is suppressed in a check, since frequent polling should not be traced, and in tasks that
    it starts, even those that outlive it: open a pool that keeps tasks of its own beforehand.

    Args:
        name: its name in the report; registering the name again replaces the check.
        check: a function or coroutine function without arguments. A returned string becomes the detail.
        timeout_seconds: how long it may take.
        critical: whether its failure makes the overall status unhealthy rather than degraded.

    Raises:
        ValueError: the name is empty or the timeout is not above 0.
        TypeError: the check is not callable.
    """
    if not name:
        raise ValueError("name must not be empty: it names the check in the report")
    if not callable(check):
        raise TypeError(f"check of {name!r} must be a function without arguments, got {check!r}")
    if not timeout_seconds > 0:
        raise ValueError(f"timeout_seconds of {name!r} must be above 0, got {timeout_seconds!r}")
    register(Registration(name, check, timeout_seconds, critical))


def unregister_health_check(name: str) -> None:
    """Removes a check; harmless if there is none with that name."""
    unregister(name)


def _health(client: Client | None, checks: dict[str, CheckResult]) -> TelemetryHealth:
    if client is None:
        return make_empty_report(checks)
    return make_report(
        client.pipeline,
        push=client.push,
        instance_id=client.instance_id,
        sampling_ratio=client.sampling_ratio,
        checks=checks,
    )
