"""Records what each run of this checkout was started with, so that later commands act on the same run.

`make up` records the variables that it was given; a command in a shell without them takes them from the
record. A variable of the shell wins, unless it is malformed. `make down` removes the record.
"""

import json
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from dotenv import dotenv_values
from rich.console import Console

from stack.errors import StackError
from stack.lenient_settings import load_settings_anyway
from stack.service_variables import is_service_variable
from stack.settings import ENV_FILE, ROOT, StackSettings

RECORDS = ROOT / ".stack-runs"
_WHICH = ("PORT_OFFSET", "STACK_RUN_DIR", "COMPOSE_PROJECT_NAME")
"""The variables that identify one of several runs."""
_OF_PARTS = ("COLLECTOR_QUEUE_SPANS", "GRAFANA_ADMIN_PASSWORD")
"""Read by a part, and in neither `.env` nor the settings."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run: its folder, its project's name, and the variables that it was started with."""

    run_dir: Path
    project: str
    variables: Mapping[str, str]
    """Set in the shell that started it."""
    places: Mapping[str, str]
    """Its ports by variable, whatever their source."""

    @property
    def file(self) -> Path:
        """The record's file, readable only by its owner, because an exporter's headers may be secret."""
        return RECORDS / f"{sha256(str(self._place).encode()).hexdigest()[:12]}.json"

    @property
    def _place(self) -> Path:
        """The run folder, relative to the root if below it, so that the checkout can be moved."""
        return self.run_dir.relative_to(ROOT) if self.run_dir.is_relative_to(ROOT) else self.run_dir

    def keep(self) -> None:
        """Writes the record atomically."""
        RECORDS.mkdir(mode=0o700, exist_ok=True)
        unfinished = self.file.with_suffix(".new")
        unfinished.unlink(missing_ok=True)
        unfinished.touch(mode=0o600)
        content = {
            "run_dir": str(self._place),
            "project": self.project,
            "variables": dict(self.variables),
            "places": dict(self.places),
        }
        unfinished.write_text(json.dumps(content, indent=2))
        unfinished.replace(self.file)

    def as_it_is(self) -> Callable[[], None]:
        """Captures the present record of this run; the returned function restores it."""
        before = self.file.read_bytes() if self.file.exists() else None

        def undo() -> None:
            if before is None:
                self.forget()
            else:
                self.file.write_bytes(before)

        return undo

    def forget(self) -> None:
        """Removes the record; harmless if there is none."""
        self.file.unlink(missing_ok=True)
        if RECORDS.is_dir() and not any(RECORDS.iterdir()):
            RECORDS.rmdir()


@contextmanager
def environment_of_run(variables: Mapping[str, str]) -> Iterator[None]:
    """Temporarily replaces the stack's variables in the environment by those that a run was started with."""
    names = _names_of(os.environ)
    others = {name: value for name, value in os.environ.items() if name not in names}
    with _environment(others | dict(variables)):
        yield


def record_of(settings: StackSettings) -> RunRecord:
    """Creates the record of a run with these settings, with the stack's variables in the environment."""
    variables = {name: os.environ[name] for name in _names_of(os.environ) if os.environ[name]}
    variables.pop("RUNTIME", None)
    for name in ("STACK_RUN_DIR", "TELEMETRY_ENV"):  # the next shell may be in another folder
        if name in variables:
            variables[name] = str(Path(variables[name]).absolute())
    places = {name: value for name, value in settings.variables().items() if name.endswith("_PORT")}
    return RunRecord(settings.stack_run_dir.absolute(), settings.compose_project_name, variables, places)


