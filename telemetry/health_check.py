"""The health of the telemetry, and checks that an application registers beside it."""

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
    """The health now, with every synchronous check run. Thread-safe; never raises for a check.

    Takes as long as the slowest check, at most its time-out. Asynchronous checks are skipped and
    say so: they belong to an event loop.

    Args:
        client: the request's or the process's default where it is not given; without any, the
            health of nothing, degraded.
    """
    return _health(client or find_client(), run_checks())


async def check_telemetry_health_async(client: Client | None = None) -> TelemetryHealth:
    """As `check_telemetry_health`, awaiting asynchronous checks too; blocks no event loop."""
    client = client or find_client()
    return _health(client, await run_checks_async())


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
    register(Registration(name, check, timeout_seconds, critical))


def unregister_health_check(name: str) -> None:
    """Removes a check; harmless when there is none of that name."""
    unregister(name)


def _health(client: Client | None, checks: dict[str, CheckResult]) -> TelemetryHealth:
    if client is None:
        return make_empty_report(checks)
    return make_report(
        client.pipeline,
        instance_id=client.instance_id,
        sampling_ratio=client.sampling_ratio,
        checks=checks,
    )
