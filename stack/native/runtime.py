"""The native runtime: the real programs as processes under supervisord, with all of a run in one folder."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from stack.errors import StackError
from stack.lock import locked
from stack.native.commands import commands_of, prometheus_folder, scrape_targets, slow_link
from stack.native.programs import Programs, ensure_programs
from stack.native.started_with import read_programs, write_programs
from stack.parts import MissingPart, Part, SlowLink, grafana_part, parts_of, toxiproxy_part
from stack.port_check import check_ports
from stack.runtime import PartStatus
from stack.service_variables import check_service_variables
from stack.settings import ROOT, StackSettings
from stack.supervision.command import Command
from stack.supervision.processes import PartProcesses
from stack.supervision.sockets import socket_folders
from stack.supervision.supervisor import Supervisor

_MARKER = "stack-run"


class NativeRuntime:
    """Runs the stack without containers; see `stack.runtime.Runtime`.

    Args:
        settings: ports, versions and the run folder.
        console: where progress is reported.
        programs: finds or gets the programs.
    """

    kind = "native"

    def __init__(
        self,
        settings: StackSettings,
        console: Console,
        programs: Callable[[StackSettings, Console], Programs] = ensure_programs,
    ) -> None:
        self._settings = settings
        self._console = console
        self._programs = programs
        self._folder = settings.stack_run_dir.absolute()
        self._supervisor = Supervisor(self._folder)

    @property
    def missing(self) -> tuple[MissingPart, ...]:
        """The parts that the run lacks; empty before the first `up`."""
        return read_programs(self._folder).missing

    @property
    def endpoints(self) -> Mapping[str, Part]:
        """The parts by name, with their addresses."""
        return self._parts

    @property
    def _parts(self) -> dict[str, Part]:
        """The parts that the run was started with; before that, those that every machine has."""
        return self._parts_with(read_programs(self._folder))

    def _parts_with(self, programs: Programs) -> dict[str, Part]:
        parts = parts_of(self._settings, with_pages=programs.with_pages)
        grafana = (grafana_part(self._settings),) if programs.have_grafana else ()
        return {part.name: part for part in (*parts, *grafana)}

    @property
    def _processes(self) -> PartProcesses:
        proxy = toxiproxy_part(self._settings)
        parts = {**self._parts, proxy.name: proxy}
        return PartProcesses(self._supervisor, parts, self._settings, self._console)

    def up(self, before_change: Callable[[], None] = lambda: None) -> None:
        """Gets missing programs, starts what does not run, and waits until every part is healthy.

        Args:
            before_change: called once all checks have passed, before the first change.

        Raises:
            StackError: a program is not available, a port is taken, or a part is not healthy in time.
        """
        self._check_folder()
        programs = self._programs(self._settings, self._console)
        commands = commands_of(self._settings, programs, self._folder)
        check_service_variables(self._settings)
        with locked(self._settings, self._console):
            self._prepare(commands, programs, before_change)
            for name in self._parts_in_order(commands):
                self._supervisor.start(name)
            self._supervisor.thaw()  # a frozen one would never become healthy
            with self._console.status("waiting until every part is healthy"):
                for name in self._parts_in_order(commands):
                    self._processes.wait_until_well(name)

    def as_it_is(self) -> Callable[[], None]:
        """Captures the current state; the returned function restores it after an interrupted `up`."""
        existed, was_run, bring_back = self._folder.exists(), self._is_run, self._supervisor.as_it_is()
        programs = read_programs(self._folder)
        read_by_prometheus = _contents(prometheus_folder(self._folder))

        def undo() -> None:
            with locked(self._settings, self._console):
                if not self._is_run:
                    return  # nothing was changed
                if was_run:
                    for file, content in read_by_prometheus.items():
                        file.write_bytes(content)
                    write_programs(self._folder, programs)
                bring_back()
                for name in self._supervisor.pids():  # the restored state includes being healthy
                    with suppress(StackError):
                        self._processes.wait_until_well(name)
                if not was_run:
                    self._remove_folders()
                    if existed:
                        self._folder.mkdir()

        return undo

    def is_up(self) -> bool:
        """Returns whether the run's supervisord answers."""
        return self._supervisor.is_running

    def obstacle(self) -> str | None:
        """Returns None: `up` gets what it needs, and reports it if it cannot."""
        return None

    def down(self) -> None:
        """Stops everything; keeps the run folder with its data and logs."""
        with locked(self._settings, self._console):
            self._stop()

    def clean(self) -> list[str]:
        """Stops everything and removes the run folder; returns the removed folders."""
        with locked(self._settings, self._console):
            self._stop()
            if self._folder.exists():
                self._check_folder()
            return self._remove_folders()

    def status(self) -> list[PartStatus]:
        """Returns the current status of every part."""
        pids = self._supervisor.pids()
        return [self._processes.status(name, pids) for name in self._parts]

    def logs(self, name: str, *, lines: int, follow: bool) -> Iterator[str]:
        """Yields the part's last lines, and each new one if following."""
        return self._processes.logs(name, lines=lines, follow=follow)

    def kill(self, name: str) -> bool:
        """Ends the part at once (SIGKILL); it stays dead until started."""
        return self._processes.kill(name)

    def pause(self, name: str) -> bool:
        """Freezes the part (SIGSTOP): it accepts connections and never answers."""
        return self._processes.pause(name)

    def resume(self, name: str) -> bool:
        """Resumes the frozen part."""
        return self._processes.resume(name)

    def start(self, name: str) -> bool:
        """Starts the part and waits until it is healthy."""
        return self._processes.start(name)

    def restart(self, name: str, variables: Mapping[str, str]) -> None:
        """Stops the part gracefully and starts it with these variables over its own."""
        self._processes.check_name(name)
        with locked(self._settings, self._console):
            if not self._supervisor.is_running:
                raise StackError("the stack is not up; `make up` starts it")
            # The run's own programs: a restart must not search for, let alone download, any.
            programs = read_programs(self._folder)
            if not programs.paths:
                raise StackError("what the run was started with is not known any more: `make up` first")
            commands = commands_of(self._settings.with_variables(variables), programs, self._folder)
            (command,) = [each for each in commands if each.name == name]
            command = replace(command, environment={**command.environment, **variables})
            self._supervisor.replace(command)
            self._supervisor.start(name)
            self._processes.wait_until_well(name)

    @property
    def slow_link(self) -> SlowLink:
        """The addresses for putting toxiproxy between services and Collector."""
        return slow_link(self._settings)

    def _parts_in_order(self, commands: Iterable[Command]) -> list[str]:
        return [command.name for command in commands if command.name in self._parts]

    def _stop(self) -> None:
        with self._console.status("stopping"):
            self._supervisor.end()

    def _remove_folders(self) -> list[str]:
        folders = [each for each in (self._folder, *socket_folders(self._folder)) if each.exists()]
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=folder != self._folder)
        return [f"folder {folder}" for folder in folders if folder.parent != self._folder]

    def _prepare(
        self, commands: tuple[Command, ...], programs: Programs, before_change: Callable[[], None]
    ) -> None:
        """Leaves a supervisord running with exactly these commands, or raises before any change."""
        self._check_folder()
        is_running = self._supervisor.is_running
        if not is_running:
            # They belong to a run whose supervisord was killed, and would hold the ports.
            self._supervisor.end_orphans()
        # Before anything is stopped: the ports that our own parts hold now will be free by then.
        check_ports(self._parts_with(programs).values(), ours=self._supervisor.processes())
        before_change()
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / _MARKER).write_text("a run of the stack: `make clean` removes this folder\n")
        write_programs(self._folder, programs)
        targets = prometheus_folder(self._folder) / "targets"
        targets.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "prometheus" / "prometheus.yml", targets.parent)
        shutil.rmtree(targets.parent / "rules", ignore_errors=True)
        shutil.copytree(ROOT / "prometheus" / "rules", targets.parent / "rules")
        (targets / "native.json").write_text(json.dumps(scrape_targets(self._settings), indent=2))
        for folder in ("data/collector-queue", "data/prometheus", "data/shop", "data/grafana/plugins"):
            (self._folder / folder).mkdir(parents=True, exist_ok=True)
        if not is_running:
            self._supervisor.launch(commands)
            return
        for name, reason in self._supervisor.configure(commands).items():
            self._console.print(f"restarting the {name}: {reason}", highlight=False, soft_wrap=True)

    @property
    def _is_run(self) -> bool:
        """Whether the folder belongs to a run."""
        return (self._folder / _MARKER).exists()

    def _check_folder(self) -> None:
        """Rejects a folder with anything but a run in it, because `clean` removes the whole folder."""
        if self._folder.exists() and any(self._folder.iterdir()) and not self._is_run:
            raise StackError(
                f"{self._folder} is not empty and not a run of the stack; set STACK_RUN_DIR to a new folder"
            )


def _contents(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
