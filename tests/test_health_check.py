"""/health/telemetry and registered checks report problems without raising or blocking."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from telemetry.client import TelemetryClient
from telemetry.config import TelemetryConfig
from telemetry.health_check import (
    check_telemetry_health,
    check_telemetry_health_async,
    register_health_check,
    unregister_health_check,
)
from telemetry.telemetry import setup_telemetry


@pytest.fixture
def register() -> Iterator[Callable[..., None]]:
    """Registers checks and removes them at the end."""
    names: list[str] = []

    def add(name: str, check: Any, **options: Any) -> None:
        register_health_check(name, check, **options)
        names.append(name)

    yield add
    for name in names:
        unregister_health_check(name)


@pytest.fixture
def client(receiver: Any) -> Iterator[TelemetryClient]:
    """A client that sends to the receiver."""
    made = TelemetryClient(
        service_name="health-test", endpoint=receiver.endpoint, schedule_delay_ms=20, breaker_open_seconds=0.1
    )
    yield made
    made.shutdown(0.5)


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """An event, set when the test is over, that ends its hanging checks."""
    event = threading.Event()
    yield event
    event.set()


def test_shape_is_the_documented_one(client: TelemetryClient) -> None:
    """The keys and their order are a public format."""
    health = json.loads(check_telemetry_health(client).model_dump_json())
    assert {name: list(part) if isinstance(part, dict) else None for name, part in health.items()} == {
        "status": None,
        "service": ["name", "version", "environment", "instance_id"],
        "exporter": ["endpoint", "protocol", "last_success_age_seconds", "last_error"],
        "circuit_breaker": ["state", "retry_in_seconds", "opened_total", "failure_rate"],
        "queue": ["size", "capacity", "buffer_bytes", "buffer_limit_bytes"],
        "batch": ["size", "delay_ms"],
        "sampling_ratio": None,
        "spool": [
            *("enabled", "bytes", "limit_bytes", "spans", "oldest_age_seconds", "last_error"),
            "stranded_spans",
        ],
        "ledger": ["ended", "adopted", "delivered", "rejected", "dropped", "in_memory", "spooled"],
        "resources": ["memory_rss_bytes", "open_files", "disk_free_bytes"],
        "checks": [],
        "metrics_push": None,
    }
    assert health["resources"]["memory_rss_bytes"] > 1_000_000


def test_fresh_client_is_healthy(client: TelemetryClient) -> None:
    """A client without any activity is healthy."""
    assert client.health().status == "healthy"


def test_open_breaker_is_degraded_never_unhealthy(client: TelemetryClient, receiver: Any, until: Any) -> None:
    """A Collector outage must not restart the app; health recovers with the Collector."""
    receiver.stop()
    with client.start_span("work"):
        pass
    until("the breaker to open", lambda: client.health().circuit_breaker.state == "open")
    health = client.health()
    assert (health.status, health.queue.size, health.ledger.in_memory) == ("degraded", 1, 1)
    assert "UNAVAILABLE" in str(health.exporter.last_error)
    receiver.start()
    until("health to return", lambda: client.health().status == "healthy")
    until("a success", lambda: client.health().exporter.last_success_age_seconds is not None)


def test_permanent_refusal_is_degraded(client: TelemetryClient, receiver: Any, until: Any) -> None:
    """A 401 that drops everything is not healthy, even though the breaker is closed."""
    receiver.answer = lambda context: context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")
    with client.start_span("work"):
        pass
    until("the drop", lambda: client.health().ledger.dropped == {"not_retryable": 1})
    health = client.health()
    assert (health.status, health.circuit_breaker.state) == ("degraded", "closed")
    assert "no token" in str(health.exporter.last_error)
    # The drop is forgotten after a minute, but the refusal only after the next success.
    client.pipeline.ledger._clock = lambda: time.monotonic() + 61
    assert client.pipeline.ledger.dropped_in_last_minute() == 0
    assert client.health().status == "degraded"


def test_recent_drop_is_degraded(client: TelemetryClient) -> None:
    """Lost spans are reported even if everything else is ok."""
    client.pipeline.ledger.refuse()
    assert client.health().status == "degraded"


def test_dead_worker_is_unhealthy(client: TelemetryClient) -> None:
    """Nothing would ever be sent again, so the process should be restarted."""
    with client.start_span("work"):
        pass
    assert client.force_flush(5)
    dead = threading.Thread(target=lambda: None)
    dead.start()
    dead.join()
    run = client.pipeline._run
    assert run is not None
    run.worker._thread = dead
    assert client.health().status == "unhealthy"


def test_credentials_never_appear(receiver: Any) -> None:
    """The report has neither the endpoint's password nor a header's value."""
    config = TelemetryConfig(
        endpoint=f"http://user:hunter2@127.0.0.1:{receiver.port}", headers={"authorization": "hunter2"}
    )
    made = TelemetryClient(config)
    assert "hunter2" not in made.health().model_dump_json()
    made.shutdown(0.5)


@pytest.mark.parametrize(
    ("check", "status", "detail"),
    [
        (lambda: None, "ok", ""),
        (lambda: True, "ok", ""),
        (lambda: "3 replicas", "ok", "3 replicas"),
        (lambda: False, "failing", "returned False"),
        (lambda: 1 / 0, "failing", "ZeroDivisionError"),
    ],
)
def test_synchronous_check_is_reported(
    check: Callable[[], object],
    status: str,
    detail: str,
    client: TelemetryClient,
    register: Callable[..., None],
) -> None:
    """Both variants report what the check returns or raises."""
    register("database", check)
    for health in (check_telemetry_health(client), asyncio.run(check_telemetry_health_async(client))):
        assert health.checks["database"].status == status
        assert detail in health.checks["database"].detail
        assert health.status == ("healthy" if status == "ok" else "degraded")


def test_check_that_exits_is_reported(client: TelemetryClient, register: Callable[..., None]) -> None:
    """Even a SystemExit in a check does not end the process."""
    register("exits", lambda: (_ for _ in ()).throw(SystemExit(3)))
    assert client.health().checks["exits"].status == "failing"


def test_only_a_critical_check_makes_the_whole_unhealthy(client: TelemetryClient, register: Any) -> None:
    """Other failing checks only degrade the status."""
    register("cache", lambda: False)
    assert client.health().status == "degraded"
    register("database", lambda: False, critical=True)
    assert client.health().status == "unhealthy"


def test_hanging_check_is_a_timeout_and_is_not_started_again(
    client: TelemetryClient, register: Callable[..., None], release: threading.Event
) -> None:
    """However often health is polled, at most one thread hangs."""
    starts: list[int] = []

    def hang() -> None:
        starts.append(1)
        release.wait(30)

    register("hangs", hang, timeout_seconds=0.05)
    for _ in range(3):
        check = client.health().checks["hangs"]
        assert (check.status, "still running" in check.detail) == ("timeout", True)
    assert asyncio.run(check_telemetry_health_async(client)).checks["hangs"].status == "timeout"
    assert len(starts) == 1


def test_check_that_hung_once_runs_again_when_it_has_ended(
    client: TelemetryClient, register: Callable[..., None], release: threading.Event, until: Any
) -> None:
    """The check recovers."""
    register("slow", lambda: release.wait(30), timeout_seconds=0.05)
    assert client.health().checks["slow"].status == "timeout"
    release.set()
    until("the check to pass", lambda: client.health().checks["slow"].status == "ok")


def test_checks_run_side_by_side(
    client: TelemetryClient, register: Callable[..., None], release: threading.Event
) -> None:
    """Two checks that wait for each other both pass."""
    both = threading.Barrier(2)
    register("first", lambda: bool(both.wait(5)) or None, timeout_seconds=5)
    register("second", lambda: bool(both.wait(5)) or None, timeout_seconds=5)
    assert {check.status for check in client.health().checks.values()} == {"ok"}
    del release


def test_asynchronous_check_is_awaited_or_skipped_with_the_remedy(
    client: TelemetryClient, register: Callable[..., None]
) -> None:
    """The synchronous variant skips the check and names the variant that can run it."""

    async def check() -> str:
        await asyncio.sleep(0)
        return "pool of 5"

    register("pool", check)
    skipped = client.health().checks["pool"]
    assert (skipped.status, "check_telemetry_health_async" in skipped.detail) == ("skipped", True)
    awaited = asyncio.run(check_telemetry_health_async(client))
    assert (awaited.checks["pool"].status, awaited.checks["pool"].detail) == ("ok", "pool of 5")
    assert client.health().status == "healthy"


def test_asynchronous_check_that_hangs_is_cancelled(
    client: TelemetryClient, register: Callable[..., None]
) -> None:
    """The check is cancelled after its timeout and reported."""
    cancelled: list[bool] = []

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    register("hangs", hang, timeout_seconds=0.05)
    assert asyncio.run(check_telemetry_health_async(client)).checks["hangs"].status == "timeout"
    assert cancelled == [True]


def test_check_that_swallows_its_cancellation_does_not_hang_the_report(
    client: TelemetryClient, register: Callable[..., None]
) -> None:
    """The check is abandoned."""
    done = asyncio.Event()

    async def stubborn() -> None:
        while not done.is_set():
            try:
                await done.wait()
            except asyncio.CancelledError:
                continue

    register("stubborn", stubborn, timeout_seconds=0.05)

    async def ask() -> str:
        status = (await check_telemetry_health_async(client)).checks["stubborn"].status
        done.set()
        return status

    assert asyncio.run(ask()) == "timeout"


def test_coroutine_returned_by_a_plain_function_is_no_success(
    client: TelemetryClient, register: Callable[..., None]
) -> None:
    """The coroutine would never be awaited."""

    async def ping() -> None:
        """Stands for a database query."""

    register("database", lambda: ping())  # noqa: PLW0108 - the mistake in question
    result = client.health().checks["database"]
    assert (result.status, "register the coroutine function" in result.detail) == ("failing", True)


def test_own_timeout_error_of_a_check_is_a_failure(
    client: TelemetryClient, register: Callable[..., None]
) -> None:
    """A TimeoutError from the check itself is not a timeout of the check."""

    async def check() -> None:
        raise TimeoutError("upstream")

    register("upstream", check)
    result = asyncio.run(check_telemetry_health_async(client)).checks["upstream"]
    assert (result.status, "upstream" in result.detail) == ("failing", True)


def test_synchronous_check_does_not_block_the_event_loop(
    client: TelemetryClient, register: Callable[..., None], release: threading.Event
) -> None:
    """The loop continues while a check waits; here the loop itself releases it."""
    register("waits", lambda: release.wait(5), timeout_seconds=5)

    async def both() -> str:
        health = asyncio.create_task(check_telemetry_health_async(client))
        await asyncio.sleep(0)
        release.set()
        return (await health).checks["waits"].status

    assert asyncio.run(both()) == "ok"


def test_cancelled_request_is_cancelled(
    client: TelemetryClient, register: Callable[..., None], release: threading.Event
) -> None:
    """The caller's cancellation is not mistaken for a check's."""
    register("hangs", lambda: release.wait(30), timeout_seconds=20)

    async def cancel() -> None:
        health = asyncio.create_task(check_telemetry_health_async(client))
        await asyncio.sleep(0)
        health.cancel()
        await health

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancel())


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"name": "", "check": print}, ValueError, "name must not be empty"),
        ({"name": "x", "check": 3}, TypeError, "check of 'x' must be a function"),
        (
            {"name": "x", "check": print, "timeout_seconds": 0},
            ValueError,
            "timeout_seconds of 'x' must be above 0",
        ),
    ],
)
def test_bad_registration_is_refused(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    """The error names the field and the rule."""
    with pytest.raises(error, match=words):
        register_health_check(**arguments)


def test_endpoint_answers_200_or_503_and_is_never_cached(
    receiver: Any, register: Callable[..., None]
) -> None:
    """A degraded app still serves; an unhealthy one answers 503."""
    app = FastAPI()
    setup_telemetry(app, TelemetryConfig(service_name="endpoint", endpoint=receiver.endpoint))
    with TestClient(app) as http:
        register("cache", lambda: False)
        degraded = http.get("/health/telemetry")
        assert (degraded.status_code, degraded.json()["status"]) == (200, "degraded")
        assert degraded.headers["cache-control"] == "no-store"
        register("database", lambda: False, critical=True)
        unhealthy = http.get("/health/telemetry")
        assert (unhealthy.status_code, unhealthy.json()["status"]) == (503, "unhealthy")


def test_without_any_client_health_is_degraded_and_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that never set up telemetry gets a degraded report."""
    from telemetry import current  # noqa: PLC0415 - the test patches its module state

    monkeypatch.setattr(current, "_set_up", [])
    monkeypatch.setattr(current, "_made", [])
    assert check_telemetry_health().status == "degraded"
