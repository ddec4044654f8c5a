"""The recording of an exception that leaves a span's block."""

from opentelemetry.semconv.attributes.exception_attributes import EXCEPTION_ESCAPED, EXCEPTION_TYPE
from opentelemetry.trace import Span, Status, StatusCode


def record_escaping(
    span: Span, error: BaseException, does_record: bool, does_set_status: bool, *, is_escaped: bool
) -> None:
    """Records an exception as the SDK does, and never raises another in its place.

    Of an exception that cannot be printed, only the name of its type is recorded.

    Args:
        span: the block's.
        error: the exception.
        does_record: whether it becomes an event.
        does_set_status: whether it sets the status.
        is_escaped: what the event says of it.
    """
    kind = type(error)
    try:
        if does_record:
            span.record_exception(error, escaped=is_escaped)
        if does_set_status:
            span.set_status(Status(StatusCode.ERROR, f"{kind.__name__}: {error}"))
    except Exception:  # noqa: BLE001 - its `__str__` raises
        if does_record:
            name = f"{kind.__module__}.{kind.__qualname__}"
            span.add_event("exception", {EXCEPTION_TYPE: name, EXCEPTION_ESCAPED: str(is_escaped)})
        if does_set_status:
            span.set_status(StatusCode.ERROR, kind.__name__)
