"""docs/tracing.md: its example runs, and the names in it are those of the code."""

import re
from typing import Any

from fastapi import FastAPI
from support.paths import ROOT
from support.traced_app import TracedApp

from telemetry.config import TelemetryConfig
from telemetry.tracing.instrumentation import LEFT_OUT

PAGE = (ROOT / "docs" / "tracing.md").read_text()


def test_hooks_of_the_example_add_their_attributes() -> None:
    """To an application with such a route."""
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    app = FastAPI()
    app.get("/items/{item_id}")(lambda item_id: item_id)
    made: list[TracedApp] = []

    def set_up(app: FastAPI, **hooks: Any) -> None:
        made.append(TracedApp(app, **hooks))

    exec(example, {"app": app, "setup_telemetry": set_up})  # noqa: S102 - the page's own example
    with made[0].browser() as http:
        http.get("/items/7", headers={"x-tenant": "blue"})
    attributes = dict(made[0].server_spans[0].attributes or {})
    assert {"tenant": "blue", "item": "7"}.items() <= attributes.items()


def test_every_instrumentation_that_stays_off_is_named() -> None:
    """All but that of logging are servers'."""
    assert [name for name in LEFT_OUT if f"`{name}`" not in PAGE] == []


def test_every_variable_named_is_read() -> None:
    """By this library; the launcher reads two itself."""
    named = set(re.findall(r"\b(?:TELEMETRY|OTEL)_[A-Z_]+[A-Z]", PAGE))
    assert named - {"OTEL_PYTHON_DISTRO", "OTEL_PYTHON_CONFIGURATOR"} <= TelemetryConfig.variables().keys()
