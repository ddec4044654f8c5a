"""Pushes metrics periodically and on flush, on a thread of its own, so that only that thread can hang."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from opentelemetry.sdk.metrics.export import MetricExportResult, MetricReader, MetricsData, ResourceMetrics

from ...fork import call_in_forked_child
from ..otlp.result import ExportResult, no_answer
from .exporter import OtlpMetricExporter

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Push:
    deadline: float
    done: threading.Event = field(default_factory=threading.Event)
    is_sent: bool = False


@dataclass(slots=True, eq=False)
class PushRun:
    """One run, between a start and a stop: the requests to its thread, and whether it is over."""

    requests: SimpleQueue[_Push | None] = field(default_factory=SimpleQueue)
    is_over: bool = False


class PushMetricReader(MetricReader):
    """A reader that collects and pushes while started, and can be restarted. Thread-safe; never raises.

    The SDK's periodic reader waits without limit for a push under way, propagates exceptions from callbacks
    of the application, and cannot be restarted.

    Args:
        exporter: sends the metrics; closed when the last run has ended.
        interval_seconds: time between two periodic pushes.
        timeout_seconds: limit for each of these, including collection.
        on_failure: called when the metrics cannot be collected.
        produce: returns metrics that are pushed beside the SDK's; None if there are none.
        after_each: called after each push, on the reader's thread.
    """

    def __init__(
        self,
        exporter: OtlpMetricExporter,
        *,
        interval_seconds: float,
        timeout_seconds: float,
        on_failure: Callable[[ExportResult], None],
        produce: Callable[[], ResourceMetrics | None] | None = None,
        after_each: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self._after_each = after_each
        self._produce = produce
        self._exporter = exporter
        self._interval_seconds = interval_seconds
        self._timeout_seconds = timeout_seconds
        self._on_failure = on_failure
        self._run: PushRun | None = None
        self._is_told = False
        self._cannot_start = False
        self._renew()
        call_in_forked_child(self._reset_after_fork)

    def _renew(self) -> None:
        self._lock = threading.Lock()
        self._push_lock = threading.Lock()
        """Held while metrics are collected and sent: a hanging run may outlive the next one's start."""
        self._present: tuple[PushRun, _Push] | None = None
        self._is_received = False

    def start(self) -> None:
        """Starts periodic pushes; harmless if they are already started."""
        failure = None
        with self._lock:
            if self._run is None:
                try:
                    self._run = self._begin()
                except RuntimeError as error:
                    # The interpreter is exiting and starts no more threads: a retry would fail too.
                    failure = None if self._cannot_start else error
                    self._cannot_start = True
        if failure is not None:
            logger.warning("metrics can no longer be pushed: %s", failure)

    def push(self, seconds: float) -> bool:
        """Pushes now; returns False if that did not arrive within the timeout, True if nothing is started."""
        return self._ask(self._run, seconds)

    def detach(self) -> PushRun | None:
        """Detaches the present run, so that later calls do not use it; leaves its last push to `drain()`."""
        with self._lock:
            run, self._run = self._run, None
            return run

    def drain(self, run: PushRun | None, seconds: float) -> bool:
        """Makes a detached run's last push and ends the run: after that it pushes nothing more."""
        is_sent = self._ask(run, seconds)
        if run is not None:
            run.is_over = True
            run.requests.put(None)
        return is_sent

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Calls `push()`; for the meter provider."""
        return self.push(timeout_millis / 1000)

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        """Calls `detach()` and `drain()`; for the meter provider."""
        self.drain(self.detach(), timeout_millis / 1000)

    def _receive_metrics(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,  # noqa: ARG002 - the push has its own deadline, partly used up
        **_: Any,
    ) -> None:
        if self._present is None:  # collected by another caller
            return
        self._is_received = True
        run, push = self._present
        metrics_data = self._with_produced(metrics_data)
        if not metrics_data.resource_metrics:
            return
        left_seconds = push.deadline - time.monotonic()
        if run.is_over or left_seconds <= 0:
            push.is_sent = False
            return
        result = self._exporter.export(metrics_data, timeout_millis=left_seconds * 1000)
        push.is_sent = result is MetricExportResult.SUCCESS

    def _with_produced(self, collected: MetricsData) -> MetricsData:
        produced = None if self._produce is None else self._produce()
        if produced is None:
            return collected
        for each in collected.resource_metrics:
            if each.resource == produced.resource:
                scopes = [*each.scope_metrics, *produced.scope_metrics]
                return MetricsData([ResourceMetrics(each.resource, scopes, each.schema_url)])
        return MetricsData([*collected.resource_metrics, produced])

    def _begin(self) -> PushRun:
        run = PushRun()
        threading.Thread(target=self._work, args=(run,), name="telemetry-metrics", daemon=True).start()
        return run

    def _ask(self, run: PushRun | None, seconds: float) -> bool:
        if run is None:
            return True
        push = _Push(time.monotonic() + seconds)
        run.requests.put(push)
        if push.done.wait(seconds):
            self._is_told = False
            return push.is_sent
        if not self._is_told:
            self._is_told = True
            logger.warning("flushing the metrics did not finish within %g s", seconds)
        return False

    def _work(self, run: PushRun) -> None:
        next_at = time.monotonic() + self._interval_seconds
        while not run.is_over:
            try:
                push = run.requests.get(timeout=max(0.0, next_at - time.monotonic()))
            except Empty:
                push = _Push(time.monotonic() + self._timeout_seconds)
                next_at = time.monotonic() + self._interval_seconds
            if push is not None:
                with self._push_lock:
                    self._make(run, push)
                self._after_each()
                push.done.set()
        with self._push_lock:
            if self._run is None:
                self._exporter.shutdown()

    def _make(self, run: PushRun, push: _Push) -> None:
        left_seconds = push.deadline - time.monotonic()
        if run.is_over or left_seconds <= 0:
            return
        self._present = run, push
        self._is_received = False
        push.is_sent = True  # unless there is something to send
        try:
            self.collect(timeout_millis=left_seconds * 1000)
            if not self._is_received:  # the SDK has nothing
                self._receive_metrics(MetricsData([]))
        except Exception as error:
            push.is_sent = False
            logger.debug("collecting metrics raised", exc_info=True)
            kind = type(error).__name__
            self._on_failure(no_answer("collection", f"the metrics could not be collected: {kind}"))
        finally:
            self._present = None

    def _reset_after_fork(self) -> None:
        # The thread and its requests belong to the parent.
        is_running = self._run is not None
        self._renew()
        self._run = None
        if is_running:
            self.start()
