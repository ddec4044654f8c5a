"""`opentelemetry-instrument uvicorn module:app`: the library without a line of code.

The module holds two entry points for OpenTelemetry's own launcher: a distro, which decides how each
instrumentation is loaded, and a configurator, which creates the providers. If another distro is installed
too, `telemetry.launcher` makes the launcher choose this one; to start OpenTelemetry's auto-instrumentation
without the launcher, set `OTEL_PYTHON_DISTRO=telemetry`.
"""

import os
from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any

from fastapi import FastAPI
from opentelemetry.instrumentation import environment_variables
from opentelemetry.instrumentation.distro import BaseDistro
from wrapt import wrap_function_wrapper

from .current import find_tracer_provider, offer_as_default
from .request.install import build_client
from .telemetry import setup_telemetry
from .tracing.current_provider import CurrentTracerProvider
from .tracing.instrumentation import instrument_library


class TelemetryDistro(BaseDistro):  # type: ignore[misc] # the base is untyped
    """A distro that loads every installed instrumentation except those that the library does itself."""

    def _configure(self, **_: Any) -> None:
        """Selects our own configurator, since another distro's would create its own providers."""
        if not os.environ.get(environment_variables.OTEL_PYTHON_CONFIGURATOR):
            os.environ[environment_variables.OTEL_PYTHON_CONFIGURATOR] = "telemetry"

    def load_instrumentor(self, entry_point: EntryPoint, **_: Any) -> None:
        """Switches one instrumentation on, as `setup_telemetry` would."""
        instrument_library(entry_point, CurrentTracerProvider(find_tracer_provider))


class TelemetryConfigurator:
    """A configurator that creates the process's client and sets up each FastAPI app built afterwards."""

    def configure(self, **_: Any) -> None:
        """Configures the process; the launcher calls it once, before the program's own first line.

        Raises:
            ConfigurationError: the environment holds a malformed value; the launcher logs it, and the
                program runs without telemetry.
        """
        offer_as_default(build_client(), is_set_up=False)
        wrap_function_wrapper(FastAPI, "__init__", _build_then_set_up)


def _build_then_set_up(
    build: Callable[..., None], app: FastAPI, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    build(*args, **kwargs)
    setup_telemetry(app)
