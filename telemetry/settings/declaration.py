"""How a setting is declared: its variables, its range, and a docstring below it, which is its description."""

import ast
import inspect
import textwrap
from itertools import pairwise
from typing import Any

from pydantic import AliasChoices, AliasGenerator, Field
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict


def setting(default: Any, *variables: str, **rules: Any) -> Any:
    """Declares a setting; its description is the docstring below it.

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


def descriptions_of(settings: type[BaseSettings]) -> dict[str, str]:
    """Returns what each setting is, by field: the docstring below it, unless it has a description of its own.

    It reads the classes' source, which takes long: for errors and documentation, not at each import.
    """
    docstrings: dict[str, str] = {}
    for each in reversed(settings.__mro__):
        if issubclass(each, Settings):
            docstrings |= _docstrings_of(each)
    fields = settings.model_fields.items()
    return {name: field.description or docstrings.get(name, "") for name, field in fields}


def _docstrings_of(settings: type[BaseSettings]) -> dict[str, str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(settings)))
    except (OSError, TypeError, SyntaxError):  # the source is not there, or no longer what runs
        return {}
    found: dict[str, str] = {}
    statements = [each for node in tree.body if isinstance(node, ast.ClassDef) for each in node.body]
    for declared, below in pairwise(statements):
        match declared, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = inspect.cleandoc(text)
    return found


def _derived_variable(field: str) -> AliasChoices:
    return AliasChoices(f"TELEMETRY_{field.upper()}")


class Settings(BaseSettings):
    """Base of the classes that `TelemetryConfig` is made of; they are not used on their own."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        case_sensitive=True,
        env_ignore_empty=True,
        populate_by_name=True,
        validate_default=True,
        hide_input_in_errors=True,
        defer_build=True,
        alias_generator=AliasGenerator(validation_alias=_derived_variable),
    )
