"""How a setting is declared: its variables, its range, and a docstring that becomes its description."""

from typing import Any

from pydantic import AliasChoices, AliasGenerator, Field
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict


def setting(default: Any, *variables: str, **rules: Any) -> Any:
    """Declares a setting; its description is the docstring below it, which pydantic reads from the source.

    Args:
        default: the value if no source sets one.
        variables: their names, highest precedence first; by default `TELEMETRY_` and the field's name.
        rules: further arguments of pydantic's `Field`, such as the range.
    """
    return Field(default, validation_alias=AliasChoices(*variables) if variables else None, **rules)


def variables_of(field: FieldInfo) -> tuple[str, ...]:
    """Returns the variables that a field is read from, highest precedence first."""
    alias = field.validation_alias
    return tuple(str(choice) for choice in alias.choices) if isinstance(alias, AliasChoices) else ()


def _derived_variable(field: str) -> AliasChoices:
    return AliasChoices(f"TELEMETRY_{field.upper()}")


class Settings(BaseSettings):
    """Base of the classes that `TelemetryConfig` is made of."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        case_sensitive=True,
        env_ignore_empty=True,
        populate_by_name=True,
        validate_default=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
        alias_generator=AliasGenerator(validation_alias=_derived_variable),
    )
