"""How a request's failure is recorded on its span."""

import traceback

from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.semconv.attributes.exception_attributes import EXCEPTION_MESSAGE, EXCEPTION_TYPE
from opentelemetry.trace import Span, StatusCode


def type_name(error: BaseException) -> str:
    """Returns the name of an exception's class, with its module unless that is Python's own."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def record_failure(span: Span, error: BaseException) -> None:
    """Sets the span's status, and records the exception unless the application has done so on this span."""
    span.set_attribute(ERROR_TYPE, type_name(error))
    text = "".join(traceback.format_exception_only(error)).strip()
    span.set_status(StatusCode.ERROR, text)
    recorded = {EXCEPTION_TYPE: type_name(error), EXCEPTION_MESSAGE: _message(error)}
    for event in getattr(span, "events", ()):
        if recorded.items() <= dict(event.attributes or {}).items():
            return
    try:
        span.record_exception(error)
    except Exception:  # noqa: BLE001 - one that cannot be printed
        span.add_event("exception", {EXCEPTION_TYPE: recorded[EXCEPTION_TYPE]})


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - an exception that cannot be printed
        return ""
