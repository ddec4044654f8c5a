"""What each run of this checkout was started with, so that later commands speak to it.

`make up` notes the variables that it was given; a command in a shell without them takes them from there. A
variable of the shell itself always wins. `make down` forgets the run.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from rich.console import Console

from stack.errors import StackError
from stack.settings import ROOT, StackSettings, is_service_variable

RECORDS = ROOT / ".stack-runs"
_WHICH = ("PORT_OFFSET", "STACK_RUN_DIR", "COMPOSE_PROJECT_NAME")
"""The variables that say which of several runs is meant."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run: where it is, and the variables that it was started with."""

    run_dir: str
    variables: Mapping[str, str]

    @property
    def file(self) -> Path:
        """Where it is kept: readable by its owner alone, for headers of an exporter may be secrets."""
        return RECORDS / f"{sha256(self.run_dir.encode()).hexdigest()[:12]}.json"

    def keep(self) -> None:
        """Writes it, whole or not at all."""
        RECORDS.mkdir(mode=0o700, exist_ok=True)
        unfinished = self.file.with_suffix(".new")
        unfinished.unlink(missing_ok=True)
        unfinished.touch(mode=0o600)
        unfinished.write_text(
            json.dumps({"run_dir": self.run_dir, "variables": dict(self.variables)}, indent=2)
        )
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

    def __str__(self) -> str:
        """Its variables in words; of the services' only the names, for endpoints and headers hold secrets."""
        own = {name.upper() for name in StackSettings.model_fields}
        pairs = (f"{name}={value if name in own else '…'}" for name, value in sorted(self.variables.items()))
        return " ".join(pairs)


def record_of(settings: StackSettings) -> RunRecord:
    """The run with these settings, and what of the environment it is started with."""
    names = {name.upper() for name in StackSettings.model_fields}
    variables = {
        name: value
        for name, value in os.environ.items()
        if value and (name in names or is_service_variable(name)) and name != "RUNTIME"
    }
    for name in ("STACK_RUN_DIR", "TELEMETRY_ENV"):  # the next shell may stand elsewhere
        if name in variables:
            variables[name] = str(Path(variables[name]).absolute())
    return RunRecord(str(settings.stack_run_dir.absolute()), variables)


def recall(console: Console) -> None:
    """Lets the environment have what the run that is meant was started with; a line says so.

    Raises:
        StackError: there are several runs, and nothing says which one is meant.
    """
    record = _meant(_records(console))
    if record is None or not record.variables:
        return
    taken = {name: value for name, value in record.variables.items() if not os.environ.get(name)}
    os.environ.update(taken)
    if taken:
        said = RunRecord(record.run_dir, taken)
        console.print(f"the run that was started with {said}", soft_wrap=True, highlight=False, markup=False)


def _records(console: Console) -> list[RunRecord]:
    found = []
    for file in sorted(RECORDS.glob("*.json")):
        try:
            content = json.loads(file.read_text())
            found.append(RunRecord(content["run_dir"], dict(content["variables"])))
        except (OSError, ValueError, KeyError, TypeError) as error:
            console.print(f"passed over {file}, which is no record of a run: {error}", markup=False)
    return found


def _meant(records: list[RunRecord]) -> RunRecord | None:
    """The run that the environment means: by what says which, else the only one, else the usual one."""
    asked = {name: value for name in _WHICH if (value := os.environ.get(name))}
    if "STACK_RUN_DIR" in asked:
        asked["STACK_RUN_DIR"] = str(Path(asked["STACK_RUN_DIR"]).absolute())
    fitting = [
        record
        for record in records
        if all(record.variables.get(name) == value for name, value in asked.items())
    ]
    if len(fitting) <= 1 or asked:
        return fitting[0] if fitting else None
    usual = [record for record in fitting if not any(name in record.variables for name in _WHICH)]
    if len(usual) == 1:
        return usual[0]
    runs = "; ".join(
        " ".join(f"{name}={record.variables[name]}" for name in _WHICH if name in record.variables)
        for record in fitting
    )
    raise StackError(f"several runs were started: name one of them by its variables, {runs}")
