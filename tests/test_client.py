"""TelemetryClient: manual spans, sharing, defaults and shutdown."""

import gc
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakSet

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.trace import SpanKind

from telemetry import current, health_check, providers
from telemetry.client import TelemetryClient
from telemetry.config import TelemetryConfig
from telemetry.current import find_client, use_client
from telemetry.health import checks


@pytest.fixture
def config(receiver: Any) -> Iterator[TelemetryConfig]:
    """A configuration of its own for each test; its pipeline is stopped at the end."""
    made = TelemetryConfig(service_name="client-test", endpoint=receiver.endpoint)
    yield made
    TelemetryClient(made).pipeline.stop(0.5)


def test_span_as_the_guide_writes_it(config: TelemetryConfig, receiver: Any) -> None:
    """A client made in passing traces a block, with attributes, and the span arrives."""
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
    """The block's own exception reaches the caller."""
    client = TelemetryClient(config)
    with pytest.raises(ZeroDivisionError), client.start_span("fails"):
        _ = 1 / 0
    assert client.force_flush(5)
    assert receiver.spans[0].events[0].name == "exception"


def workers() -> set[threading.Thread]:
    """The threads that export."""
    return {thread for thread in threading.enumerate() if thread.name == "telemetry-export"}


def test_thousand_clients_make_one_worker(config: TelemetryConfig, receiver: Any) -> None:
    """Clients of equal configuration share one pipeline."""
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
    """A script that ends its client has sent its spans."""
    with TelemetryClient(config) as client, client.start_span("last"):
        pass
    assert receiver.names == ["last"]


def test_shutdown_of_one_client_leaves_another_working(config: TelemetryConfig, receiver: Any) -> None:
    """The pipeline ends with its last user."""
    first, second = TelemetryClient(config), TelemetryClient(config)
    assert first.shutdown(5)
    with second.start_span("still"):
        pass
    assert second.force_flush(5)
    assert receiver.names == ["still"]


def test_clients_that_come_and_go_at_once_lose_nothing(config: TelemetryConfig, receiver: Any) -> None:
    """A client that ends while another begins neither takes nor gives up the other's spans."""

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
    """A client made in passing and collected does not keep the pipeline from stopping."""
    TelemetryClient(config).start_span("inline")
    gc.collect()
    keeper = TelemetryClient(config)
    with keeper.start_span("work"):
        pass
    assert keeper.shutdown(5)


def test_settings_and_config_together_are_refused(config: TelemetryConfig) -> None:
    """It would be unclear which one wins."""
    with pytest.raises(TypeError, match="service_name"):
        TelemetryClient(config, service_name="other")


def test_shutdown_with_a_dead_collector_is_false_and_bounded(config: TelemetryConfig, receiver: Any) -> None:
    """False means: something was not sent."""
    receiver.stop()
    client = TelemetryClient(config)
    with client.start_span("lost"):
        pass
    assert client.shutdown(0.5) is False
    assert client.pipeline.ledger.read().is_balanced


def test_own_client_wins_over_the_default(config: TelemetryConfig) -> None:
    """Within use_client the given client is found."""
    client = TelemetryClient(config)
    with use_client(client):
        assert find_client() is client
    client.shutdown(1)


