"""The providers behind clients: one set per configuration, shared by its clients.

Guides write `TelemetryClient(...).start_span(...)` inline, so a thousand clients must not start a
thousand worker threads: clients with equal configurations share one `Providers`.
"""

import hashlib
import logging
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial

from opentelemetry import metrics as metrics_api
from opentelemetry import trace as trace_api
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import MeterProvider, NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, ResourceMetrics, ScopeMetrics
from opentelemetry.sdk.metrics.view import DropAggregation, View
from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NoOpTracerProvider, ProxyTracerProvider, TracerProvider
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from .config import MOST_DELAY_MS, TelemetryConfig
from .export.attempt import Attempt
from .export.breaker import CircuitBreaker
from .export.cpu import CpuMeter, Stage
from .export.otlp.result import ExportResult
from .export.otlp.transport import build_metric_transport
from .export.pipeline import ExportPipeline
from .export.push.exporter import OtlpMetricExporter
from .export.push.reader import PushMetricReader, PushRun
from .export.push.state import PushState
from .export.status import ExportStatus
from .fork import Lock, call_in_forked_child
from .metrics.exposition import collect_everything
from .metrics.instruments import Metrics
from .metrics.multiprocess import WorkerMetrics, keep_values_in_process
from .metrics.pipeline_collector import PipelineCollector
from .process_end import EndBudget, ProcessEnd
from .server_end import call_once_at_server_end
from .settings.batching import Batching
from .settings.endpoint import is_same_server, without_secrets
from .tracing.provider import build_resource, build_tracer_provider
from .tracing.sampling import AdjustableSampler

logger = logging.getLogger(__name__)

SCOPE_NAME = "telemetry"
"""The instrumentation scope of the library's own spans and of manual ones."""
_PUSHED_SCOPE = "telemetry.requests"
"""The instrumentation scope of our own metrics where they are pushed."""
_GRACE_SECONDS = 0.5
"""Extra time at exit, beyond the budget, for logging losses."""


