"""OpenTelemetry's instrumentations of other libraries, enabled where they are installed."""

import importlib
import logging
from collections.abc import Collection

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
from opentelemetry.instrumentation.logging import LoggingInstrumentor
from opentelemetry.trace import TracerProvider

logger = logging.getLogger(__name__)

LOGGING_OPTIONS = {"inject_trace_context": True, "enable_log_auto_instrumentation": False}
"""Records get the current trace's ids; no handler is added and no format is changed."""
_OPTIONAL = {
    "httpx": ("opentelemetry.instrumentation.httpx", "HTTPXClientInstrumentor"),
    "sqlalchemy": ("opentelemetry.instrumentation.sqlalchemy", "SQLAlchemyInstrumentor"),
}


def instrument_libraries(tracer_provider: TracerProvider, *, disabled: Collection[str] = ()) -> None:
    """Traces outgoing and database calls, and adds trace and span ids to log records.

    Each is done once per process, by the first caller. Log records get `otelTraceID`, `otelSpanID`,
    `otelTraceSampled` and `otelServiceName`; no log format is changed.

    Args:
        tracer_provider: creates the spans.
        disabled: names to skip, as in `OTEL_PYTHON_DISABLED_INSTRUMENTATIONS`.
    """
    if "logging" not in disabled:
        _instrument(LoggingInstrumentor(), tracer_provider=tracer_provider, **LOGGING_OPTIONS)
    for name, (module, class_name) in _OPTIONAL.items():
        if name in disabled:
            continue
        try:
            instrumentor = getattr(importlib.import_module(module), class_name)()
        except ImportError:
            logger.debug("%s is not traced: it or its instrumentation is not installed", name)
            continue
        _instrument(instrumentor, tracer_provider=tracer_provider)


def _instrument(instrumentor: BaseInstrumentor, **options: object) -> None:
    if not instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.instrument(**options)
