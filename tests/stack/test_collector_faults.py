"""The faults that a real Collector can show: killed, frozen, restarted. The others are in tests/export."""

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from support.running_stack import Stack

from stack.canary import order_one
from telemetry.config import TelemetryConfig
from telemetry.export.breaker import BreakerState
from telemetry.export.ledger import DropReason
from telemetry.export.pipeline import ExportPipeline

pytestmark = pytest.mark.timeout(3600)

LONGEST_OPEN_SECONDS = 70
"""The longest wait of a breaker for its next probe, plus some time for the probe."""


@pytest.fixture(autouse=True)
def collector_is_up_afterwards(stack: Stack) -> Iterator[None]:
    """Restores the Collector, whatever a test did to it."""
    yield
    stack.runtime.resume("collector")
    stack.runtime.start("collector")
    stack.wait(
        "a closed breaker",
        lambda: stack.health()["circuit_breaker"]["state"] == "closed",
        seconds=LONGEST_OPEN_SECONDS,
    )


class Direct:
    """A pipeline of the test's own that sends to the stack's Collector."""

    def __init__(self, stack: Stack, **settings: Any) -> None:
        defaults = {
            "endpoint": f"http://127.0.0.1:{stack.settings.otlp_grpc_port}",
            "schedule_delay_ms": 50,
            "exporter_timeout_seconds": 0.5,
            "breaker_open_seconds": 0.2,
            "breaker_open_max_seconds": 1,
        }
        self.pipeline = ExportPipeline(TelemetryConfig(**{**defaults, **settings}))
        self._provider = TracerProvider(shutdown_on_exit=False)
        self._provider.add_span_processor(self.pipeline)

    def end_spans(self, count: int) -> list[str]:
        """Ends spans, each in a trace of its own; returns the trace ids."""
        tracer, ids = self._provider.get_tracer("test"), []
        for _ in range(count):
            span = tracer.start_span("direct")
            span.end()
            ids.append(f"{span.get_span_context().trace_id:032x}")
        return ids

    @property
    def ledger(self) -> Any:
        """A reading of the ledger, which must be balanced."""
        reading = self.pipeline.ledger.read()
        assert reading.is_balanced, reading
        return reading


@pytest.fixture
def direct(stack: Stack) -> Iterator[Callable[..., Direct]]:
    """Makes pipelines, and stops them."""
    made: list[Direct] = []

    def make(**settings: Any) -> Direct:
        made.append(Direct(stack, **settings))
        return made[-1]

    yield make
    for each in made:
        each.pipeline.stop(0.5)


def order_in_an_outage(stack: Stack) -> list[str]:
    """Orders until the storefront's breaker is open, and some more; each is answered quickly."""
    traces: list[str] = []

    def is_open() -> bool:
        started = time.monotonic()
        traces.append(order_one(stack.settings))
        assert time.monotonic() - started < 2, "an order waited for the Collector"
        return stack.health()["circuit_breaker"]["state"] in {"open", "half_open"}

    stack.wait("an open breaker", is_open, seconds=20)
    traces += [order_one(stack.settings) for _ in range(20)]
    stack.wait("spans in the spool", lambda: stack.health()["ledger"]["spooled"] > 0, seconds=10)
    assert stack.health()["status"] == "degraded"
    assert stack.breaker_metric() in {"open", "half_open"}
    return traces


def assert_everything_arrives(stack: Stack, traces: list[str]) -> None:
    """Checks that every trace of the outage is whole in Jaeger and nothing waits any more."""
    for trace_id in traces:
        # The inventory was not restarted, so its breaker may be in its longest wait.
        stack.wait_for_trace(trace_id, seconds=LONGEST_OPEN_SECONDS)
    stack.wait("an empty spool", lambda: stack.health()["ledger"]["spooled"] == 0, seconds=30)
    assert not stack.health()["ledger"]["dropped"]


def test_row_01_killed_collector_costs_no_span(stack: Stack) -> None:
    """Connections are refused: the breaker opens, spans go to disk, and all are in Jaeger afterwards."""
    stack.runtime.kill("collector")
    traces = order_in_an_outage(stack)
    stack.runtime.start("collector")
    stack.wait("a closed breaker", lambda: stack.breaker_metric() == "closed", seconds=LONGEST_OPEN_SECONDS)
    assert_everything_arrives(stack, traces)


def test_row_03_frozen_collector_costs_no_span_and_no_time(stack: Stack) -> None:
    """It accepts and never answers: each attempt has its deadline, and requests are not delayed."""
    stack.runtime.pause("collector")
    traces = order_in_an_outage(stack)
    assert "DEADLINE_EXCEEDED" in stack.health()["exporter"]["last_error"]
    stack.runtime.resume("collector")
    stack.wait("a closed breaker", lambda: stack.breaker_metric() == "closed", seconds=LONGEST_OPEN_SECONDS)
    assert_everything_arrives(stack, traces)


