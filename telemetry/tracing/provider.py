"""The tracer provider of a configuration, and the resource that names the service."""

import json
import logging
import uuid
from functools import cache
from importlib.metadata import version
from typing import Any, cast

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler
from opentelemetry.trace import SpanContext, StatusCode

from ..config import TelemetryConfig

logger = logging.getLogger(__name__)


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
    provider = _provider_class()(sampler=sampler, resource=resource, shutdown_on_exit=False)
    if config.traces_exporter != "none":
        provider.add_span_processor(processor)
    return provider


@cache
def _provider_class() -> type[TracerProvider]:
    """Returns the provider with light spans, or the SDK's own if its inner names are unknown here."""
    try:
        from .tracer import RecordingTracerProvider  # noqa: PLC0415 - this SDK may lack what it imports

        _try(RecordingTracerProvider)
    except Exception as error:  # noqa: BLE001 - whatever it is, the SDK's own spans are as right
        logger.warning(
            "opentelemetry-sdk %s is not known to this version of telemetry, so its own spans are used, and "
            "they cost more (%s: %s)",
            version("opentelemetry-sdk"),
            type(error).__name__,
            error,
        )
        return TracerProvider
    return RecordingTracerProvider


def _try(provider_class: type[TracerProvider]) -> None:
    """Makes a span with everything that one can have, and raises if it is not like the SDK's."""
    made: list[Any] = []
    for each in (TracerProvider, provider_class):
        with (
            each(ALWAYS_ON, Resource({}), shutdown_on_exit=False)
            .get_tracer("probe")
            .start_span("probe", Context(), attributes={"a": 1}, start_time=1) as span
        ):
            span.set_attributes({"b": [True], "c": "text"})
            span.add_link(SpanContext(1, 2, is_remote=True), {"d": 1.5})
            span.add_event("event", {"e": None}, 2)
            span.set_status(StatusCode.ERROR, "no")
            span.update_name("renamed")
        found = json.loads(cast("ReadableSpan", span).to_json())
        made.append({name: value for name, value in found.items() if name not in {"context", "end_time"}})
    if made[0] != made[1]:
        raise RuntimeError(f"its spans differ: {made[0]} and {made[1]}")
