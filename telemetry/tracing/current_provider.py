"""A tracer provider for what is instrumented once per process: each span goes to the service it belongs to.

OpenTelemetry's instrumentations patch their library for the whole process, with one provider. Where several
applications with services of their own share a process, a call belongs to the service that makes it.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from opentelemetry.trace import NoOpTracer, Span, Tracer, TracerProvider
from opentelemetry.util.types import Attributes


class CurrentTracerProvider(TracerProvider):
    """Hands each span to the provider that is current when the span starts. Thread-safe.

    Args:
        find: returns that provider; None for no span.
    """

    def __init__(self, find: Callable[[], TracerProvider | None]) -> None:
        self._find = find

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes | None = None,
    ) -> Tracer:
        """Returns a tracer that looks its provider up for each span."""
        scope = (instrumenting_module_name, instrumenting_library_version, schema_url, attributes)
        return _CurrentTracer(self._find, scope)


class _CurrentTracer(Tracer):
    def __init__(
        self,
        find: Callable[[], TracerProvider | None],
        scope: tuple[str, str | None, str | None, Attributes | None],
    ) -> None:
        self._find = find
        self._scope = scope
        self._latest: tuple[TracerProvider | None, Tracer] = (None, NoOpTracer())
        """Replaced as a whole, so threads may share it."""

    def _tracer(self) -> Tracer:
        provider = self._find()
        known, tracer = self._latest
        if provider is not known:
            tracer = NoOpTracer() if provider is None else provider.get_tracer(*self._scope)
            self._latest = provider, tracer
        return tracer

    def start_span(self, *args: Any, **kwargs: Any) -> Span:
        return self._tracer().start_span(*args, **kwargs)

    def start_as_current_span(self, *args: Any, **kwargs: Any) -> AbstractContextManager[Span]:  # type: ignore[override] # as the proxy tracer of the API does
        return self._tracer().start_as_current_span(*args, **kwargs)
