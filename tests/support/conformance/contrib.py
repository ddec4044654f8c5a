"""A process in which contrib's instrumentation serves every shape: `python -m support.conformance.contrib`.

It reads its settings from the environment once, so it has a process of its own. It prints what `describe`
finds, by the shape's name, as JSON.
"""

import json
import sys

from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support.conformance.app import APPLICATIONS
from support.conformance.driver import describe, outcome
from support.conformance.shapes import SHAPES


def main() -> None:
    """Serves them all."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    applications: dict[str, FastAPI] = {}
    for name, build in APPLICATIONS.items():
        applications[name] = build()
        FastAPIInstrumentor.instrument_app(
            applications[name],
            tracer_provider=provider,
            meter_provider=NoOpMeterProvider(),
            exclude_spans=["send", "receive"],
        )
    seen = {}
    for shape in SHAPES:
        outcome(applications[shape.app], shape)
        seen[shape.name] = describe(exporter.get_finished_spans())
        exporter.clear()
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main()
