"""Metrics that a client pushes along with its spans: shared budget, shutdown and fork."""

import threading
import time
from typing import Any

import grpc
import pytest
from opentelemetry.metrics import CallbackOptions, Observation
from support.forking import assert_child_succeeds

from telemetry.client import TelemetryClient


def test_metrics_are_pushed_when_asked(receiver: Any) -> None:
    """OTEL_METRICS_EXPORTER=otlp adds a reader; metrics can still be scraped."""
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
    """Both signals count, and they share one budget."""
    client = TelemetryClient(endpoint=receiver.endpoint, metrics_exporter="otlp", service_name="refused")
    client.meter.create_counter("refused.test").add(1)
    receiver.answer = lambda context: context.abort(grpc.StatusCode.INVALID_ARGUMENT, "on purpose")
    assert client.force_flush(5) is False
    receiver.answer = lambda _: None
    assert client.force_flush(5) is True
    assert client.shutdown(5)


def pushing(receiver: Any, **settings: Any) -> TelemetryClient:
    """Returns a client that pushes metrics, with a counter among them."""
    given = {"endpoint": receiver.endpoint, "metrics_exporter": "otlp", **settings}
    client = TelemetryClient(**given)
    client.meter.create_counter("pushed.test").add(1)
    return client


def test_shutdown_without_time_raises_nothing_and_drains_the_spans(
    receiver: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Every span is accounted for, and the missing push is logged once."""
    client = pushing(receiver, service_name="no-time", schedule_delay_ms=60_000)
    with client.start_span("lost"):
        pass
    assert client.shutdown(0) is False
    reading = client.pipeline.ledger.read()
    assert (reading.in_memory, reading.is_balanced) == (0, True)
    client.start()
    assert client.force_flush(0) is False
    assert caplog.text.count("flushing the metrics did not finish") == 1
    client.shutdown(5)


def test_slow_callback_of_a_gauge_costs_the_metrics_only(receiver: Any) -> None:
    """Nothing is raised, and half the budget is reserved for the spans."""
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
    """The spans arrive although a push with a long timeout hangs, and no push follows later."""
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
    """Returns the metric pushing threads that are still alive."""
    return [thread for thread in threading.enumerate() if thread.name == "telemetry-metrics"]


def test_nothing_is_pushed_between_the_last_client_and_the_next(receiver: Any, until: Any) -> None:
    """Pushing stops with the last client; the counters continue with the next one."""
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
    """Each destination has its own breaker; spans and metrics for one destination share it."""
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
    """The child pushes from its own thread, even if the parent forked during a push."""
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


def test_client_made_while_the_interpreter_exits_pushes_nothing_and_says_so_once(
    receiver: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No thread can start at that time, but nothing is raised."""
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
    assert caplog.text.count("metrics can no longer be pushed") == 1
    assert len(receiver.metric_pushes) == pushed


def test_breaker_of_another_server_is_on_both_pages(receiver: Any, until: Any) -> None:
    """An outage of the metrics' server alone is seen, and the spans' breaker says nothing of it."""
    client = TelemetryClient(
        service_name="two-servers",
        endpoint=receiver.endpoint,
        metrics_endpoint="http://127.0.0.1:9",
        metrics_exporter="otlp",
        metric_export_interval_ms=20,
    )
    client.meter.create_counter("pushed.test").add(1)

    def pushes() -> Any:
        return client.health().metrics_push

    until("the pushes' breaker to open", lambda: pushes().circuit_breaker.state == "open")
    health = client.health()
    assert (health.status, health.circuit_breaker.state) == ("degraded", "closed")
    assert (pushes().endpoint, pushes().has_own_breaker) == ("http://127.0.0.1:9", True)
    assert "127.0.0.1:9" in pushes().last_error
    page = {
        (sample.name, sample.labels.get("state")): sample.value
        for family in client.registry.collect()
        for sample in family.samples
    }
    assert page["telemetry_push_breaker_state", "open"] == 1
    assert page["telemetry_breaker_state", "closed"] == 1
    client.shutdown(1)


def test_shared_breaker_is_shown_once(receiver: Any) -> None:
    """Where spans and metrics go to one server."""
    client = pushing(receiver, service_name="one-server")
    shared = client.health().metrics_push
    assert shared is not None
    assert not shared.has_own_breaker
    assert not any("push_breaker" in family.name for family in client.registry.collect())
    client.shutdown(5)


def test_push_has_a_timeout_of_its_own(receiver: Any, until: Any) -> None:
    """Which a slow server of metrics exceeds, while spans may take longer."""
    client = pushing(
        receiver,
        service_name="own-timeout",
        exporter_timeout_seconds=60,
        metrics_timeout_seconds=0.1,
        metric_export_interval_ms=20,
    )
    release = threading.Event()
    receiver.push_answer = lambda _: release.wait(20)
    until("a push to fail", lambda: "DEADLINE" in str(client.health().metrics_push.last_error))
    release.set()
    client.shutdown(5)
