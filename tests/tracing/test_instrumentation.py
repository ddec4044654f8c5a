"""Instrumentations of other libraries: which are switched on, and what one that is broken may do."""

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from fastapi import FastAPI
from opentelemetry.instrumentation.grpc import GrpcInstrumentorClient, GrpcInstrumentorServer
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.trace import NoOpTracerProvider
from support.traced_app import TracedApp, quiet_config

from telemetry.tracing import instrumentation
from telemetry.tracing.instrumentation import instrument_libraries

SOURCE = """
    import opentelemetry.trace
    from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
    class Instrumentor(BaseInstrumentor):
        given = []
        def instrumentation_dependencies(self):
            return {dependencies}
        def _instrument(self, **options):
            self.given.append(options)
            {body}
        def _uninstrument(self, **options): ...
"""
Install = Callable[..., str]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs an instrumentation, of its name, and returns its module's name."""
    monkeypatch.syspath_prepend(tmp_path)
    modules: list[str] = []

    def add(
        name: str,
        *,
        requires: str | None = None,
        dependencies: tuple[str, ...] = (),
        body: str = "pass",
        source: str = SOURCE,
    ) -> str:
        module = f"instrumentation_of_{name.replace('-', '_')}"
        source = source.format(dependencies=dependencies, body=body)
        (tmp_path / f"{module}.py").write_text(dedent(source))
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        extra = f"Requires-Dist: {requires}; extra == 'instruments'\n" if requires else ""
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n{extra}")
        (info / "entry_points.txt").write_text(
            f"[opentelemetry_instrumentor]\n{name} = {module}:Instrumentor\n"
        )
        instrumentation._installed.cache_clear()
        modules.append(module)
        return module

    yield add
    instrumentation._installed.cache_clear()
    instrumentation._loaded.clear()
    instrumentation._given_up.clear()
    for module in modules:
        sys.modules.pop(module, None)


def given_to(module: str) -> list[dict[str, Any]]:
    """Returns the options of each time that an instrumentation was switched on; none if it is not loaded."""
    return list(sys.modules[module].Instrumentor.given) if module in sys.modules else []


def switch_on(*disabled: str) -> None:
    """Switches on what is installed."""
    config = quiet_config(disabled_instrumentations=disabled)
    instrument_libraries(NoOpTracerProvider(), is_disabled=config.is_disabled)


def test_what_is_installed_is_switched_on_once_per_process(install: Install) -> None:
    """By setup_telemetry; its spans go to the client of the call."""
    module = install("shelf", requires="fastapi >= 0.1")
    first, second = TracedApp(), TracedApp()
    ((options),) = given_to(module)
    tracer = options["tracer_provider"].get_tracer("shelf")
    for traced in (first, second):
        traced.app.get("/x")(lambda: tracer.start_span("of the library").end())
        with traced.browser() as http:
            http.get("/x")
        assert traced.names == ["of the library", "GET /x"]


def test_threads_that_set_up_at_once_switch_it_on_once(install: Install) -> None:
    """Each waits until it is on."""
    module = install("slow", body="import time; time.sleep(0.02)")
    is_on: list[bool] = []
    start = threading.Barrier(4)

    def set_up() -> None:
        start.wait()
        switch_on()
        is_on.append(sys.modules[module].Instrumentor().is_instrumented_by_opentelemetry)

    threads = [threading.Thread(target=set_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert is_on == [True] * 4
    assert len(given_to(module)) == 1


@pytest.mark.parametrize("disabled", ["shelf", "*"])
def test_what_is_disabled_is_not_loaded(disabled: str, install: Install) -> None:
    """By its name, or all of them."""
    module = install("shelf", requires="fastapi")
    switch_on("other", disabled)
    assert module not in sys.modules
    switch_on("other")
    assert given_to(module)


def test_star_leaves_log_fields_off_too(caplog: pytest.LogCaptureFixture) -> None:
    """They stand in for an instrumentation."""
    TracedApp(FastAPI(), quiet_config(disabled_instrumentations=("*",)))
    logging.getLogger("shop").warning("plain")
    assert not hasattr(caplog.records[-1], "otelTraceID")


@pytest.mark.parametrize("name", ["fastapi", "starlette", "asgi", "logging", "flask", "grpc_server"])
def test_a_second_server_span_is_not_asked_for(name: str, install: Install) -> None:
    """Nor what the library does itself."""
    module = install(name, requires="fastapi")
    switch_on()
    assert module not in sys.modules


def test_instrumentation_without_its_library_is_not_loaded(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    """As after opentelemetry-bootstrap, which installs some for the standard library, or in a base image."""
    absent = install("absent", requires="not-installed-anywhere >= 1")
    late = install("late", dependencies=("not-installed-anywhere >= 1",))
    imports = install("imports", source="import not_installed_anywhere")
    switch_on()
    assert absent not in sys.modules
    assert not given_to(late)
    assert imports not in sys.modules
    assert caplog.records == []


def test_version_that_is_not_known_is_told_once(install: Install, caplog: pytest.LogCaptureFixture) -> None:
    """Whether the package or the instrumentation itself names the version."""
    early = install("early", requires="fastapi < 0.1")
    late = install("late", dependencies=("fastapi < 0.1",))
    for _ in range(2):
        switch_on()
    assert early not in sys.modules
    assert not given_to(late)
    told = [record.getMessage() for record in caplog.records]
    assert [text.partition(" is not traced: ")[0] for text in told] == ["early", "late"]
    assert all("fastapi<0.1" in text.replace(" ", "") for text in told)


@pytest.mark.parametrize(
    "broken",
    [
        {"body": "raise RuntimeError('of the instrumentation')"},
        {"source": "raise RuntimeError('of the instrumentation')"},
        {"source": "from opentelemetry.trace import nothing_of_this_name"},
        {"source": ""},
    ],
)
def test_broken_instrumentation_is_told_once_and_harms_nothing(
    broken: dict[str, str], install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    """The application is set up, and so are the instrumentations after it."""
    install("broken", **broken)
    whole = install("whole")
    for _ in range(2):
        TracedApp()
    assert len(given_to(whole)) == 1
    assert [record.getMessage() for record in caplog.records] == [
        "the instrumentation of broken failed and is left out"
    ]


def test_installed_ones_are_switched_on() -> None:
    """Those of the tests' own environment."""
    switch_on()
    assert GrpcInstrumentorClient().is_instrumented_by_opentelemetry
    assert HTTPXClientInstrumentor().is_instrumented_by_opentelemetry
    assert not GrpcInstrumentorServer().is_instrumented_by_opentelemetry
