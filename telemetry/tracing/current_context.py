"""OpenTelemetry's current context, without the layers of its API in between.

The API keeps the context in one context variable; each of its functions reaches that through two others. A
request and a decorated function set it and reset it each time, so they use the variable itself.
"""

from contextvars import ContextVar
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span, set_span_in_context


class _ThroughApi:
    """Stands for the variable where `OTEL_PYTHON_CONTEXT` names a runtime that has none."""

    get = staticmethod(otel_context.get_current)
    set = staticmethod(otel_context.attach)
    reset = staticmethod(otel_context.detach)


def _find_variable() -> Any:
    token = otel_context.attach(otel_context.get_current())
    otel_context.detach(token)
    variable = getattr(token, "var", None)
    return variable if isinstance(variable, ContextVar) else _ThroughApi()


CURRENT_CONTEXT: Any = _find_variable()
"""The variable: `get`, `set` and `reset`, which raises `ValueError` in a context that it was not set in."""
# A method looked up on an imported name makes a bound method each time.
get_context, set_context, reset_context = CURRENT_CONTEXT.get, CURRENT_CONTEXT.set, CURRENT_CONTEXT.reset
SPAN_KEY: str = next(iter(set_span_in_context(INVALID_SPAN, Context())))
"""The key of the current span in a context."""


def context_with(span: Span, context: Context) -> Context:
    """Returns a context in which the span is the current one, and all else is as in `context`."""
    return Context({**context, SPAN_KEY: span})
