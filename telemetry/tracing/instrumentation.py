"""OpenTelemetry's instrumentations of other libraries, enabled where they are installed."""

import importlib
import logging
from collections.abc import Collection

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
from opentelemetry.trace import TracerProvider

logger = logging.getLogger(__name__)

_OPTIONAL = {
    "httpx": ("opentelemetry.instrumentation.httpx", "HTTPXClientInstrumentor"),
    "sqlalchemy": ("opentelemetry.instrumentation.sqlalchemy", "SQLAlchemyInstrumentor"),
}


def instrument_libraries(tracer_provider: TracerProvider, *, disabled: Collection[str] = ()) -> None:
    """Traces outgoing and database calls. Each is done once per process, by the first caller.

    Args:
        tracer_provider: creates the spans.
        disabled: names to skip, as in `OTEL_PYTHON_DISABLED_INSTRUMENTATIONS`.
    """
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
