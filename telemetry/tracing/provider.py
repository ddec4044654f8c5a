"""The tracer provider of a configuration, and the resource that names the service."""

import uuid

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import Sampler

from ..config import TelemetryConfig


def build_resource(config: TelemetryConfig) -> Resource:
    """Builds the service's resource; each process has its own `service.instance.id` unless one is given.

    In a forked child, the SDK's providers generate a new one.
    """
    return Resource.create(
        {
            "service.instance.id": str(uuid.uuid4()),
            "deployment.environment.name": config.environment,
            **config.resource_attributes,
            "service.name": config.service_name,
            "service.version": config.service_version,
        }
    )


def build_tracer_provider(
    config: TelemetryConfig, resource: Resource, sampler: Sampler, processor: SpanProcessor
) -> TracerProvider:
    """Builds a provider that passes its spans to `processor`, unless `OTEL_TRACES_EXPORTER` is `none`."""
    # The library stops its pipelines itself at exit, within one budget.
    provider = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
    if config.traces_exporter != "none":
        provider.add_span_processor(processor)
    return provider
