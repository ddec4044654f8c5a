"""What an import of the library, and a set-up, load: nothing that the settings do not ask for."""

import os
import subprocess
import sys

import pytest

HEAVY = (
    "google.protobuf",
    "grpc",
    "httpx",
    "opentelemetry.exporter.otlp.proto.common",
    "opentelemetry.instrumentation.asgi",
    "opentelemetry.instrumentation.fastapi",
    "opentelemetry.instrumentation.httpx",
    "opentelemetry.proto",
    "sqlalchemy",
)
IMPORT = "from telemetry.telemetry import setup_telemetry"
SET_UP = f"from fastapi import FastAPI; {IMPORT}; setup_telemetry(FastAPI())"
TELL = "import sys; print(*sys.modules)"


def loaded_by(statement: str, **variables: str) -> set[str]:
    """Returns which of the heavy packages a process has loaded after a statement."""
    python = [sys.executable, "-c", f"{statement}; {TELL}"]
    environment = {**os.environ, "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "*", **variables}
    done = subprocess.run(python, env=environment, capture_output=True, text=True, check=True)
    return set(HEAVY) & set(done.stdout.split())


def test_import_loads_nothing_that_settings_may_not_ask_for() -> None:
    """Transports, other instrumentations and what they instrument wait."""
    assert loaded_by(IMPORT) == set()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, {"grpc", "google.protobuf", "opentelemetry.proto"}),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, {"google.protobuf", "opentelemetry.proto"}),
        ({"OTEL_TRACES_EXPORTER": "console"}, {"google.protobuf", "opentelemetry.proto"}),
        ({"OTEL_TRACES_EXPORTER": "none"}, set()),
        ({"OTEL_SDK_DISABLED": "true"}, set()),
    ],
)
def test_set_up_loads_the_transport_that_is_configured(variables: dict[str, str], expected: set[str]) -> None:
    """At once: an import by the worker's thread could be cut in two by a fork."""
    assert loaded_by(SET_UP, **variables) == expected


def test_set_up_loads_instrumentations_unless_they_are_disabled() -> None:
    """Only those whose libraries are installed."""
    loaded = loaded_by(SET_UP, OTEL_SDK_DISABLED="", OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="sqlalchemy")
    assert {"httpx", "opentelemetry.instrumentation.httpx"} <= loaded
    assert not {"opentelemetry.instrumentation.fastapi", "sqlalchemy"} & loaded
