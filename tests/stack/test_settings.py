"""The stack's settings: `.env`, overridden by the environment, with clear errors."""

import pytest

from stack.errors import StackError
from stack.parts import parts_of
from stack.settings import load_settings, service_variables


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
    """Found before anything is started."""
    monkeypatch.setenv("STOREFRONT_PORT", "18001")
    monkeypatch.setenv("INVENTORY_PORT", "18001")
    with pytest.raises(StackError, match="INVENTORY_PORT and STOREFRONT_PORT are both 18001"):
        load_settings()


def test_run_folder_that_supervisord_cannot_take_is_refused() -> None:
    """A % in a path is expanded by supervisord."""
    with pytest.raises(StackError, match="has a % in it"):
        load_settings(stack_run_dir="run%d")


def test_no_port_is_given_twice() -> None:
    """The parts of `.env` do not get in each other's way, and each port's variable is a setting."""
    settings = load_settings()
    parts = parts_of(settings, have_pages=True)
    ports = [(variable, port) for part in parts for variable, port in part.ports.items()]
    assert len({port for _, port in ports}) == len(ports)
    assert all(getattr(settings, variable.lower()) == port for variable, port in ports)


def test_services_read_the_file_and_what_overrides_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_ and TELEMETRY_ variables of the shell reach the services; other variables do not."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.25")
    monkeypatch.setenv("TELEMETRY_TRACE_RESPONSE", "false")
    monkeypatch.setenv("UNRELATED", "1")
    variables = service_variables()
    assert variables["OTEL_TRACES_SAMPLER_ARG"] == "0.25"
    assert variables["TELEMETRY_TRACE_RESPONSE"] == "false"
    assert "UNRELATED" not in variables


def test_unknown_runtime_is_refused_by_name() -> None:
    """RUNTIME=podman does not silently become something else."""
    with pytest.raises(StackError, match="RUNTIME='podman': Input should be '', 'compose' or 'native'"):
        load_settings(runtime="podman")
