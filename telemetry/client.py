"""TelemetryClient: tracer, meter, manual spans, health and shutdown for your own code."""

import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, Self

from opentelemetry.metrics import Meter
from opentelemetry.trace import INVALID_SPAN, Link, Span, SpanKind, Tracer, TracerProvider
from opentelemetry.util.types import AttributeValue
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from .config import TelemetryConfig
from .current import is_silent, offer_as_default, withdraw_as_default
from .export.pipeline import ExportPipeline
from .export.push.state import PushState
from .health_check import TelemetryHealth, check_telemetry_health
from .metrics.instruments import Metrics
from .providers import SCOPE_NAME, providers_for


class TelemetryClient:
    """A handle on the telemetry of one configuration. Thread-safe and cheap: the machinery is shared.

        with TelemetryClient(service_name="shop").start_span("operation_name") as span:
            span.set_attribute("key", "value")

    Clients with equal configurations share their providers and one export pipeline, so they may be
    created inline. A client flushes on `shutdown()`, or at the end of its `with` block.

    Args:
        config: the settings; read from the environment if not given.
        settings: fields of `TelemetryConfig`, which take precedence over the environment.

    Raises:
        ConfigurationError: a value is malformed.
        TypeError: both a config and settings are given.
    """

    def __init__(self, config: TelemetryConfig | None = None, **settings: Any) -> None:
        if config is not None and settings:
            raise TypeError(f"give either a TelemetryConfig or settings, not both ({', '.join(settings)})")
        self.config = TelemetryConfig(**settings) if config is None else config
        self._providers = providers_for(self.config)
        self.tracer: Tracer = self._providers.tracer_provider.get_tracer(SCOPE_NAME)
        self.meter: Meter = self._providers.meter_provider.get_meter(SCOPE_NAME)
        self.start()

    @property
    def pipeline(self) -> ExportPipeline:
        """The export pipeline, with `breaker` and `ledger`."""
        return self._providers.pipeline

    @property
    def push(self) -> PushState | None:
        """How pushes of metrics go; None if there are none."""
        return self._providers.push

    @property
    def metrics(self) -> Metrics:
        """The library's own instruments."""
        return self._providers.metrics

    @property
    def registry(self) -> CollectorRegistry:
        """The registry of this client's metrics; `/metrics` serves it."""
        return self._providers.registry

    async def collect_metrics(self) -> list[Metric]:
        """Collects this process's metrics, and those of its sibling workers if they share a folder.

        See `TelemetryConfig.multiproc_dir`; siblings that do not answer delay it by at most a second in all.
        """
        return await self._providers.collect_metrics()

    def start_serving(self) -> None:
        """Offers this process's metrics to its sibling workers, and sends what an earlier process spooled.

        The app's lifespan calls it in the worker itself, since a parent that only forks is not a worker.
        """
        self._providers.start_serving()

    @property
    def tracer_provider(self) -> TracerProvider:
        """The tracer provider, for libraries that take one."""
        return self._providers.tracer_provider

    @property
    def instance_id(self) -> str:
        """This process's `service.instance.id`; a forked child has its own."""
        return self._providers.instance_id

    @property
    def sampling_ratio(self) -> float | None:
        """The share of new traces kept now; None for the rate-limited sampler."""
        return self._providers.sampler.ratio

    def start_span(
        self,
        name: str,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, AttributeValue] | None = None,
        links: Sequence[Link] | None = None,
    ) -> AbstractContextManager[Span]:
        """Starts a span that is current within the `with` block and ends with it.

        An exception that leaves the block is recorded on the span and propagates. While an excluded request
        is served there is no span.
        """
        if is_silent():
            return nullcontext(INVALID_SPAN)
        return self.tracer.start_as_current_span(name, kind=kind, attributes=attributes, links=links)

    def health(self) -> TelemetryHealth:
        """Returns the health of this client's telemetry, after running every synchronous check."""
        return check_telemetry_health(self)

    def configure(
        self,
        *,
        batch_size: int | None = None,
        delay_ms: float | None = None,
        sampling_ratio: float | None = None,
    ) -> None:
        """Changes the running pipeline for all clients that share it; `None` leaves a setting unchanged.

        Health and metrics show the values in effect. A restart of the process restores the configured ones.

        Args:
            batch_size: spans in a full batch, 1 to the queue's capacity.
            delay_ms: the longest a span waits for its batch to fill, in milliseconds, 1 to 86400000 (a day).
            sampling_ratio: the share of new traces to keep, 0 to 1; for ratio samplers only.

        Raises:
            ValueError: a value is out of range, or the sampler has no ratio; nothing is changed.
        """
        self._providers.configure(batch_size=batch_size, delay_ms=delay_ms, sampling_ratio=sampling_ratio)

    def start(self) -> None:
        """Starts accepting spans, also after `shutdown()`; harmless if already started."""
        self._providers.acquire(self)
        offer_as_default(self, is_set_up=False)

    def force_flush(self, timeout_seconds: float | None = None) -> bool:
        """Sends ended spans and pushed metrics; returns False if anything is left unsent.

        Args:
            timeout_seconds: defaults to `TELEMETRY_SHUTDOWN_SECONDS`.
        """
        return self._providers.flush(self._seconds(timeout_seconds))

    def shutdown(self, timeout_seconds: float | None = None) -> bool:
        """Flushes, and stops the pipeline if no other client uses it; returns False if anything is unsent.

        Args:
            timeout_seconds: one budget for everything; defaults to `TELEMETRY_SHUTDOWN_SECONDS`.
        """
        withdraw_as_default(self)
        return self._providers.release(self, self._seconds(timeout_seconds))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown()

    def _seconds(self, timeout_seconds: float | None) -> float:
        seconds = self.config.shutdown_seconds if timeout_seconds is None else timeout_seconds
        # A NaN, negative or oversized timeout must not make a shutdown fail halfway.
        return min(max(0.0, seconds), threading.TIMEOUT_MAX) if seconds == seconds else 0.0  # noqa: PLR0124 - nan
