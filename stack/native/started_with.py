"""Keeps the programs that a run was started with in its folder, for the commands that follow `up`."""

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from stack.native.programs import Programs

_FILE = "programs.json"
_ADAPTER = TypeAdapter(Programs)


def read_programs(run_folder: Path) -> Programs:
    """Reads the run's programs; returns an empty `Programs` if the file is missing or damaged."""
    try:
        return _ADAPTER.validate_json((run_folder / _FILE).read_bytes())
    except (OSError, ValidationError):
        return Programs({})


def write_programs(run_folder: Path, programs: Programs) -> None:
    """Writes the run's programs atomically."""
    unfinished = run_folder / f"{_FILE}.new"
    unfinished.write_bytes(_ADAPTER.dump_json(programs, indent=2))
    unfinished.replace(run_folder / _FILE)
