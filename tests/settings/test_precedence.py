"""The source that wins when several provide a setting."""

import pytest
from pydantic import AliasChoices, Field

from telemetry.config import TelemetryConfig
from telemetry.errors import ConfigurationError


@pytest.mark.parametrize(
    ("field", "attribute"),
    [
        ("service_name", "service.name"),
        ("service_version", "service.version"),
        ("environment", "deployment.environment.name"),
    ],
)
def test_resource_attribute_yields_to_variables_that_are_read_alone(
    field: str, attribute: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that only looks like a setting, such as OTEL_SERVICE_VERSION, overrides nothing."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", f"{attribute}=given")
    variable = f"OTEL_{field.upper()}"
    monkeypatch.setenv(variable, "other")
    is_read = TelemetryConfig.variables().get(variable) == field
    assert getattr(TelemetryConfig(), field) == ("other" if is_read else "given")
    assert is_read == (field == "service_name")
    monkeypatch.setenv(variable, "")
    assert getattr(TelemetryConfig(), field) == "given"


def test_every_variable_that_is_listed_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Invalid values of listed variables are refused by the variable's name."""
    for variable, field in TelemetryConfig.variables().items():
        annotation = TelemetryConfig.model_fields[field].annotation
        # The specification has it that a Boolean which is none counts as false.
        if annotation in {int, float, bool} and variable != "OTEL_SDK_DISABLED":
            monkeypatch.setenv(variable, "nonsense")
            with pytest.raises(ValueError, match=f"^{variable}='nonsense' cannot be used"):
                TelemetryConfig()
            monkeypatch.delenv(variable)


def test_settings_can_be_extended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors name a service's own settings in the same way as the library's."""

    class ShopConfig(TelemetryConfig):
        currency: str = Field("EUR", min_length=3, validation_alias=AliasChoices("SHOP_CURRENCY"))
        """The currency of all prices."""

    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=shop")
    assert (ShopConfig().service_name, ShopConfig().currency) == ("shop", "EUR")
    monkeypatch.setenv("SHOP_CURRENCY", "?")
    with pytest.raises(ConfigurationError, match=r"^SHOP_CURRENCY='\?' cannot be .* \(the currency of"):
        ShopConfig()


@pytest.mark.parametrize("value", ["5", "null", "true", "[1]", '{"a": "b"}'])
@pytest.mark.parametrize(
    "variable",
    [
        "OTEL_RESOURCE_ATTRIBUTES",
        "OTEL_EXPORTER_OTLP_HEADERS",
        "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
    ],
)
def test_pairs_are_never_read_as_json(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The specification only allows `key=value`."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=r"entry 1 is not key=value"):
        TelemetryConfig()
