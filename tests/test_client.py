"""TelemetryClient: manual spans, shared pipelines, defaults, settings, shutdown and fork."""

import gc
import os
import re
import threading
from collections.abc import Iterator
from typing import Any
from weakref import WeakSet

import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind
from support.forking import assert_child_succeeds
from support.using_client import use_client

from telemetry import current, health_check, providers
from telemetry.client import TelemetryClient
from telemetry.config import TelemetryConfig
from telemetry.current import find_client
from telemetry.health import checks


@pytest.fixture
def config(receiver: Any) -> Iterator[TelemetryConfig]:
    """A separate configuration for each test; its pipeline is stopped at the end."""
    made = TelemetryConfig(service_name="client-test", endpoint=receiver.endpoint)
    yield made
    TelemetryClient(made).pipeline.stop(0.5)


def test_span_as_the_guide_writes_it(config: TelemetryConfig, receiver: Any) -> None:
    """A temporary client traces a block with attributes, and the span arrives."""
    with TelemetryClient(config).start_span("operation_name", kind=SpanKind.CLIENT) as span:
        span.set_attribute("key", "value")
        assert trace.get_current_span() is span
    assert TelemetryClient(config).force_flush(5)
    (sent,) = receiver.spans
    assert (sent.name, sent.kind, sent.attributes[0].key) == (
        "operation_name",
        SpanKind.CLIENT.value + 1,
        "key",
    )


def test_exception_in_a_span_is_recorded_and_goes_on(config: TelemetryConfig, receiver: Any) -> None:
    """The block's exception is recorded on the span and reaches the caller."""
    client = TelemetryClient(config)
    with pytest.raises(ZeroDivisionError), client.start_span("fails"):
        _ = 1 / 0
    assert client.force_flush(5)
    assert receiver.spans[0].events[0].name == "exception"


def workers() -> set[threading.Thread]:
    """Returns the threads that export."""
    return {thread for thread in threading.enumerate() if thread.name == "telemetry-export"}


def test_thousand_clients_make_one_worker(config: TelemetryConfig, receiver: Any) -> None:
    """Clients with equal configurations share one pipeline."""
    before = workers()
    for _ in range(1_000):
        with TelemetryClient(config).start_span("inline"):
            pass
    assert len(workers() - before) == 1
    assert TelemetryClient(config).force_flush(5)
    assert len(receiver.spans) == 1_000
    gc.collect()
    assert len(current._made) <= 1


def test_context_manager_flushes_at_the_end(config: TelemetryConfig, receiver: Any) -> None:
    """Spans are sent when the client's block ends."""
    with TelemetryClient(config) as client, client.start_span("last"):
        pass
    assert receiver.names == ["last"]


def test_shutdown_of_one_client_leaves_another_working(config: TelemetryConfig, receiver: Any) -> None:
    """The pipeline stops with its last client."""
    first, second = TelemetryClient(config), TelemetryClient(config)
    assert first.shutdown(5)
    with second.start_span("still"):
        pass
    assert second.force_flush(5)
    assert receiver.names == ["still"]