class Providers:
    """Tracer and meter provider, registry and export pipeline of one configuration. Thread-safe."""

    def __init__(self, config: TelemetryConfig) -> None:
        config.log_suspicions()
        self.config = config
        self._resource = build_resource(config)
        self.registry = CollectorRegistry()
        self._holders: weakref.WeakSet[object] = weakref.WeakSet()
        self._lock = Lock()
        self._worker_metrics: WorkerMetrics | None = None
        if config.multiproc_dir is not None and config.enable_prometheus:
            # Without /metrics, the folder is left to the application and prometheus_client.
            keep_values_in_process()
            # Workers with another configuration measure something else.
            group = hashlib.sha256(config.model_dump_json().encode()).hexdigest()[:8]
            self._worker_metrics = WorkerMetrics(
                config.multiproc_dir, group, partial(collect_everything, self.registry)
            )
        self.pipeline = ExportPipeline(config, on_attempt=self._record_export, on_run=_expect_spans)
        self.metrics = Metrics(
            self.registry,
            http_metrics=config.http_metrics,
            latency_buckets_ms=config.latency_buckets_ms,
            max_label_sets=config.max_label_sets,
        )
        self._pusher: PushMetricReader | None = None
        self.push: PushState | None = None
        """How pushes of metrics go; None if there are none."""
        if config.metrics_exporter == "otlp" and not config.sdk_disabled:
            self.push = _push_state(config, self.pipeline.breaker)
            self._pusher = _metric_pusher(config, self.push, self.pipeline.cpu, self._pushed_metrics)
        self.meter_provider: MeterProvider = (
            NoOpMeterProvider()
            if config.sdk_disabled
            else SdkMeterProvider(
                _metric_readers(self.registry, self._pusher),
                self._resource,
                shutdown_on_exit=False,
                views=[
                    # Measured by another middleware as well, these would be on `/metrics` twice.
                    View(instrument_name=name, aggregation=DropAggregation())
                    for name in self.metrics.requests.standard_names
                ]
                # FastAPI's own, of applications that are not set up: the global provider wakes them.
                + [View(meter_name="fastapi", aggregation=DropAggregation())],
            )
        )
        self.sampler = AdjustableSampler(config)
        self.registry.register(PipelineCollector(self.pipeline, lambda: self.sampler.ratio, self.push))
        self.tracer_provider: TracerProvider = (
            NoOpTracerProvider()
            if config.sdk_disabled
            else build_tracer_provider(config, self._resource, self.sampler, self.pipeline)
        )
        if not config.sdk_disabled:
            _set_globals_if_unset(self.tracer_provider, self.meter_provider)

    @property
    def instance_id(self) -> str:
        """This process's `service.instance.id`; a forked child has its own."""
        provider = self.tracer_provider
        resource = provider.resource if isinstance(provider, SdkTracerProvider) else self._resource
        return str(resource.attributes["service.instance.id"])

    def _record_export(self, attempt: Attempt) -> None:
        self.metrics.record_export(attempt)

    def _pushed_metrics(self) -> ResourceMetrics | None:
        metrics = self.metrics.push()
        if not metrics:
            return None
        scope = ScopeMetrics(InstrumentationScope(_PUSHED_SCOPE), metrics, schema_url="")
        return ResourceMetrics(self._resource, [scope], schema_url="")

    def acquire(self, holder: object) -> None:
        """Registers a holder of these providers; the pipeline accepts spans while there is one."""
        with self._lock:
            self._holders.add(holder)
            self.pipeline.start()
        if self._pusher is not None:
            self._pusher.start()

    def release(self, holder: object, timeout_seconds: float) -> bool:
        """Flushes, and stops the pipeline for the last holder; returns False if anything is unsent."""
        with self._lock:
            self._holders.discard(holder)
            # Decided and done under one lock, so the next holder gets a run of its own.
            is_last = not self._holders
            run = self.pipeline.detach() if is_last else None
            push_run = self._pusher.detach() if is_last and self._pusher is not None else None
            if is_last and self._worker_metrics is not None:
                self._worker_metrics.stop()
        if not is_last:
            return self.flush(timeout_seconds)
        is_pushed, left_seconds = self._push_last_metrics(push_run, timeout_seconds)
        return self.pipeline.drain(run, left_seconds) and is_pushed

    def stop(self, timeout_seconds: float) -> bool:
        """Sends what is left when the interpreter exits, within the timeout, and refuses later spans.

        Those of the main thread are still sent, one by one, until the timeout.
        """
        with self._lock:
            if self.pipeline.is_stopped:
                return True  # its last client has already flushed
            run = self.pipeline.detach()
            push_run = None if self._pusher is None else self._pusher.detach()
        self.pipeline.send_late_spans(timeout_seconds)
        is_pushed, left_seconds = self._push_last_metrics(push_run, timeout_seconds)
        return self.pipeline.drain(run, left_seconds) and is_pushed

    def send_rest(self, timeout_seconds: float) -> bool:
        """Sends or spools what is left, as `stop()` does, and goes on: the process may outlive this."""
        with self._lock:
            run = self.pipeline.detach(goes_on=True)
        is_pushed, left_seconds = True, timeout_seconds
        if self._pusher is not None:
            is_pushed, left_seconds = _spend(timeout_seconds, self._pusher.push)
        return self.pipeline.drain(run, left_seconds) and is_pushed

    def start_serving(self) -> None:
        """Offers this process's metrics to its siblings, if they share a folder, and replays the spool."""
        if self._worker_metrics is not None:
            self._worker_metrics.start()
        self.pipeline.replay()

    def configure(
        self, *, batch_size: int | None, delay_ms: float | None, sampling_ratio: float | None
    ) -> None:
        """Applies changes to the running providers: all of them, or none if one raises `ValueError`."""
        capacity, present = self.config.max_queue_size, self.pipeline.batching
        if batch_size is not None and (type(batch_size) is not int or not 1 <= batch_size <= capacity):
            rule = f"it must be 1 to {capacity} (OTEL_BSP_MAX_QUEUE_SIZE)"
            raise ValueError(f"batch_size={batch_size!r} cannot be set: {rule}")
        if delay_ms is not None and not (_is_number(delay_ms) and 1 <= delay_ms <= MOST_DELAY_MS):
            rule = f"it must be 1 to {MOST_DELAY_MS}, in milliseconds"
            raise ValueError(f"delay_ms={delay_ms!r} cannot be set: {rule}")
        if sampling_ratio is not None:
            if not (_is_number(sampling_ratio) and 0 <= sampling_ratio <= 1):
                raise ValueError(f"sampling_ratio={sampling_ratio!r} cannot be set: it must be 0 to 1")
            self.sampler.adjust(sampling_ratio)
        self.pipeline.batching = Batching(
            present.size if batch_size is None else batch_size,
            present.delay_seconds if delay_ms is None else delay_ms / 1000,
        )

    async def collect_metrics(self) -> list[Metric]:
        """Collects this process's metrics, and those of its siblings if they share a folder."""
        if self._worker_metrics is None:
            return list(collect_everything(self.registry))
        self._worker_metrics.start()  # an app without a lifespan has not joined yet
        return await self._worker_metrics.collect_all()

    def flush(self, timeout_seconds: float) -> bool:
        """Sends ended spans and pushed metrics within the timeout; returns False if anything is unsent."""
        if self._pusher is None:
            return self.pipeline.force_flush(int(timeout_seconds * 1000))
        is_pushed, left_seconds = _spend(timeout_seconds, self._pusher.push)
        return self.pipeline.force_flush(int(left_seconds * 1000)) and is_pushed

    def _push_last_metrics(self, run: PushRun | None, budget_seconds: float) -> tuple[bool, float]:
        """Pushes a detached run's last metrics; returns whether they arrived, if any, and the budget left."""
        if self._pusher is None:
            return True, budget_seconds
        return _spend(budget_seconds, partial(self._pusher.drain, run))


