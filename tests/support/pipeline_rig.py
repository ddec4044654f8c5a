"""A provider with an export pipeline behind it."""

from collections.abc import Mapping
from typing import Any

from opentelemetry.sdk.trace import TracerProvider

from telemetry.config import TelemetryConfig
from telemetry.export.pipeline import ExportPipeline


class PipelineRig:
    """A provider with the pipeline behind it.

    Args:
        settings: the configuration's.
        options: the pipeline's own.
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
