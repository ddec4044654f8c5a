"""The running stack as a fixture, in each runtime: natively, and in the containers of compose.yaml."""

import os
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from rich.console import Console
from support import stand_in_images
from support.compose_plugin import ensure_compose_plugin
from support.free_ports import free_ports

from stack.backends.jaeger import Jaeger
from stack.backends.prometheus import Prometheus
from stack.canary import send_canary
from stack.compose.engine import Engine
from stack.compose.runtime import ComposeRuntime
from stack.health import NotYetError, wait_for
from stack.native.programs import ensure_programs
from stack.native.runtime import NativeRuntime
from stack.runtime import Runtime
from stack.service_variables import authorization
from stack.services import SERVICE_NAMES, STOREFRONT
from stack.settings import ROOT, StackSettings, load_settings
from telemetry.metrics import names

NATIVELY = pytest.mark.parametrize("stack", [pytest.param("native", marks=pytest.mark.stack)], indirect=True)
"""For a test of code that is the same in containers; what containers change is tested in them, too."""
IN_CONTAINERS = pytest.mark.parametrize(
    "stack", [pytest.param("compose", marks=pytest.mark.compose)], indirect=True
)


class Stack:
    """The running stack, as a test sees it."""

    def __init__(
        self, settings: StackSettings, runtime: Runtime, runtime_of: Callable[[StackSettings], Runtime]
    ) -> None:
        self.settings = settings
        self.runtime = runtime
        self.runtime_of = runtime_of
        """Returns the same kind of runtime with other settings."""
        self.jaeger = Jaeger(settings.jaeger_port)
        self.prometheus = Prometheus(settings.prometheus_port)
        self.storefront = STOREFRONT.url(settings)

    def health(self) -> dict[str, Any]:
        """Returns the storefront's own health report."""
        answer: dict[str, Any] = httpx.get(f"{self.storefront}/health/telemetry", trust_env=False).json()
        return answer

    def metrics(self) -> str:
        """Returns the storefront's /metrics, with exemplars."""
        return httpx.get(
            f"{self.storefront}/metrics",
            headers={"accept": "application/openmetrics-text"},
            trust_env=False,
        ).text

    def put_faults(self, **plan: float) -> None:
        """Puts a plan of faults in force in the storefront; without values, none."""
        httpx.put(
            f"{self.storefront}/faults", json=plan, headers=authorization(self.settings), trust_env=False
        ).raise_for_status()

    def breaker_metric(self) -> str:
        """Returns the breaker's state as the storefront's /metrics shows it."""
        (state,) = [
            sample.labels[names.STATE]
            for family in text_string_to_metric_families(self.metrics())
            if family.name == names.BREAKER_STATE
            for sample in family.samples
            if sample.value == 1
        ]
        return str(state)

    def value_of(self, name: str) -> float:
        """Returns the sum of a sample's values on the storefront's /metrics."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.metrics())
            for sample in family.samples
            if sample.name == name
        )

    def wait(self, what: str, is_true: Callable[[], object], seconds: float) -> None:
        """Waits until something holds; the failure names it."""

        def check() -> None:
            if not is_true():
                raise NotYetError(f"not seen: {what}")

        wait_for(check, seconds=seconds)

    def wait_for_trace(self, trace_id: str, seconds: float = 20) -> dict[str, list[dict[str, Any]]]:
        """Returns the trace's spans by service, once those of both services are there."""

        def find() -> dict[str, list[dict[str, Any]]]:
            spans = dict(self.jaeger.spans(trace_id))
            if not spans.keys() >= set(SERVICE_NAMES):
                raise NotYetError(f"trace {trace_id} has spans of {', '.join(spans) or 'nobody'} only")
            return spans

        return wait_for(find, seconds=seconds)


@pytest.fixture(
    scope="session",
    params=[
        pytest.param("native", marks=pytest.mark.stack),
        pytest.param("compose", marks=pytest.mark.compose),
    ],
)
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The running stack, verified by its canary."""
    yield from _native(tmp_path_factory.mktemp("stack")) if request.param == "native" else _compose()


def _native(folder: Path) -> Iterator[Stack]:
    """Runs the stack on free ports and in its own folder, isolated from anything that runs beside it."""
    console = Console(width=200)
    settings = load_settings(stack_run_dir=folder / "run", **free_ports())

    def runtime_of(changed: StackSettings) -> NativeRuntime:
        return NativeRuntime(changed, console)

    runtime = runtime_of(settings)
    try:
        runtime.up()
        send_canary(settings)
        yield Stack(settings, runtime, runtime_of)
    finally:
        runtime.down()


def _compose() -> Iterator[Stack]:
    """Runs a separate compose project on free ports, with stand-ins for images that cannot be pulled.

    Grafana is left out, because it has no stand-in.
    """
    console = Console(width=200)
    # Named after this checkout, so that leftovers of a killed run in another one are not in the way.
    checkout = sha256(str(ROOT).encode()).hexdigest()[:8]
    settings = load_settings(compose_project_name=f"fastapi-telemetry-test-{checkout}", **free_ports())
    engine = Engine(settings)
    if engine.obstacle() == "docker has no compose plugin":
        os.environ["DOCKER_CONFIG"] = str(ensure_compose_plugin(console))
        engine = Engine(settings)
    obstacle = engine.obstacle()
    if obstacle is not None:
        pytest.skip(f"no containers on this machine: {obstacle}")

    def runtime_of(changed: StackSettings) -> ComposeRuntime:
        return ComposeRuntime(changed, console, without=("grafana",), accepts_stand_ins=True)

    runtime = runtime_of(settings)
    stand_in_images.build_missing(settings, engine, ensure_programs(settings, console).paths, console)
    try:
        runtime.up()
        send_canary(settings)
        yield Stack(settings, runtime, runtime_of)
    finally:
        runtime.clean()
        stand_in_images.remove(engine)
