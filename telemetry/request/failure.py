"""How a request's failure is recorded on its span."""

from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.semconv.attributes.exception_attributes import EXCEPTION_MESSAGE, EXCEPTION_TYPE
from opentelemetry.trace import Span, StatusCode


def type_name(error: BaseException) -> str:
    """Returns the name of an exception's class, with its module unless that is Python's own."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def record_failure(span: Span, error: BaseException) -> None:
    """Sets the span's status, and records the exception unless the application has done so on this span.

    The status is described by the message alone: the type is an attribute ("Recording errors on spans").
    """
    kind, message = type_name(error), _message(error)
    span.set_attribute(ERROR_TYPE, kind)
    span.set_status(StatusCode.ERROR, message or None)
    recorded = {EXCEPTION_TYPE: kind, EXCEPTION_MESSAGE: message}
    for event in getattr(span, "events", ()):
        if recorded.items() <= dict(event.attributes or {}).items():
            return
    try:
        span.record_exception(error)
    except Exception:  # noqa: BLE001 - one that cannot be printed
        span.add_event("exception", {EXCEPTION_TYPE: kind})


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - an exception that cannot be printed
        return ""
