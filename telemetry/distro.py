"""`opentelemetry-instrument uvicorn module:app`: the library without a line of code.

Two entry points of OpenTelemetry's own launcher: a distribution, which decides how each
instrumentation is loaded, and a configurator, which makes the providers. Where another distribution is
installed too, `telemetry.launcher` has the launcher choose this one; who starts OpenTelemetry's
auto-instrumentation without the launcher says `OTEL_PYTHON_DISTRO=telemetry`.
"""

import os
from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any

from fastapi import FastAPI
from opentelemetry.instrumentation import environment_variables
from opentelemetry.instrumentation.distro import BaseDistro
from wrapt import wrap_function_wrapper

from .client import TelemetryClient
from .current import offer_as_default
from .telemetry import setup_telemetry
from .tracing.instrumentation import LOGGING_OPTIONS


class TelemetryDistro(BaseDistro):  # type: ignore[misc] # the base is untyped
    """Loads every installed instrumentation but FastAPI's, which `setup_telemetry` applies itself."""

    def _configure(self, **_: Any) -> None:
        """Has our own configurator used: another distribution's would make providers of its own."""
        os.environ.setdefault(environment_variables.OTEL_PYTHON_CONFIGURATOR, "telemetry")

    def load_instrumentor(self, entry_point: EntryPoint, **kwargs: Any) -> None:
        """Switches one instrumentation on."""
        if entry_point.name == "fastapi":
            return
        options = LOGGING_OPTIONS if entry_point.name == "logging" else {}
        super().load_instrumentor(entry_point, **kwargs, **options)


class TelemetryConfigurator:
    """Makes the process's client, and sets up every FastAPI application that is built from now on."""

    def configure(self, **_: Any) -> None:
        """Called once by the launcher, before the program's own first line.

        Raises:
            ConfigurationError: the environment holds a malformed value; the launcher logs it, and the
                program runs without telemetry.
        """
        offer_as_default(TelemetryClient(), is_set_up=False)
        wrap_function_wrapper(FastAPI, "__init__", _build_then_set_up)


def _build_then_set_up(
    build: Callable[..., None], app: FastAPI, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    build(*args, **kwargs)
    setup_telemetry(app)
