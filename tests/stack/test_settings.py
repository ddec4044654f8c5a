"""The stack's settings: `.env`, overridden by the environment, with clear errors."""

from pathlib import Path

import pytest

from stack.errors import StackError
from stack.parts import grafana_part, parts_of, toxiproxy_part
from stack.service_variables import service_variables
from stack.settings import load_settings


def test_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port is moved by its variable."""
    monkeypatch.delenv("STOREFRONT_PORT", raising=False)
    assert load_settings().storefront_port == 8000
    monkeypatch.setenv("STOREFRONT_PORT", "18000")
    assert load_settings().storefront_port == 18000


@pytest.mark.parametrize("value", ["web", "0", "70000"])
def test_bad_port_is_named_with_its_value(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names variable and value."""
    monkeypatch.setenv("STOREFRONT_PORT", value)
    with pytest.raises(StackError, match=f"STOREFRONT_PORT='{value}'"):
        load_settings()


def test_port_given_twice_is_named_with_both_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found before anything is started."""
    monkeypatch.setenv("STOREFRONT_PORT", "18001")
    monkeypatch.setenv("INVENTORY_PORT", "18001")
    with pytest.raises(StackError, match="INVENTORY_PORT and STOREFRONT_PORT are both 18001"):
        load_settings()


@pytest.mark.parametrize("name", ["run%d", "my #1 run", "one ;two", "two\nlines"])
def test_run_folder_that_supervisord_cannot_take_is_refused(name: str) -> None:
    """It expands a %, and takes the text after a space and # or ; for a comment."""
    with pytest.raises(StackError, match="which supervisord cannot take"):
        load_settings(stack_run_dir=name)


def test_no_port_is_given_twice() -> None:
    """The ports of `.env` do not collide, and each port's variable is a setting."""
    settings = load_settings()
    parts = (*parts_of(settings, with_pages=()), grafana_part(settings), toxiproxy_part(settings))
    ports = [(variable, port) for part in parts for variable, port in part.ports.items()]
    assert len({port for _, port in ports}) == len(ports)
    assert all(getattr(settings, variable.lower()) == port for variable, port in ports)


def test_services_read_the_file_and_what_overrides_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_ and TELEMETRY_ variables of the shell reach the services; other variables do not."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.25")
    monkeypatch.setenv("TELEMETRY_TRACE_RESPONSE", "false")
    monkeypatch.setenv("UNRELATED", "1")
    variables = service_variables(load_settings())
    assert variables["OTEL_TRACES_SAMPLER_ARG"] == "0.25"
    assert variables["TELEMETRY_TRACE_RESPONSE"] == "false"
    assert "UNRELATED" not in variables


def test_recommended_settings_lie_between_the_file_and_the_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`TELEMETRY_ENV` overrides `.env`, and the environment overrides both."""
    file = tmp_path / "recommended.env"
    file.write_text("# why\nOTEL_BSP_SCHEDULE_DELAY=250\nOTEL_BSP_MAX_EXPORT_BATCH_SIZE=128\n")
    monkeypatch.setenv("TELEMETRY_ENV", str(file))
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "64")
    variables = service_variables(load_settings())
    assert variables["OTEL_BSP_SCHEDULE_DELAY"] == "250"
    assert variables["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"] == "64"
    assert "TELEMETRY_ENV" not in variables


@pytest.mark.parametrize("name", ["JAEGER_PORT", "OTEL_EXPORTER_OTLP_ENDPOINT"])
def test_recommended_settings_are_the_services_own(name: str, tmp_path: Path) -> None:
    """Such a file cannot set what the stack decides."""
    file = tmp_path / "recommended.env"
    file.write_text(f"{name}=1\n")
    with pytest.raises(StackError, match=f"sets {name}, which is no setting of the services"):
        service_variables(load_settings(telemetry_env=file))


def test_recommended_settings_that_are_not_there_are_named(tmp_path: Path) -> None:
    """Otherwise the stack would run with other settings."""
    with pytest.raises(StackError, match=r"TELEMETRY_ENV=.*no\.env.*: Path does not point to a file"):
        load_settings(telemetry_env=tmp_path / "no.env")


@pytest.mark.parametrize("value", ["-1", "101", "half"])
def test_tail_share_is_a_percentage(value: str) -> None:
    """The message names variable and value."""
    with pytest.raises(StackError, match=f"TAIL_SAMPLING_PERCENTAGE='{value}'"):
        load_settings(tail_sampling_percentage=value)


def test_unknown_runtime_is_refused_by_name() -> None:
    """RUNTIME=podman does not silently become something else."""
    with pytest.raises(StackError, match="RUNTIME='podman': Input should be '', 'compose' or 'native'"):
        load_settings(runtime="podman")
