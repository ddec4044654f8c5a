"""Trace fields on log records: `otelTraceID`, `otelSpanID`, `otelTraceSampled` and `otelServiceName`.

The names and values are those of OpenTelemetry's logging instrumentation, so formats made for it work. The
fields exist on every record from `setup_telemetry` on, whatever becomes of the telemetry itself: a format
that names them must not fail because it is off. No handler is added and no format is changed.
"""

import logging
from collections.abc import Callable
from typing import Any

from opentelemetry.trace import get_current_span

from ..fork import Lock

_lock = Lock()
_latest: "_Factory | None" = None


class _Factory:
    """A record factory that adds the fields to what another one makes, while it is on."""

    def __init__(self, previous: Callable[..., logging.LogRecord], service_name: Callable[[], str]) -> None:
        self.previous = previous
        self.is_on = True
        self._service_name = service_name

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        """Makes a record."""
        record = self.previous(*args, **kwargs)
        if self.is_on:
            context = get_current_span().get_span_context()
            is_valid = context.is_valid
            record.otelTraceID = f"{context.trace_id:032x}" if is_valid else "0"
            record.otelSpanID = f"{context.span_id:016x}" if is_valid else "0"
            record.otelTraceSampled = is_valid and context.trace_flags.sampled
            record.otelServiceName = self._service_name()
        return record


def add_log_fields(service_name: Callable[[], str]) -> bool:
    """Adds the fields to records made from now on; returns False if they were added before. Thread-safe.

    Args:
        service_name: called for each record; returns "" if no service is known.
    """
    global _latest  # noqa: PLW0603 - the record factory is the process's
    with _lock:
        if _latest is not None and _latest.is_on:
            return False
        _latest = _Factory(logging.getLogRecordFactory(), service_name)
        logging.setLogRecordFactory(_latest)
        return True


def remove_log_fields() -> None:
    """Adds them no more. A factory that others have put around ours stays."""
    with _lock:
        if _latest is not None:
            _latest.is_on = False
            if logging.getLogRecordFactory() is _latest:
                logging.setLogRecordFactory(_latest.previous)
