"""The lab restores the parts that it restarts, and refuses runs that cannot be measured."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from loadtest.lab import Lab
from stack.errors import StackError
from stack.settings import load_settings
from telemetry.errors import ConfigurationError


class NotedRuntime:
    """A runtime that records which parts are restarted, and with which variables."""

    def __init__(self) -> None:
        self.restarted: list[tuple[str, dict[str, str]]] = []
        self.broken = ""

    def restart(self, part: str, variables: Mapping[str, str]) -> None:
        """Records the restart."""
        self.restarted.append((part, dict(variables)))
        if part == self.broken:
            raise StackError(f"the {part} does not become healthy")


@pytest.fixture
def runtime() -> NotedRuntime:
    """A runtime that only records."""
    return NotedRuntime()


@pytest.fixture
def lab(runtime: NotedRuntime) -> Lab:
    """A lab with a setting of its own."""
    return Lab(load_settings(), runtime, {"OTEL_BSP_SCHEDULE_DELAY": "50"})  # type: ignore[arg-type]


def test_every_part_is_put_back_once(lab: Lab, runtime: NotedRuntime) -> None:
    """This holds however often a part was restarted, and a second call restarts nothing."""
    lab.restart("collector", {"COLLECTOR_QUEUE_SPANS": "100"})
    lab.restart("storefront", {"SHOP_X": "1"})
    lab.restart("storefront", {"SHOP_X": "2"})
    lab.put_back()
    lab.put_back()
    assert runtime.restarted == [
        ("collector", {"COLLECTOR_QUEUE_SPANS": "100"}),
        ("storefront", {"OTEL_BSP_SCHEDULE_DELAY": "50", "WEB_CONCURRENCY": "1", "SHOP_X": "1"}),
        ("storefront", {"OTEL_BSP_SCHEDULE_DELAY": "50", "WEB_CONCURRENCY": "1", "SHOP_X": "2"}),
        ("storefront", {}),
        ("collector", {}),
    ]


def test_only_one_experiment_runs_on_a_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two would restart each other's services; the next one may run when the first is over."""
    settings = load_settings().model_copy(update={"stack_run_dir": tmp_path / "run"})
    idle = SimpleNamespace(status=list, kind="native")
    monkeypatch.setattr("loadtest.lab.current_stack", lambda _: (settings, idle, ""))
    console = Console(quiet=True)
    first = Lab.open(console)
    with pytest.raises(StackError, match="another outage, tune or sampling is using"):
        Lab.open(console)
    del first
    assert Lab.open(console)


def test_part_that_cannot_be_put_back_keeps_no_other_from_it(lab: Lab, runtime: NotedRuntime) -> None:
    """The error is raised when the others have been restored."""
    for part in ("collector", "inventory", "storefront"):
        lab.restart(part, {"SHOP_X": "1"})
    runtime.restarted.clear()
    runtime.broken = "inventory"
    with pytest.raises(StackError, match="inventory"):
        lab.put_back()
    assert runtime.restarted == [("storefront", {}), ("inventory", {}), ("collector", {})]


def test_configuration_is_the_librarys_own_reading(lab: Lab) -> None:
    """The library itself parses the variables that the services are restarted with."""
    config = lab.config_of_services({"OTEL_EXPORTER_OTLP_TIMEOUT": "0.5"})
    assert (config.schedule_delay_ms, config.attempt_timeout_seconds) == (50, 0.5)
    with pytest.raises(ConfigurationError, match="OTEL_EXPORTER_OTLP_TIMEOUT"):
        lab.config_of_services({"OTEL_EXPORTER_OTLP_TIMEOUT": "soon"})


def test_reports_show_what_decides_a_run_and_no_secret(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers are left out entirely."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=secret")
    shown = lab.shown_configuration({"TELEMETRY_SPOOL_MAX_BYTES": "65536"})
    assert shown["OTEL_BSP_SCHEDULE_DELAY"] == "50"
    assert shown["TELEMETRY_SPOOL_MAX_BYTES"] == "65536"
    assert "secret" not in str(shown)
    assert "STOREFRONT_PORT" not in shown


def test_more_traces_than_jaeger_keeps_are_refused(lab: Lab) -> None:
    """The error comes before anything is broken, and says what to do."""
    lab.check_room(lab.settings.jaeger_max_traces)
    with pytest.raises(StackError, match=r"24200 traces.*`make up JAEGER_MAX_TRACES=25000`"):
        lab.check_room(24_200)