def test_default_passes_to_a_client_that_lives(
    config: TelemetryConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the first client is shut down, decorated code finds another."""
    monkeypatch.setattr(current, "_set_up", [])
    monkeypatch.setattr(current, "_made", [])
    monkeypatch.setattr(current, "_later", WeakSet())
    first, second = TelemetryClient(config), TelemetryClient(config)
    assert find_client() is first
    first.shutdown(1)
    assert find_client() is second
    second.shutdown(1)
    assert find_client() is None


def test_metrics_are_pushed_when_asked(receiver: Any) -> None:
    """OTEL_METRICS_EXPORTER=otlp adds a reader; the scrape stays."""
    client = TelemetryClient(endpoint=receiver.endpoint, metrics_exporter="otlp", service_name="pushing")
    counter = client.meter.create_counter("pushed.test")
    counter.add(1)
    assert any("pushed_test" in family.name for family in client.registry.collect())
    assert client.shutdown(5)
    (push,) = receiver.metric_pushes
    (resource_metrics,) = push.resource_metrics
    assert "pushing" in str(resource_metrics.resource)
    assert "pushed.test" in str(resource_metrics.scope_metrics)


def test_flush_is_false_when_metrics_did_not_arrive(receiver: Any) -> None:
    """Both signals count, and both share one budget."""
    client = TelemetryClient(endpoint=receiver.endpoint, metrics_exporter="otlp", service_name="refused")
    client.meter.create_counter("refused.test").add(1)
    receiver.answer = lambda context: context.abort(grpc.StatusCode.INVALID_ARGUMENT, "on purpose")
    assert client.force_flush(5) is False
    receiver.answer = lambda _: None
    assert client.force_flush(5) is True
    assert client.shutdown(5)


def test_running_client_is_configured(receiver: Any) -> None:
    """Health and metrics show what is in effect, and the pipeline does it."""
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
    """The worker need not be restarted."""
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
    """The message names value and rule; the other settings of the call are not made either."""
    client = TelemetryClient(endpoint=receiver.endpoint, service_name="unchanged")
    before = client.health()
    with pytest.raises(ValueError, match=re.escape(message)):
        client.configure(**{"batch_size": 7, "delay_ms": 7, "sampling_ratio": 0.7, **settings})
    assert (client.health().batch, client.health().sampling_ratio) == (before.batch, before.sampling_ratio)
    client.shutdown(1)


def test_sampler_without_a_ratio_has_none_to_set(receiver: Any) -> None:
    """The message names the sampler in effect and the one to use."""
    client = TelemetryClient(endpoint=receiver.endpoint, sampler="always_on", service_name="always")
    with pytest.raises(ValueError, match="OTEL_TRACES_SAMPLER is always_on"):
        client.configure(sampling_ratio=0.5, batch_size=3)
    assert client.health().batch.size != 3
    client.shutdown(1)


def pushing(receiver: Any, **settings: Any) -> TelemetryClient:
    """A client whose metrics are pushed, with a counter among them."""
    given = {"endpoint": receiver.endpoint, "metrics_exporter": "otlp", **settings}
    client = TelemetryClient(**given)
    client.meter.create_counter("pushed.test").add(1)
    return client


def test_shutdown_without_time_raises_nothing_and_drains_the_spans(
    receiver: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The run is over, each span accounted for; the metrics are told of once."""
    client = pushing(receiver, service_name="no-time", schedule_delay_ms=60_000)
    with client.start_span("lost"):
        pass
    assert client.shutdown(0) is False
    reading = client.pipeline.ledger.read()
    assert (reading.in_memory, reading.is_balanced) == (0, True)
    client.start()
    assert client.force_flush(0) is False
    assert caplog.text.count("the metrics were not pushed") == 1
    client.shutdown(5)


def test_slow_callback_of_a_gauge_costs_the_metrics_only(receiver: Any) -> None:
    """It raises nothing, and half the budget is the spans'."""
    client = pushing(receiver, service_name="slow-gauge", schedule_delay_ms=60_000)
    release = threading.Event()

    def hang(_: CallbackOptions) -> list[Observation]:
        release.wait(20)
        return [Observation(1)]

    client.meter.create_observable_gauge("slow", [hang])
    with client.start_span("sent"):
        pass
    started = time.monotonic()
    assert client.shutdown(1) is False
    assert time.monotonic() - started < 5
    assert receiver.names == ["sent"]
    release.set()


def test_push_that_hangs_does_not_hold_a_shutdown(receiver: Any, until: Any) -> None:
    """A periodic one, with far more time than the shutdown has; the spans arrive, and no push comes later."""
    arrived, release = threading.Event(), threading.Event()

    def hang(_: grpc.ServicerContext) -> None:
        arrived.set()
        release.wait(20)

    receiver.push_answer = hang
    client = pushing(
        receiver,
        service_name="hanging-push",
        metric_export_interval_ms=10,
        exporter_timeout_seconds=20,
        export_timeout_ms=20_000,
        schedule_delay_ms=60_000,
    )
    assert arrived.wait(10)
    with client.start_span("sent"):
        pass
    started = time.monotonic()
    assert client.shutdown(1) is False
    assert time.monotonic() - started < 5
    assert receiver.names == ["sent"]
    release.set()
    until("the pushing thread to end", lambda: not pushers())
    assert len(receiver.metric_pushes) == 1


def pushers() -> list[threading.Thread]:
    """The threads that push metrics and have not ended."""
    return [thread for thread in threading.enumerate() if thread.name == "telemetry-metrics"]


def test_nothing_is_pushed_between_the_last_client_and_the_next(receiver: Any, until: Any) -> None:
    """Pushing ends with the last client, its counters go on with the next."""
    client = pushing(receiver, service_name="comes-again", metric_export_interval_ms=10)
    until("a periodic push", lambda: receiver.metric_pushes)
    assert client.shutdown(5)
    until("the pushing thread to end", lambda: not pushers())
    pushed = len(receiver.metric_pushes)
    assert client.force_flush(5)
    assert len(receiver.metric_pushes) == pushed
    client.start()
    until("a push of the next", lambda: len(receiver.metric_pushes) > pushed)
    assert client.shutdown(5)
    assert "as_int: 1" in str(receiver.metric_pushes[-1])


def test_dead_destination_of_metrics_leaves_the_spans_breaker_alone(receiver: Any, free_port: int) -> None:
    """Each destination has a breaker of its own; one destination has one for both."""
    dead = f"http://127.0.0.1:{free_port}"
    client = pushing(receiver, service_name="two-places", metrics_endpoint=dead, breaker_failure_threshold=1)
    for _ in range(3):
        assert client.force_flush(5) is False
    with client.start_span("sent"):
        pass
    client.shutdown(5)
    assert client.pipeline.breaker.snapshot().opened_total == 0
    assert receiver.names == ["sent"]
    together = pushing(receiver, service_name="one-place", endpoint=dead, breaker_failure_threshold=1)
    assert together.force_flush(5) is False
    assert together.pipeline.breaker.snapshot().opened_total == 1
    together.shutdown(1)


def test_forked_child_pushes_too(receiver: Any) -> None:
    """With a thread of its own, while the parent's is in the middle of a push."""
    arrived, release = threading.Event(), threading.Event()
    client = pushing(receiver, service_name="forked-push", metric_export_interval_ms=60_000)
    assert client.force_flush(5)

    def hang(_: grpc.ServicerContext) -> None:
        arrived.set()
        release.wait(20)

    receiver.answer = hang
    flush = threading.Thread(target=client.force_flush, args=(20,))
    flush.start()
    assert arrived.wait(10)
    receiver.answer = lambda _: None
    assert_child_succeeds(lambda: client.force_flush(10))
    release.set()
    flush.join()
    assert client.shutdown(5)


def assert_child_succeeds(work: Callable[[], object]) -> None:
    """Forks; what the child does must be true within 20 s, or the child is ended."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    deadline = time.monotonic() + 20
    ended, state = os.waitpid(pid, os.WNOHANG)
    while not ended and time.monotonic() < deadline:
        threading.Event().wait(0.01)
        ended, state = os.waitpid(pid, os.WNOHANG)
    if not ended:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert ended, "the child hung"
    assert state == 0


@pytest.mark.parametrize("whose", ["all providers", "providers", "current", "health check"])
def test_fork_while_another_thread_holds_a_lock_leaves_the_child_working(whose: str, receiver: Any) -> None:
    """That thread is not in the child, and would never release it there."""
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
    """The parent's run never ends there."""
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


@pytest.mark.parametrize("can_start_threads", [True, False])
def test_exit_stops_everyone_whatever_one_raises(
    can_start_threads: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where no thread starts any more, as from Python 3.12 on, they share the time one after another."""
    stopped: list[float] = []

    class Stopping:
        config = TelemetryConfig(service_name="breaks", shutdown_seconds=4)

        def stop(self, seconds: float) -> None:
            """Notes its time, and fails."""
            stopped.append(seconds)
            raise ZeroDivisionError

    class NoThread(threading.Thread):
        def start(self) -> None:
            """Refuses, as an interpreter that ends."""
            raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(providers, "_all", {"one": Stopping(), "other": Stopping()})
    if not can_start_threads:
        monkeypatch.setattr(providers.threading, "Thread", NoThread)
    providers._stop_all()
    assert caplog.text.count("stopping the telemetry of breaks failed") == 2
    assert [round(seconds) for seconds in stopped] == ([4, 4] if can_start_threads else [2, 4])


def test_client_made_while_the_interpreter_exits_pushes_nothing_and_says_so_once(
    receiver: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No thread starts then; nothing is raised."""
    client = pushing(receiver, service_name="late")
    assert client.shutdown(5)
    pushed = len(receiver.metric_pushes)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(2):
            client.start()
            client.shutdown(5)
    assert caplog.text.count("metrics cannot be pushed any more") == 1
    assert len(receiver.metric_pushes) == pushed
