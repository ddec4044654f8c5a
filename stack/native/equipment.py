"""What a run has that not every machine can have; kept in its folder for the commands that follow `up`."""

from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from stack.native.programs import Programs
from stack.parts import MissingPart

_FILE = "equipment.json"


@dataclass(frozen=True, slots=True)
class Equipment:
    """Nothing, before the first `up`."""

    has_grafana: bool = False
    with_pages: frozenset[str] = frozenset()
    """Those of Jaeger and Prometheus that have their web pages."""
    missing: tuple[MissingPart, ...] = ()
    """What the run does not have, and why."""


_ADAPTER = TypeAdapter(Equipment)


def equipment_of(programs: Programs) -> Equipment:
    """What a run with these programs has."""
    return Equipment(programs.have_grafana, programs.with_pages, programs.missing)


def read_equipment(run_folder: Path) -> Equipment:
    """As it was written; nothing where it was not, or is damaged."""
    try:
        return _ADAPTER.validate_json((run_folder / _FILE).read_bytes())
    except (OSError, ValidationError):
        return Equipment()


def write_equipment(run_folder: Path, equipment: Equipment) -> None:
    """Keeps it with the run."""
    (run_folder / _FILE).write_bytes(_ADAPTER.dump_json(equipment, indent=2))
