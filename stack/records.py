"""What each run of this checkout was started with, so that later commands speak to it.

`make up` notes the variables that it was given; a command in a shell without them takes them from there. A
variable of the shell itself wins, unless it is malformed. `make down` forgets the run.
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
"""The variables that say which of several runs is meant."""
_OF_PARTS = ("COLLECTOR_QUEUE_SPANS", "GRAFANA_ADMIN_PASSWORD")
"""Read by a part, and in neither `.env` nor the settings."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run: its folder and its project's name, and the variables that it was started with."""

    run_dir: Path
    project: str
    variables: Mapping[str, str]
    """What its shell said."""
    places: Mapping[str, str]
    """Where it is, whoever said it: its ports."""

    @property
    def file(self) -> Path:
        """Where it is kept: readable by its owner alone, for headers of an exporter may be secrets."""
        return RECORDS / f"{sha256(str(self._place).encode()).hexdigest()[:12]}.json"

    @property
    def _place(self) -> Path:
        """The folder, from the root where it lies below it: it is moved with that."""
        return self.run_dir.relative_to(ROOT) if self.run_dir.is_relative_to(ROOT) else self.run_dir

    def keep(self) -> None:
        """Writes it, whole or not at all."""
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
        """Notes what is kept of this run; what it returns brings that back."""
        before = self.file.read_bytes() if self.file.exists() else None

        def undo() -> None:
            if before is None:
                self.forget()
            else:
                self.file.write_bytes(before)

        return undo

    def forget(self) -> None:
        """Removes it; harmless when it is not kept."""
        self.file.unlink(missing_ok=True)
        if RECORDS.is_dir() and not any(RECORDS.iterdir()):
            RECORDS.rmdir()


@contextmanager
def environment_of_run(variables: Mapping[str, str]) -> Iterator[None]:
    """Has the environment say of the stack what a run was started with, and nothing else."""
    names = _names_of(os.environ)
    others = {name: value for name, value in os.environ.items() if name not in names}
    with _environment(others | dict(variables)):
        yield


def record_of(settings: StackSettings) -> RunRecord:
    """The run with these settings, and what of the environment it is started with."""
    variables = {name: os.environ[name] for name in _names_of(os.environ) if os.environ[name]}
    variables.pop("RUNTIME", None)
    for name in ("STACK_RUN_DIR", "TELEMETRY_ENV"):  # the next shell may stand elsewhere
        if name in variables:
            variables[name] = str(Path(variables[name]).absolute())
    places = {name: value for name, value in settings.variables().items() if name.endswith("_PORT")}
    return RunRecord(settings.stack_run_dir.absolute(), settings.compose_project_name, variables, places)


def recall(console: Console) -> Mapping[str, str]:
    """Lets the environment have what the run that is meant was started with; a line says so.

    Returns:
        All that it was started with and where it is, also where the shell says something else.

    Raises:
        StackError: there are several runs, and nothing says which one is meant.
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
        ("this shell says otherwise, but the run was started with", others),
    ):
        if variables:
            console.print(f"{words} {_told(variables)}", soft_wrap=True, highlight=False, markup=False)
    return known


def all_records(console: Console) -> list[RunRecord]:
    """Every run that was started and not taken down; a file that is no record is told and passed over."""
    found = []
    for file in sorted(RECORDS.glob("*.json")):
        try:
            content = json.loads(file.read_text())
            variables, places = dict(content["variables"]), dict(content["places"])
            found.append(RunRecord(ROOT / content["run_dir"], content["project"], variables, places))
        except (OSError, ValueError, KeyError, TypeError) as error:
            console.print(f"passed over {file}, which is no record of a run: {error!r}", markup=False)
    return found


def naming_the_run(words: str) -> str:
    """The same, with the variables in each command that say which run is meant; else it acts on another."""
    which = "".join(f" {name}={shlex.quote(os.environ[name])}" for name in _WHICH if os.environ.get(name))
    return re.sub(r"`make [^`]+(?=`)", lambda command: command[0] + which, words)


def moved_runs() -> list[str]:
    """The offsets of runs that left a folder beside the usual one, whether they are up or not."""
    usual = StackSettings.model_fields["stack_run_dir"].default
    pattern = re.compile(rf"{re.escape(usual.name)}-(\d+)(-console)?")
    found = (pattern.fullmatch(each.name) for each in usual.parent.iterdir())
    return sorted({each[1] for each in found if each})


def forget_all() -> None:
    """Removes every record, and what is none."""
    shutil.rmtree(RECORDS, ignore_errors=True)


def is_run_named() -> bool:
    """Whether the environment says which of several runs is meant."""
    return any(os.environ.get(name) for name in _WHICH)


def _told(variables: Mapping[str, str]) -> str:
    """In words; of the services' only the names, for endpoints and headers hold secrets."""
    own = {name.upper() for name in StackSettings.model_fields}
    return " ".join(f"{name}={value if name in own else '…'}" for name, value in sorted(variables.items()))


def _meant(records: list[RunRecord]) -> RunRecord | None:
    """The run that the environment means: by what says which, else the only one, else the usual one."""
    asked = {name for name in _WHICH if os.environ.get(name)}
    if asked and records:
        with _environment(os.environ):  # what is passed over here is told later
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
    """The variables in it that the stack reads."""
    of_stack = {name.upper() for name in StackSettings.model_fields}
    of_stack |= {*dotenv_values(ENV_FILE), *_OF_PARTS}
    return [name for name in environment if name in of_stack or is_service_variable(name)]


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Has the environment be this, for a while."""
    before = dict(os.environ)
    try:
        _set_environment(dict(variables))
        yield
    finally:
        _set_environment(before)


def _set_environment(environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
