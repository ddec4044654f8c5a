"""The tracer provider of a configuration, and the resource that names the service."""

import uuid

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import Sampler

from .config import TelemetryConfig
from .fork import call_in_forked_child

_INSTANCE_ID = "service.instance.id"


class ProcessResource(Resource):
    """A resource that names a new instance in each forked child: tracers made before the fork have it too."""

    def __init__(self, resource: Resource) -> None:
        super().__init__({_INSTANCE_ID: str(uuid.uuid4()), **resource.attributes}, resource.schema_url)
        if _INSTANCE_ID not in resource.attributes:
            call_in_forked_child(self._renew)

    def _renew(self) -> None:
        super().__init__({**self.attributes, _INSTANCE_ID: str(uuid.uuid4())}, self.schema_url)


def build_resource(config: TelemetryConfig) -> Resource:
    """The service's resource; each process has its own `service.instance.id` unless one is given."""
    return ProcessResource(
        Resource.create(
            {
                "deployment.environment.name": config.environment,
                **config.resource_attributes,
                "service.name": config.service_name,
                "service.version": config.service_version,
            }
        )
    )


def build_tracer_provider(
    config: TelemetryConfig, resource: Resource, sampler: Sampler, processor: SpanProcessor
) -> TracerProvider:
    """A provider that hands its spans to `processor`, unless `OTEL_TRACES_EXPORTER` is `none`."""
    # At exit the library stops its pipelines itself, within one budget.
    provider = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
    if config.traces_exporter != "none":
        provider.add_span_processor(processor)
    return provider
