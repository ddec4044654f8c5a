"""OpenTelemetry's instrumentations of other libraries, switched on where they are installed.

They announce themselves as entry points. One is loaded only if its library is installed, in a version that it
knows, so nothing is imported for the sake of those that are not.
"""

import logging
from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from opentelemetry.trace import TracerProvider

from ..fork import Lock

logger = logging.getLogger(__name__)

LEFT_OUT = frozenset(
    {"aiohttp-server", "asgi", "aws-lambda", "django", "falcon", "fastapi", "flask", "grpc_aio_server"}
    | {"grpc_server", "logging", "pyramid", "starlette", "tornado", "wsgi"}
)
"""What this library does itself, and servers: a request has one server span."""
_lock = Lock()
_loaded: dict[str, Any] = {}
"""Instrumentors, by their names."""
_given_up: set[str] = set()
"""Those that failed, or whose libraries are not there; a process does not ask again."""


def instrument_libraries(tracer_provider: TracerProvider, *, is_disabled: Callable[[str], bool]) -> None:
    """Switches on every instrumentation that is installed along with its library. Thread-safe.

    Each is switched on once per process, by the first caller. One that fails is logged once, and left out.
    Metrics of theirs go to the global meter provider.

    Args:
        tracer_provider: creates the spans.
        is_disabled: called with an instrumentation's name, as in `OTEL_PYTHON_DISABLED_INSTRUMENTATIONS`.
    """
    with _lock:
        for entry_point in _installed():
            if not is_disabled(entry_point.name):
                instrument_library(entry_point, tracer_provider)


def instrument_library(entry_point: EntryPoint, tracer_provider: TracerProvider) -> None:
    """Switches one instrumentation on, unless it is left out, on already, or without its library."""
    name = entry_point.name
    if name in LEFT_OUT or name in _given_up:
        return
    # Not at the top: it takes as long as all of this library's settings, and there may be nothing to check.
    from opentelemetry.instrumentation import dependencies  # noqa: PLC0415

    try:
        instrumentor = _loaded.get(name) or _load(entry_point)
        if not instrumentor.is_instrumented_by_opentelemetry:
            instrumentor.instrument(tracer_provider=tracer_provider, raise_exception_on_conflict=True)
    except dependencies.DependencyConflictError as error:
        _given_up.add(name)
        is_another_version = error.conflict.found or error.conflict.found_any
        level = logging.WARNING if is_another_version else logging.DEBUG
        logger.log(level, "%s is not traced: %s", name, error)
    except ModuleNotFoundError as error:
        _given_up.add(name)
        logger.debug("%s is not traced: %s", name, error)
    except Exception:
        _given_up.add(name)
        logger.warning("the instrumentation of %s failed and is left out", name, exc_info=True)


def _load(entry_point: EntryPoint) -> Any:
    """Loads one; raises `DependencyConflictError` if its library is not there in the right version."""
    from opentelemetry.instrumentation import dependencies  # noqa: PLC0415 - see above

    if entry_point.dist is not None:
        conflict = dependencies.get_dist_dependency_conflicts(entry_point.dist)
        if conflict is not None:
            raise dependencies.DependencyConflictError(conflict)
    instrumentor = _loaded[entry_point.name] = entry_point.load()()
    return instrumentor


@cache
def _installed() -> tuple[EntryPoint, ...]:
    found = entry_points(group="opentelemetry_instrumentor")
    return tuple(sorted(found, key=lambda entry_point: entry_point.name))
