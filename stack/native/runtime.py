"""The native runtime: the real programs as processes under supervisord, all of a run in one folder."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
from rich.console import Console

from stack.errors import StackError
from stack.health import NotYetError, get, health_of, wait_for
from stack.lock import locked
from stack.native.commands import Command, commands_of, prometheus_folder, scrape_targets, slow_link
from stack.native.programs import ensure_programs
from stack.native.sockets import socket_folders
from stack.native.supervisor import Supervisor
from stack.parts import MissingPart, Part, SlowLink, parts_of, toxiproxy_part
from stack.ports import check_ports
from stack.runtime import PartState, PartStatus
from stack.service_settings import check_service_settings
from stack.settings import ROOT, StackSettings

START_SECONDS = 30.0
"""How long a part may take until it is well."""
_MARKER = "stack-run"
_LINES_SHOWN = 15
_FOLLOW_SECONDS = 0.2


class NativeRuntime:
    """Runs the stack without containers; see `stack.runtime.Runtime`.

    Args:
        settings: ports, versions and the run folder.
        console: where progress is told.
        programs: finds or builds the programs.
    """

    kind = "native"
    missing = (
        MissingPart("grafana", "it cannot be built from Go modules"),
        MissingPart(
            "Jaeger's and Prometheus's web pages",
            "their assets are not part of the Go modules; their HTTP APIs, which the table names, work",
        ),
    )

    def __init__(
        self,
        settings: StackSettings,
        console: Console,
        programs: Callable[[StackSettings, Console], Mapping[str, Path]] = ensure_programs,
    ) -> None:
        self._settings = settings
        self._console = console
        self._programs = programs
        self._folder = settings.stack_run_dir.absolute()
        self._supervisor = Supervisor(self._folder)
        self._parts = {part.name: part for part in parts_of(settings, have_pages=False)}
        proxy = toxiproxy_part(settings)
        self._named = {**self._parts, proxy.name: proxy}
        self._changed: dict[str, Mapping[str, str]] = {}
        """The variables that each part was restarted with."""

    @property
    def endpoints(self) -> Mapping[str, Part]:
        """The parts by name, with their addresses."""
        return self._parts

    def up(self) -> None:
        """Builds what is missing, starts what does not run, and waits until every part is well.

        Raises:
            StackError: a program cannot be built, a port is taken, or a part does not become well.
        """
        self._changed.clear()
        commands = self._commands()
        check_service_settings(self._settings)
        with locked(self._settings):
            self._prepare(commands)
            for name in self._parts_in_order(commands):
                self._supervisor.start(name)
            for pid in self._supervisor.pids().values():
                with suppress(ProcessLookupError):  # it ended at once: told below, with its last lines
                    os.killpg(pid, signal.SIGCONT)  # a frozen one would never become well
            with self._console.status("waiting until every part is well"):
                for name in self._parts_in_order(commands):
                    self._wait_until_well(name)

    def is_up(self) -> bool:
        """Whether its supervisord answers."""
        return self._supervisor.is_running

    def obstacle(self) -> str | None:
        """None: what it needs it installs or builds, and says so where it cannot."""
        return None

    def down(self) -> None:
        """Stops everything; the run folder with its data and logs stays."""
        with locked(self._settings):
            self._stop()

    def clean(self) -> list[str]:
        """Stops everything and removes the run folder; returns what it removed."""
        with locked(self._settings):
            self._stop()
            if self._folder.exists():
                self._check_folder()
            folders = [each for each in (self._folder, *socket_folders(self._folder)) if each.exists()]
            for folder in folders:
                shutil.rmtree(folder, ignore_errors=folder != self._folder)
        return [f"folder {folder}" for folder in folders if folder.parent != self._folder]

    def status(self) -> list[PartStatus]:
        """Every part, as it is now."""
        pids = self._supervisor.pids()
        return [self._status_of(part, pids.get(part.name)) for part in self._parts.values()]

    def logs(self, name: str, *, lines: int, follow: bool) -> Iterator[str]:
        """The part's last lines, then, when following, each new one."""
        self._check_name(name)
        log = self._supervisor.log_of(name)
        if not log.exists():
            raise StackError(
                f"the {name} has no log yet; start it with `make start PART={name}` or `make up`"
            )
        with log.open(errors="replace") as file:
            yield from (line.rstrip("\n") for line in file.readlines()[-lines:])
            while follow:
                line = file.readline()
                if line:
                    yield line.rstrip("\n")
                else:
                    time.sleep(_FOLLOW_SECONDS)

    def kill(self, name: str) -> None:
        """Ends the part at once (SIGKILL); it stays dead until started."""
        self._signal(name, signal.SIGKILL)
        self._wait_until(name, lambda: name not in self._supervisor.pids(), "end")

    def pause(self, name: str) -> None:
        """Freezes the part (SIGSTOP): it accepts connections and never answers."""
        self._signal(name, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Ends a pause."""
        self._signal(name, signal.SIGCONT)

    def start(self, name: str) -> None:
        """Starts the part and waits until it is well."""
        self._check_name(name)
        with locked(self._settings):
            if not self._supervisor.is_running:
                raise StackError("the stack is not up; `make up` starts it")
            status = self._status_of(self._named[name], self._supervisor.pids().get(name))
            if status.state is PartState.PAUSED:
                raise StackError(f"the {name} runs but is frozen; `make resume PART={name}` lets it go on")
            if status.state is PartState.STOPPED:
                check_ports([self._named[name]], ours=())
            self._supervisor.start(name)
            self._wait_until_well(name)

    def restart(self, name: str, variables: Mapping[str, str]) -> None:
        """Stops the part as a user would and starts it with these variables over its own."""
        self._check_name(name)
        with locked(self._settings):
            if not self._supervisor.is_running:
                raise StackError("the stack is not up; `make up` starts it")
            self._changed[name] = dict(variables)
            commands = self._commands()
            (command,) = [each for each in commands if each.name == name]
            self._supervisor.replace(command, commands)
            self._supervisor.start(name)
            self._wait_until_well(name)

    @property
    def slow_link(self) -> SlowLink:
        """How to put toxiproxy between services and Collector."""
        return slow_link(self._settings)

    def _commands(self) -> tuple[Command, ...]:
        """What each part is started with, whatever it was restarted with included."""
        programs = self._programs(self._settings, self._console)
        usual = commands_of(self._settings, programs, self._folder)
        return tuple(self._with_changes(command, programs) for command in usual)

    def _with_changes(self, command: Command, programs: Mapping[str, Path]) -> Command:
        variables = self._changed.get(command.name)
        if not variables:
            return command
        settings = self._settings.with_variables(variables)
        (changed,) = [
            each for each in commands_of(settings, programs, self._folder) if each.name == command.name
        ]
        return replace(changed, environment={**changed.environment, **variables})

    def _parts_in_order(self, commands: Iterable[Command]) -> list[str]:
        return [command.name for command in commands if command.name in self._parts]

    def _stop(self) -> None:
        with self._console.status("stopping"):
            self._supervisor.shut_down()
            self._supervisor.end_orphans()

    def _prepare(self, commands: tuple[Command, ...]) -> None:
        """Leaves a supervisord running with exactly these commands, or raises with nothing changed."""
        self._check_folder()
        is_running = self._supervisor.is_running
        if not is_running:
            # Of a run whose supervisord was killed; they would hold the ports.
            self._supervisor.end_orphans()
        # Before anything is stopped: what our own parts hold now will be free then.
        check_ports(self._parts.values(), ours=self._supervisor.processes())
        if is_running and not self._supervisor.is_configured_as(commands):
            self._console.print("settings changed since the stack was started: starting every part anew")
            self._supervisor.shut_down()
            is_running = False
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / _MARKER).write_text("a run of the stack: `make clean` removes this folder\n")
        targets = prometheus_folder(self._folder) / "targets"
        targets.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "prometheus" / "prometheus.yml", targets.parent)
        shutil.rmtree(targets.parent / "rules", ignore_errors=True)
        shutil.copytree(ROOT / "prometheus" / "rules", targets.parent / "rules")
        (targets / "native.json").write_text(json.dumps(scrape_targets(self._settings), indent=2))
        for folder in ("data/collector-queue", "data/prometheus", "data/shop"):
            (self._folder / folder).mkdir(parents=True, exist_ok=True)
        if not is_running:
            self._supervisor.launch(commands)

    def _check_folder(self) -> None:
        """Refuses a folder that holds anything but a run: `clean` removes it whole."""
        if self._folder.exists() and any(self._folder.iterdir()) and not (self._folder / _MARKER).exists():
            raise StackError(
                f"{self._folder} is not empty and is no run of the stack; set STACK_RUN_DIR to a new folder"
            )

    def _status_of(self, part: Part, pid: int | None) -> PartStatus:
        if pid is None:
            return PartStatus(part, PartState.STOPPED)
        try:
            process = psutil.Process(pid)
            memory = sum(each.memory_info().rss for each in (process, *process.children(recursive=True)))
            uptime = time.time() - process.create_time()
            is_paused = process.status() == psutil.STATUS_STOPPED
        except psutil.Error:
            return PartStatus(part, PartState.STOPPED)
        state, detail = (PartState.PAUSED, "") if is_paused else health_of(part)
        return PartStatus(part, state, pid, memory, uptime, detail)

    def _wait_until_well(self, name: str) -> None:
        part = self._named[name]

        def is_well() -> None:
            if name not in self._supervisor.pids():
                raise StackError(f"the {name} ended as soon as it was started{self._last_lines(name)}")
            get(part.health_url)

        try:
            wait_for(is_well, seconds=START_SECONDS)
        except StackError as error:
            if "Last lines" in str(error):
                raise
            raise StackError(f"the {name} does not become well: {error}{self._last_lines(name)}") from None

    def _wait_until(self, name: str, is_true: Callable[[], bool], what: str) -> None:
        def check() -> None:
            if not is_true():
                raise NotYetError(f"the {name} does not {what}")

        wait_for(check, seconds=START_SECONDS)

    def _last_lines(self, name: str) -> str:
        log = self._supervisor.log_of(name)
        lines = log.read_text(errors="replace").splitlines()[-_LINES_SHOWN:] if log.exists() else []
        return "\nLast lines of its log:\n" + "\n".join(f"  {line}" for line in lines)

    def _signal(self, name: str, number: signal.Signals) -> None:
        self._check_name(name)
        try:
            # supervisord makes each part the leader of a group of its own.
            os.killpg(self._supervisor.pids()[name], number)
        except (KeyError, ProcessLookupError):
            raise StackError(
                f"the {name} does not run; `make start PART={name}` or `make up` starts it"
            ) from None

    def _check_name(self, name: str) -> None:
        if name not in self._named:
            raise StackError(f"there is no part {name!r}; PART is one of {', '.join(self._parts)}")