def _spend(budget_seconds: float, push: Callable[[float], bool]) -> tuple[bool, float]:
    started = time.monotonic()
    # Half of it at most: a later push carries what this one cannot deliver, but spans are not repeated.
    is_pushed = push(budget_seconds / 2)
    return is_pushed, max(0.0, budget_seconds - (time.monotonic() - started))


def providers_for(config: TelemetryConfig) -> Providers:
    """Returns the providers of a configuration, the same ones for equal configurations. Thread-safe."""
    key = config.model_dump_json()
    with _lock:
        providers = _all.get(key)
        if providers is None:
            providers = _all[key] = Providers(config)
            _watch_end(config)
        return providers


def send_all() -> None:
    """Sends or spools what the process holds, within one budget of time, as it ends or seems to."""
    _end_all(lambda providers, seconds: providers.send_rest(seconds))


def spend_at_end(seconds: float, work: Callable[[float], bool]) -> bool:
    """Calls `work` with the part of the seconds that this end of the process has not taken so far."""
    return _budget.spend(seconds, work)


def _watch_end(config: TelemetryConfig) -> None:
    global _end  # noqa: PLW0603 - a process has one end
    if _end is None and not config.sdk_disabled:
        _end = ProcessEnd(send_all, _stop_all, _longest_seconds)
        _end.watch()
    call_once_at_server_end(send_all)


def _expect_spans() -> None:
    """Prepares for the end of a process that has spans now: a forked one, or one whose server is new."""
    if _end is not None:
        _end.expect_something()
    call_once_at_server_end(send_all)


def _is_number(value: object) -> bool:
    # bool is a subclass of int, but True is not meant as 1.
    return isinstance(value, int | float) and not isinstance(value, bool)


