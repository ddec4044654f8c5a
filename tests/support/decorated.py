"""Functions of every kind to decorate, and a client that shows what the decorators recorded."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support.functions import BoomError
from support.using_client import use_client

from telemetry.client import TelemetryClient
from telemetry.config import TelemetryConfig
from telemetry.decorators import measure_performance, trace_function, track_errors
from telemetry.metrics import names

SLOW_CALL_MS = 300
NUMBERS = itertools.count()


@dataclass(frozen=True)
class Observed:
    """The telemetry that a client has recorded."""

    client: TelemetryClient
    exporter: InMemorySpanExporter

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        """The ended spans by the last part of their names."""
        return {span.name.rpartition(".")[2]: span for span in self.exporter.get_finished_spans()}

    def exception_events(self) -> list[tuple[str, Any]]:
        """Returns the span and type of every recorded exception."""
        return [
            (name, (event.attributes or {})["exception.type"])
            for name, span in self.spans.items()
            for event in span.events
            if event.name == "exception"
        ]

    def count(self, metric: str) -> dict[tuple[str, str], float]:
        """Returns a counter's or histogram's counts, by function and error type or outcome."""
        return {
            (
                sample.labels[names.FUNCTION].rpartition(".")[2],
                sample.labels.get(names.ERROR_TYPE) or sample.labels[names.OUTCOME],
            ): sample.value
            for family in self.client.registry.collect()
            if family.name == metric
            for sample in family.samples
            if sample.name in {f"{metric}_total", f"{metric}_count"}
        }

    def errors(self) -> dict[tuple[str, str], float]:
        """Returns the counts of the error counter."""
        return self.count(names.FUNCTION_ERROR_COUNT)

    def calls(self) -> dict[tuple[str, str], float]:
        """Returns the counts of recorded durations."""
        return self.count(names.FUNCTION_DURATION_MS)


@contextmanager
def observe() -> Iterator[Observed]:
    """Yields the telemetry that is recorded by a separate client, which the decorators find."""
    config = TelemetryConfig(
        service_name=f"decorators-{next(NUMBERS)}", traces_exporter="none", slow_call_ms=SLOW_CALL_MS
    )
    with TelemetryClient(config) as client, use_client(client):
        exporter = InMemorySpanExporter()
        assert isinstance(client.tracer_provider, SdkTracerProvider)
        client.tracer_provider.add_span_processor(SimpleSpanProcessor(exporter))
        yield Observed(client, exporter)


def make(kind: str, body: Callable[[], Any]) -> Callable[..., Any]:
    """Returns a function of the kind that runs `body` between its first and last step."""

    def plain() -> Any:
        return body()

    async def coroutine() -> Any:
        await asyncio.sleep(0)
        return body()

    def generator() -> Generator[Any, None, Any]:
        yield "first"
        return body()

    async def async_generator() -> AsyncIterator[Any]:
        yield "first"
        await asyncio.sleep(0)
        yield body()

    functions: tuple[Callable[..., Any], ...] = (plain, coroutine, generator, async_generator)
    return next(function for function in functions if function.__name__ == kind)


def fail() -> None:
    """Raises."""
    raise BoomError("boom")


KINDS = ["plain", "coroutine", "generator", "async_generator"]
each_kind = pytest.mark.parametrize("kind", KINDS)
ORDERS = list(itertools.permutations([trace_function, track_errors, measure_performance]))
each_order = pytest.mark.parametrize(
    "order", ORDERS, ids=[" ".join(decorator.__name__ for decorator in order) for order in ORDERS]
)


def stack(order: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates with each of the decorators in turn."""
    for decorator in order:
        function = decorator(function)
    return function