def recall(console: Console) -> Mapping[str, str]:
    """Adds the variables of the requested run to the environment, and reports them.

    Returns:
        The variables and ports that the run was started with, including those that this shell overrides.

    Raises:
        StackError: there are several runs, and nothing identifies the requested one.
    """
    record = _meant(all_records(console))
    if record is None:
        return {}
    taken = {name: value for name, value in record.variables.items() if not os.environ.get(name)}
    os.environ.update(taken)
    known = {**record.places, **record.variables}
    others = {
        name: value
        for name, value in known.items()
        if os.environ.get(name, value) != value and name not in _WHICH
    }
    for words, variables in (
        ("the run that was started with", taken),
        ("this shell sets other values, but the run was started with", others),
    ):
        if variables:
            console.print(f"{words} {_shown(variables)}", soft_wrap=True, highlight=False, markup=False)
    return known


def all_records(console: Console) -> list[RunRecord]:
    """Returns every run that was started and not taken down; reports and skips malformed files."""
    found = []
    for file in sorted(RECORDS.glob("*.json")):
        try:
            content = json.loads(file.read_text())
            variables, places = dict(content["variables"]), dict(content["places"])
            found.append(RunRecord(ROOT / content["run_dir"], content["project"], variables, places))
        except (OSError, ValueError, KeyError, TypeError) as error:
            console.print(f"ignored {file}, which is not the record of a run: {error!r}", markup=False)
    return found


def naming_the_run(words: str) -> str:
    """Adds the variables that identify the run to each command in a text, which might else act on another."""
    which = "".join(f" {name}={shlex.quote(os.environ[name])}" for name in _WHICH if os.environ.get(name))
    return re.sub(r"`make [^`]+(?=`)", lambda command: command[0] + which, words)


def moved_runs() -> list[str]:
    """Returns the offsets of runs that left a folder next to the default one, whether they are up or not."""
    usual = StackSettings.model_fields["stack_run_dir"].default
    pattern = re.compile(rf"{re.escape(usual.name)}-(\d+)(-console)?")
    found = (pattern.fullmatch(each.name) for each in usual.parent.iterdir())
    return sorted({each[1] for each in found if each})


def forget_all() -> None:
    """Removes every record, including unreadable ones."""
    shutil.rmtree(RECORDS, ignore_errors=True)


def is_run_named() -> bool:
    """Returns whether the environment identifies one of several runs."""
    return any(os.environ.get(name) for name in _WHICH)


def _shown(variables: Mapping[str, str]) -> str:
    """Formats variables; hides the values of all but the stack's settings, since they may be secret."""
    own = {name.upper() for name in StackSettings.model_fields}
    return " ".join(f"{name}={value if name in own else '…'}" for name, value in sorted(variables.items()))


def _meant(records: list[RunRecord]) -> RunRecord | None:
    """Returns the run that the environment identifies, else the only one, else the one in the usual place."""
    asked = {name for name in _WHICH if os.environ.get(name)}
    if asked and records:
        with _environment(os.environ):  # a later call reports the ignored variables
            settings = load_settings_anyway(Console(quiet=True))
        project, run_dir = settings.compose_project_name, settings.stack_run_dir.absolute()
        if "COMPOSE_PROJECT_NAME" in asked:
            records = [record for record in records if record.project == project]
        here = [record for record in records if record.run_dir == run_dir]
        if here or asked != {"COMPOSE_PROJECT_NAME"}:
            return here[0] if here else None
    if len(records) <= 1:
        return records[0] if records else None
    usual = [record for record in records if not any(name in record.variables for name in _WHICH)]
    if len(usual) == 1:
        return usual[0]
    runs = "; ".join(
        " ".join(f"{name}={record.variables[name]}" for name in _WHICH if name in record.variables)
        for record in records
    )
    raise StackError(f"several runs were started: name one of them by its variables, {runs}")


def _names_of(environment: Mapping[str, str]) -> list[str]:
    """Returns the names of the variables in it that the stack reads."""
    of_stack = {name.upper() for name in StackSettings.model_fields}
    of_stack |= {*dotenv_values(ENV_FILE), *_OF_PARTS}
    return [name for name in environment if name in of_stack or is_service_variable(name)]


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Temporarily replaces the environment."""
    before = dict(os.environ)
    try:
        _set_environment(dict(variables))
        yield
    finally:
        _set_environment(before)


def _set_environment(environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