def _stop_all() -> None:
    _end_all(lambda providers, seconds: providers.stop(seconds))


def _end_all(end: Callable[[Providers, float], bool]) -> None:
    """Ends all providers in parallel, each within its own timeout: none waits for another's Collector."""
    with _lock:
        everyone = list(_all.values())
    longest = max((each.config.shutdown_seconds for each in everyone), default=0.0)
    _budget.spend(longest, partial(_end_each, everyone, end))


def _end_each(
    everyone: list[Providers], end: Callable[[Providers, float], bool], most_seconds: float
) -> None:
    deadline = time.monotonic() + most_seconds
    threads, unstarted = [], []
    for providers in everyone:
        seconds = min(providers.config.shutdown_seconds, most_seconds)
        thread = threading.Thread(
            target=_end_one, args=(providers, end, seconds), name="telemetry-exit", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # since Python 3.12 none can start at exit
            unstarted.append(providers)
        else:
            threads.append(thread)
    for position, providers in enumerate(unstarted):
        left_seconds = max(0.0, deadline - time.monotonic()) / (len(unstarted) - position)
        _end_one(providers, end, min(providers.config.shutdown_seconds, left_seconds))
    for thread in threads:
        thread.join(max(0.0, deadline + _GRACE_SECONDS - time.monotonic()))


def _end_one(providers: Providers, end: Callable[[Providers, float], bool], seconds: float) -> None:
    try:
        end(providers, seconds)
    except Exception:
        logger.exception("stopping the telemetry of %s failed", providers.config.service_name)


def _longest_seconds() -> float:
    everyone = list(_all.values())  # without the lock, which the interrupted thread may hold
    longest = max((each.config.shutdown_seconds for each in everyone), default=0.0)
    return longest + 2 * _GRACE_SECONDS


def _push_state(config: TelemetryConfig, breaker: CircuitBreaker) -> PushState:
    has_own = not is_same_server(config.export_endpoint, config.metrics_export_endpoint, config.protocol)
    if has_own:
        # An outage of one says nothing about the other.
        breaker = CircuitBreaker(breaker.settings)
        call_in_forked_child(breaker.reset_after_fork)
    endpoint = without_secrets(config.metrics_export_endpoint)
    return PushState(endpoint, ExportStatus("metrics"), breaker, has_own)


def _metric_pusher(
    config: TelemetryConfig,
    state: PushState,
    cpu: CpuMeter,
    produce: Callable[[], ResourceMetrics | None],
) -> PushMetricReader:
    def record(result: ExportResult) -> None:
        state.status.record(result, time.monotonic())

    exporter = OtlpMetricExporter(
        partial(build_metric_transport, config),
        state.breaker,
        attempt_seconds=config.push_timeout_seconds,
        on_result=record,
    )
    return PushMetricReader(
        exporter,
        interval_seconds=config.metric_export_interval_ms / 1000,
        timeout_seconds=config.metric_export_timeout_ms / 1000,
        on_failure=record,
        produce=produce,
        after_each=partial(cpu.note, Stage.PUSH),
    )


def _metric_readers(registry: CollectorRegistry, pusher: PushMetricReader | None) -> list[MetricReader]:
    readers: list[MetricReader] = [PrometheusMetricReader(registry=registry)]
    if pusher is not None:
        readers.append(pusher)
    return readers


def _set_globals_if_unset(tracer_provider: TracerProvider, meter_provider: MeterProvider) -> None:
    # An application's own providers stay in place; the library works beside them.
    if isinstance(trace_api.get_tracer_provider(), ProxyTracerProvider):
        trace_api.set_tracer_provider(tracer_provider)
    if type(metrics_api.get_meter_provider()).__name__ == "_ProxyMeterProvider":
        metrics_api.set_meter_provider(meter_provider)


_lock = Lock()
_all: dict[str, Providers] = {}
_end: ProcessEnd | None = None
_budget = EndBudget()
