"""An application set up for telemetry whose ended spans stay in memory."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from telemetry.client import TelemetryClient
from telemetry.config import TelemetryConfig
from telemetry.telemetry import setup_telemetry

_numbers = itertools.count(1)
_clients: list[TelemetryClient] = []


class TracedApp:
    """An application, its client and its ended spans.

    Args:
        app: the application; routes and middlewares may still be added.
        config: the settings; by default every trace is kept and nothing is exported.
        hooks: given to `setup_telemetry`.
    """

    def __init__(
        self, app: FastAPI | None = None, config: TelemetryConfig | None = None, **hooks: Any
    ) -> None:
        self.app = FastAPI() if app is None else app
        self.client = setup_telemetry(self.app, config or quiet_config(), **hooks)
        _clients.append(self.client)
        self._exporter = InMemorySpanExporter()
        provider = self.client.tracer_provider
        if isinstance(provider, TracerProvider):
            provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @contextmanager
    def browser(self, **options: object) -> Iterator[TestClient]:
        """Serves the application; exceptions become 500, as a server makes them."""
        with TestClient(self.app, raise_server_exceptions=False, **options) as http:  # type: ignore[arg-type]
            yield http

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """Every ended span, in the order of their ends."""
        return self._exporter.get_finished_spans()

    @property
    def server_spans(self) -> list[ReadableSpan]:
        """The ended server spans."""
        return [span for span in self.spans if span.kind is SpanKind.SERVER]

    @property
    def names(self) -> list[str]:
        """The names of every ended span."""
        return [span.name for span in self.spans]


def shut_down_clients() -> None:
    """Shuts the clients of a test's applications down, so that none is the default in the next test."""
    while _clients:
        _clients.pop().shutdown(1)


def quiet_config(**settings: object) -> TelemetryConfig:
    """Returns settings of a service of its own that keeps every trace and exports nothing.

    Clients of equal settings would share their spans and counts with other tests.
    """
    values = {
        "service_name": f"shop {next(_numbers)}",
        "sampler": "always_on",
        "traces_exporter": "none",
        **settings,
    }
    return TelemetryConfig(**values)
