"""Loads the settings for commands that must work even if the shell has malformed variables."""

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from stack.errors import StackError
from stack.service_variables import recommended_variables
from stack.settings import StackSettings, explain

_IDENTIFYING = frozenset({"port_offset", "stack_run_dir", "compose_project_name"})
"""Fields that say which of several stacks is meant."""


def load_settings_anyway(
    console: Console, recorded: Mapping[str, str] = MappingProxyType({})
) -> StackSettings:
    """Reads the settings, ignoring malformed variables.

    A malformed variable is reported and removed from the environment. The run's recorded value is then used,
    else the value from `.env`, else a default or a placeholder.

    Args:
        console: where malformed variables are reported.
        recorded: the variables that the run was started with.

    Raises:
        StackError: a variable that identifies the stack is malformed; a guess might stop another stack.
    """
    values: dict[str, Any] = {}
    reported: set[str] = set()
    while True:
        complaints = _complaints(values)
        if isinstance(complaints, StackSettings):
            return complaints
        for position, (name, complaint) in enumerate(complaints.items(), start=1):
            if name in _IDENTIFYING or name in values:
                raise StackError(complaint)
            known = recorded.get(name.upper())
            if complaint not in reported:
                message = f"ignored: {complaint}" + (f"; the run was started with {known}" if known else "")
                console.print(message, highlight=False, markup=False, soft_wrap=True)
                reported.add(complaint)
            said = {key: os.environ.pop(key) for key in list(os.environ) if key.lower() == name}
            if known is not None and known not in said.values():
                os.environ[name.upper()] = known
            elif not said:
                field = StackSettings.model_fields[name]
                placeholder = position if field.annotation is int else "0"
                values[name] = placeholder if field.is_required() else field.default


def _complaints(values: Mapping[str, Any]) -> "StackSettings | dict[str, str]":
    """Returns the settings with these values on top, or the error messages by field name."""
    try:
        settings = StackSettings(**values)
    except StackError as error:
        return {"port_offset": str(error)}
    except ValidationError as error:
        found = error.errors(include_url=False)
        of_fields = {str(each["loc"][0]): explain(each) for each in found if each["loc"]}
        if of_fields:
            return of_fields
        message = explain(found[0])
        if message.startswith("STACK_RUN_DIR"):
            return {"stack_run_dir": message}
        # Two ports are equal: every port falls back.
        return {name: message for name in StackSettings.model_fields if name.endswith("_port")}
    try:
        recommended_variables(settings)
    except StackError as error:
        return {"telemetry_env": str(error)}
    return settings
