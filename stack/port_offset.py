"""`PORT_OFFSET=1000`: a second stack next to the first, with every port of `.env` raised by the offset."""

from typing import Any

from dotenv import dotenv_values
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource

from stack.errors import StackError

HIGHEST_PORT = 65535
_NUMBER = TypeAdapter(int)


class PortOffsetSource(PydanticBaseSettingsSource):
    """Moves the values that come from `.env` or a default; values from other sources win over it."""

    def get_field_value(
        self,
        field: FieldInfo,  # noqa: ARG002 - as the base class has it
        field_name: str,
    ) -> tuple[Any, str, bool]:
        """Returns no value: `__call__` returns them all."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Returns the ports, the run folder and the project's name of the moved stack.

        Raises:
            StackError: a port would exceed 65535.
        """
        file = self.config["env_file"]
        in_file = {name.lower(): value for name, value in dotenv_values(str(file)).items()}
        said = self.current_state.get("port_offset") or in_file.get("port_offset") or 0
        try:
            offset = _NUMBER.validate_python(said)  # as the field itself reads it
        except ValidationError:
            return {}  # the field's own validation gives a better message
        if offset <= 0:
            return {}
        fields = self.settings_cls.model_fields
        moved: dict[str, Any] = {
            name: f"{in_file.get(name) or fields[name].default}-{offset}"
            for name in ("stack_run_dir", "compose_project_name")
        }
        ports = {name: value for name, value in in_file.items() if name.endswith("_port") and name in fields}
        for name, value in ports.items():
            if value is None or not value.isdecimal():
                continue
            moved[name] = int(value) + offset
            if moved[name] > HIGHEST_PORT and not self.current_state.get(name):
                highest = max(int(each) for each in ports.values() if each and each.isdecimal())
                raise StackError(
                    f"PORT_OFFSET={offset} moves {name.upper()} from {value} to {moved[name]}, above "
                    f"{HIGHEST_PORT}: {HIGHEST_PORT - highest} is the largest offset that fits them all"
                )
        return moved