def test_row_23_restarted_collector_is_found_at_once(stack: Stack, direct: Callable[..., Direct]) -> None:
    """A connection used before the restart does not wait for gRPC's own reconnection."""
    sender = direct()
    before = sender.end_spans(5)
    assert sender.pipeline.force_flush(5_000) is True
    stack.runtime.kill("collector")
    stack.runtime.start("collector")
    after = sender.end_spans(5)
    started = time.monotonic()
    stack.wait("the spans delivered", lambda: sender.ledger.delivered == 10, seconds=10)
    assert time.monotonic() - started < 5
    for trace_id in before + after:
        stack.wait(f"trace {trace_id}", lambda trace_id=trace_id: stack.jaeger.spans(trace_id), seconds=20)


def test_row_25_overflow_drops_counted_and_blocks_nobody(
    stack: Stack, direct: Callable[..., Direct], caplog: pytest.LogCaptureFixture
) -> None:
    """Memory stays bounded, each warning is logged once, and the kept spans arrive."""
    caplog.set_level(logging.WARNING)
    sender = direct(buffer_max_bytes=2**16, max_queue_size=512, max_export_batch_size=128)
    stack.runtime.pause("collector")
    slowest = 0.0
    for _ in range(200):
        started = time.thread_time()
        sender.end_spans(100)
        slowest = max(slowest, time.thread_time() - started)
        assert sender.pipeline.buffered_bytes <= 2**16
        assert sender.ledger
    stack.wait("an open breaker", lambda: sender.pipeline.breaker.snapshot().opened_total, seconds=20)
    dropped = sender.ledger.dropped
    assert set(dropped) <= {DropReason.QUEUE_FULL, DropReason.BUFFER_FULL}
    assert sum(dropped.values()) > 10_000
    messages = [
        record.getMessage() for record in caplog.records if record.name.startswith("telemetry.export")
    ]
    assert len(messages) == len({line.split(":")[0] for line in messages}) <= 2, messages
    stack.runtime.resume("collector")
    stack.wait("the rest delivered", lambda: sender.ledger.in_memory == 0, seconds=20)
    assert sender.ledger.delivered == 20_000 - sum(sender.ledger.dropped.values())
    assert sender.pipeline.breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize("is_spooled", [False, True], ids=["memory", "spool"])
def test_row_26_shutdown_and_flush_are_bounded_and_honest(
    is_spooled: bool, stack: Stack, direct: Callable[..., Direct], tmp_path: Path
) -> None:
    """Both return False; without a spool the spans count as lost, with one the next process sends them."""
    settings = {"spool_dir": tmp_path / "spool"} if is_spooled else {}
    sender = direct(schedule_delay_ms=60_000, max_queue_size=2_048, **settings)
    stack.runtime.pause("collector")
    traces = sender.end_spans(2_000)
    started = time.monotonic()
    assert sender.pipeline.force_flush(1_000) is False
    assert sender.pipeline.stop(2) is False
    assert time.monotonic() - started < 4.5
    stack.runtime.resume("collector")
    if not is_spooled:
        assert sender.ledger.dropped == {DropReason.SHUTDOWN: 2_000}
        return
    assert (sender.ledger.spooled, sender.ledger.dropped) == (2_000, {})
    sender.pipeline._spool.forget_after_fork()  # type: ignore[union-attr] # the process ends
    heir = direct(**settings)
    heir.pipeline.replay()
    stack.wait("everything delivered by the heir", lambda: heir.ledger.delivered == 2_000, seconds=20)
    assert heir.ledger.adopted == 2_000
    for trace_id in (traces[0], traces[-1]):
        stack.wait(f"trace {trace_id}", lambda trace_id=trace_id: stack.jaeger.spans(trace_id), seconds=20)


def test_spool_of_a_killed_service_is_sent_by_the_next_one(stack: Stack) -> None:
    """Spooled spans outlive a storefront that is killed during an outage of its Collector."""
    stack.runtime.kill("collector")
    traces = order_in_an_outage(stack)
    # Spans that are still in memory are lost with the process; those on disk are not.
    stack.wait("memory to be empty", lambda: stack.health()["ledger"]["in_memory"] == 0, seconds=10)
    stack.runtime.kill("storefront")
    stack.runtime.start("collector")
    stack.runtime.start("storefront")

    def is_adopted() -> bool:
        try:
            return bool(stack.health()["ledger"]["adopted"])
        except httpx.TransportError:
            return False

    stack.wait("adopted spans", is_adopted, seconds=30)
    for trace_id in traces:
        # The inventory was not restarted, so its breaker may be in its longest wait.
        stack.wait_for_trace(trace_id, seconds=LONGEST_OPEN_SECONDS)