def test_clients_that_come_and_go_at_once_lose_nothing(config: TelemetryConfig, receiver: Any) -> None:
    """A client that shuts down while another starts does not affect the other's spans."""

    def come_and_go() -> None:
        for _ in range(25):
            with TelemetryClient(config) as client, client.start_span("x"):
                pass

    threads = [threading.Thread(target=come_and_go) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reading = TelemetryClient(config).pipeline.ledger.read()
    assert (reading.ended, reading.delivered, dict(reading.dropped)) == (200, 200, {})
    assert len(receiver.spans) == 200


def test_client_given_up_by_its_owner_does_not_count_as_a_user(config: TelemetryConfig) -> None:
    """A temporary client that was collected does not keep the pipeline running."""
    TelemetryClient(config).start_span("inline")
    gc.collect()
    keeper = TelemetryClient(config)
    with keeper.start_span("work"):
        pass
    assert keeper.shutdown(5)


def test_settings_and_config_together_are_refused(config: TelemetryConfig) -> None:
    """It would be unclear which of the two wins."""
    with pytest.raises(TypeError, match="service_name"):
        TelemetryClient(config, service_name="other")


def test_shutdown_with_a_dead_collector_is_false_and_bounded(config: TelemetryConfig, receiver: Any) -> None:
    """False means that something was not sent."""
    receiver.stop()
    client = TelemetryClient(config)
    with client.start_span("lost"):
        pass
    assert client.shutdown(0.5) is False
    assert client.pipeline.ledger.read().is_balanced


def test_own_client_wins_over_the_default(config: TelemetryConfig) -> None:
    """`find_client()` returns the given client within `use_client()`."""
    client = TelemetryClient(config)
    with use_client(client):
        assert find_client() is client
    client.shutdown(1)


def test_default_passes_to_a_client_that_lives(
    config: TelemetryConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the first client is shut down, decorated code finds the next one."""
    monkeypatch.setattr(current, "_set_up", [])
    monkeypatch.setattr(current, "_made", [])
    monkeypatch.setattr(current, "_later", WeakSet())
    first, second = TelemetryClient(config), TelemetryClient(config)
    assert find_client() is first
    first.shutdown(1)
    assert find_client() is second
    second.shutdown(1)
    assert find_client() is None


def test_running_client_is_configured(receiver: Any) -> None:
    """Health and metrics show the settings in effect, and the pipeline applies them."""
    client = TelemetryClient(endpoint=receiver.endpoint, schedule_delay_ms=60_000, service_name="adjusted")
    with client.start_span("before"):
        pass
    client.configure(batch_size=2, delay_ms=50_000, sampling_ratio=0.0)
    health = client.health()
    assert (health.batch.size, health.batch.delay_ms, health.sampling_ratio) == (2, 50_000, 0.0)
    shown = {family.name: family.samples[0].value for family in client.registry.collect() if family.samples}
    assert shown["telemetry_batch_size_limit"] == 2
    assert shown["telemetry_sampling_ratio"] == 0.0
    with client.start_span("unsampled") as span:
        assert not span.is_recording()
    client.configure(sampling_ratio=1.0)
    assert client.health().batch.size == 2
    with client.start_span("after"):
        pass
    assert client.shutdown(5)
    assert receiver.names == ["before", "after"]


def test_smaller_batch_is_sent_as_soon_as_it_is_full(receiver: Any, until: Any) -> None:
    """The new batch size applies without restarting the worker."""
    client = TelemetryClient(endpoint=receiver.endpoint, schedule_delay_ms=60_000, service_name="smaller")
    for name in ("one", "two"):
        with client.start_span(name):
            pass
    client.configure(batch_size=3)
    with client.start_span("three"):
        pass
    until("the batch", lambda: receiver.names == ["one", "two", "three"])
    assert client.shutdown(5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size=0 cannot be set: it must be 1 to 2048 (OTEL_BSP_MAX_QUEUE_SIZE)"),
        ({"batch_size": 2049}, "must be 1 to 2048"),
        ({"batch_size": 1.5}, "batch_size=1.5"),
        ({"delay_ms": 0}, "delay_ms=0 cannot be set: it must be 1 to 86400000"),
        ({"delay_ms": float("nan")}, "delay_ms=nan"),
        ({"delay_ms": 1e16}, "must be 1 to 86400000, in milliseconds"),
        ({"delay_ms": "5"}, "delay_ms='5'"),
        ({"delay_ms": True}, "delay_ms=True"),
        ({"batch_size": 10.0}, "batch_size=10.0"),
        ({"batch_size": True}, "batch_size=True"),
        ({"sampling_ratio": "0.5"}, "sampling_ratio='0.5'"),
        ({"sampling_ratio": 1.1}, "sampling_ratio=1.1 cannot be set: it must be 0 to 1"),
    ],
)
def test_setting_out_of_its_range_changes_nothing(
    settings: dict[str, Any], message: str, receiver: Any
) -> None:
    """The error names value and rule, and the call's other settings are not applied either."""
    client = TelemetryClient(endpoint=receiver.endpoint, service_name="unchanged")
    before = client.health()
    with pytest.raises(ValueError, match=re.escape(message)):
        client.configure(**{"batch_size": 7, "delay_ms": 7, "sampling_ratio": 0.7, **settings})
    assert (client.health().batch, client.health().sampling_ratio) == (before.batch, before.sampling_ratio)
    client.shutdown(1)


def test_sampler_without_a_ratio_has_none_to_set(receiver: Any) -> None:
    """The error names the sampler in effect."""
    client = TelemetryClient(endpoint=receiver.endpoint, sampler="always_on", service_name="always")
    with pytest.raises(ValueError, match="OTEL_TRACES_SAMPLER is always_on"):
        client.configure(sampling_ratio=0.5, batch_size=3)
    assert client.health().batch.size != 3
    client.shutdown(1)


@pytest.mark.parametrize("whose", ["all providers", "providers", "current", "health check"])
def test_fork_while_another_thread_holds_a_lock_leaves_the_child_working(whose: str, receiver: Any) -> None:
    """The child lacks that thread, so nothing in it would ever release the lock."""
    config = TelemetryConfig(service_name=f"fork-{whose}", endpoint=receiver.endpoint)
    client = TelemetryClient(config)
    lock, work = {
        "all providers": (providers._lock, lambda: TelemetryClient(service_name="of-the-child")),
        "providers": (client._providers._lock, lambda: client.shutdown(5)),
        "current": (current._lock, lambda: TelemetryClient(config)),
        "health check": (checks._lock, client.health),
    }[whose]
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            release.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(5)
    try:
        assert_child_succeeds(work)
    finally:
        release.set()
        thread.join()
    client.shutdown(5)


def test_check_that_runs_while_the_process_forks_runs_anew_in_the_child(config: TelemetryConfig) -> None:
    """The parent's run never ends in the child."""
    started, release = threading.Event(), threading.Event()
    parent = os.getpid()

    def check() -> None:
        if os.getpid() == parent:
            started.set()
            release.wait(30)

    client = TelemetryClient(config)
    health_check.register_health_check("slow", check, timeout_seconds=5)
    asking = threading.Thread(target=client.health)
    try:
        asking.start()
        assert started.wait(5)
        assert_child_succeeds(lambda: client.health().checks["slow"].status == "ok")
    finally:
        release.set()
        asking.join()
        health_check.unregister_health_check("slow")
    client.shutdown(1)
