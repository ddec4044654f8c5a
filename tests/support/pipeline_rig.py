"""Providers with an export pipeline behind them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import TracerProvider

from telemetry.config import TelemetryConfig
from telemetry.export.pipeline import ExportPipeline


class PipelineRig:
    """A provider with the pipeline behind it.

    Args:
        settings: the configuration's settings.
        options: the pipeline's own options.
    """

    def __init__(self, settings: Mapping[str, Any], **options: Any) -> None:
        self.pipeline = ExportPipeline(TelemetryConfig(**settings), **options)
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(self.pipeline)
        self.tracer = provider.get_tracer("test")

    @property
    def ledger(self) -> Any:
        """A reading of the ledger."""
        return self.pipeline.ledger.read()


class ReceiverRig(PipelineRig):
    """A pipeline rig that sends to the receiver and records its attempts."""

    def __init__(self, receiver: Any, **settings: Any) -> None:
        defaults = {"endpoint": receiver.endpoint, "schedule_delay_ms": 20, "breaker_open_seconds": 0.05}
        self.attempts: list[Any] = []
        super().__init__({**defaults, **settings}, on_attempt=self.attempts.append)

    def end_spans(self, count: int, name: str = "work") -> None:
        """Starts and ends `count` spans."""
        for _ in range(count):
            self.tracer.start_span(name).end()


class SpooledRig(PipelineRig):
    """A pipeline rig with a spool."""

    def __init__(self, endpoint: str, folder: Path, **settings: Any) -> None:
        defaults = {
            "endpoint": endpoint,
            "spool_dir": folder,
            "schedule_delay_ms": 20,
            "breaker_open_seconds": 0.05,
            "breaker_open_max_seconds": 0.1,
        }
        super().__init__({**defaults, **settings})

    def end_spans(self, *names: str, **attributes: str) -> None:
        """Starts and ends spans."""
        for name in names:
            self.tracer.start_span(name, attributes=attributes).end()

    @property
    def ledger(self) -> Any:
        """A reading of the ledger, which must always add up."""
        reading = super().ledger
        assert reading.is_balanced, reading
        return reading


def end_spans(pipeline: ExportPipeline, count: int, **attributes: str) -> None:
    """Starts and ends spans through a provider of their own."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(pipeline)
    for _ in range(count):
        provider.get_tracer("test").start_span("work", attributes=attributes).end()


def names(count: int, prefix: str = "span") -> list[str]:
    """Returns this many names."""
    return [f"{prefix} {number}" for number in range(count)]
