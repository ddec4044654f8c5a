"""TelemetryClient: tracer, meter, manual spans, health and shutdown, for code of your own."""

import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self

from opentelemetry.metrics import Meter
from opentelemetry.trace import Link, Span, SpanKind, Tracer, TracerProvider
from opentelemetry.util.types import AttributeValue
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from .config import TelemetryConfig
from .current import offer_as_default, withdraw_as_default
from .export.pipeline import ExportPipeline
from .health_check import TelemetryHealth, check_telemetry_health
from .metrics.instruments import Metrics
from .providers import SCOPE_NAME, providers_for


class TelemetryClient:
    """A handle on the telemetry of one configuration. Thread-safe; cheap, and shared underneath.

        with TelemetryClient(service_name="shop").start_span("operation_name") as span:
            span.set_attribute("key", "value")

    Clients of equal configuration share providers and one export pipeline, so they may be made in
    passing. As a context manager, or with `shutdown()`, a client flushes when it ends.

    Args:
        config: the settings; where it is not given they are read from the environment.
        settings: fields of `TelemetryConfig`, which win over the environment.

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
    def metrics(self) -> Metrics:
        """The library's own instruments."""
        return self._providers.metrics

    @property
    def registry(self) -> CollectorRegistry:
        """Where this client's metrics are registered; `/metrics` serves it."""
        return self._providers.registry

    async def collect_metrics(self) -> list[Metric]:
        """Everything that this process measures, and its sibling workers where they share a folder.

        See `TelemetryConfig.multiproc_dir`; a sibling that does not answer costs at most a second.
        """
        return await self._providers.collect_metrics()

    def start_serving(self) -> None:
        """Offers this process's metrics to its sibling workers, and sends what an earlier process spooled.

        Called by an app's lifespan, in the worker itself: a parent that only forks is none.
        """
        self._providers.start_serving()

    @property
    def tracer_provider(self) -> TracerProvider:
        """For libraries that take a provider."""
        return self._providers.tracer_provider

    @property
    def instance_id(self) -> str:
        """This process's `service.instance.id`; a forked child's is its own."""
        return self._providers.instance_id

    @property
    def sampling_ratio(self) -> float | None:
        """The share of new traces that is kept now; None for a sampler that keeps so many a second."""
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

        An exception that leaves the block is recorded on the span and goes on.
        """
        return self.tracer.start_as_current_span(name, kind=kind, attributes=attributes, links=links)

    def health(self) -> TelemetryHealth:
        """The health of this client's telemetry, with every synchronous check run."""
        return check_telemetry_health(self)

    def configure(
        self,
        *,
        batch_size: int | None = None,
        delay_ms: float | None = None,
        sampling_ratio: float | None = None,
    ) -> None:
        """Changes the running pipeline, of all clients that share it; `None` leaves a setting as it is.

        Health and metrics show what is in effect. A restart of the process brings the configuration back.

        Args:
            batch_size: spans of a full batch, 1 to the queue's capacity.
            delay_ms: the longest that a span waits for its batch to fill, above 0, in milliseconds.
            sampling_ratio: the share of new traces that is kept, 0 to 1; for the samplers by ratio.

        Raises:
            ValueError: a value is out of its range, or the sampler has no ratio; nothing was changed.
        """
        self._providers.configure(batch_size=batch_size, delay_ms=delay_ms, sampling_ratio=sampling_ratio)

    def start(self) -> None:
        """Accepts spans, again after `shutdown()`; harmless on a client that does."""
        self._providers.acquire(self)
        offer_as_default(self, is_set_up=False)

    def force_flush(self, timeout_seconds: float | None = None) -> bool:
        """Sends what has ended so far; False when anything of it is unsent when the time is over.

        Args:
            timeout_seconds: `TELEMETRY_SHUTDOWN_SECONDS` where it is not given.
        """
        return self._providers.flush(self._seconds(timeout_seconds))

    def shutdown(self, timeout_seconds: float | None = None) -> bool:
        """Flushes, and ends the pipeline if no other client uses it; False when anything is unsent.

        Args:
            timeout_seconds: one budget for everything; `TELEMETRY_SHUTDOWN_SECONDS` where it is not given.
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
        # What is no time, or longer than any: it must not fail in the middle of an end.
        return min(max(0.0, seconds), threading.TIMEOUT_MAX) if seconds == seconds else 0.0  # noqa: PLR0124 - nan
