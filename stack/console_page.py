"""The console next to the stack: a process on the host under its own supervisord, in either runtime."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from stack.digests import digests
from stack.lock import locked
from stack.parts import Part
from stack.port_check import check_ports
from stack.runtime import PartStatus
from stack.settings import HOST, StackSettings
from stack.supervision.command import Command
from stack.supervision.processes import PartProcesses
from stack.supervision.supervisor import Supervisor

_NAME = "console"


class ConsolePage:
    """The console's process.

    Args:
        settings: the settings of the stack that it shows.
        kind: the kind of the runtime that the stack is in.
        console: where the reason for a restart is reported.
    """

    def __init__(self, settings: StackSettings, kind: str, console: Console) -> None:
        self._settings = settings
        self._console = console
        self._folder = settings.stack_run_dir.absolute().with_name(f"{settings.stack_run_dir.name}-console")
        self._supervisor = Supervisor(self._folder)
        self._command = Command(
            _NAME,
            (sys.executable, "-m", "console"),
            {**settings.variables(), "RUNTIME": kind},
            digests("console", "stack", "grafana/dashboards", "requirements/dev.txt"),
        )
        self.part = Part(
            _NAME,
            "the pipeline live, traces, dashboards, doctor",
            f"http://{HOST}:{settings.console_port}",
            f"http://{HOST}:{settings.console_port}/healthz",
            {"CONSOLE_PORT": settings.console_port},
        )
        self.processes = PartProcesses(self._supervisor, {_NAME: self.part}, settings, console)
        """For killing, freezing and starting the console alone, and for its log."""

    def check_port(self) -> None:
        """Checks that the console's port is free or held by the console itself.

        Raises:
            StackError: another process holds it.
        """
        check_ports([self.part], ours=self._supervisor.processes())

    def start(self) -> None:
        """Starts the console with these settings and waits until it answers; harmless if it already does.

        Raises:
            StackError: its port is taken, or it does not come up.
        """
        with locked(self._settings, self._console):
            self.check_port()
            if self._supervisor.is_running:
                for reason in self._supervisor.configure([self._command]).values():
                    self._console.print(f"restarting the console: {reason}", highlight=False)
            else:
                self._supervisor.end_orphans()
                self._folder.mkdir(parents=True, exist_ok=True)
                self._supervisor.launch([self._command])
            self._supervisor.start(_NAME)
            self._supervisor.thaw()  # a frozen one would never become healthy
            self.processes.wait_until_well(_NAME)

    def as_it_is(self) -> Callable[[], None]:
        """Captures the current state; the returned function restores it after an interrupted `up`."""
        existed, bring_back = self._folder.exists(), self._supervisor.as_it_is()

        def undo() -> None:
            bring_back()
            if not existed:
                shutil.rmtree(self._folder, ignore_errors=True)

        return undo

    def stop(self) -> None:
        """Stops the console."""
        self._supervisor.end()

    def clean(self) -> list[Path]:
        """Stops the console and removes its folder with the log; returns the removed folders."""
        self.stop()
        if not self._folder.exists():
            return []
        shutil.rmtree(self._folder)
        return [self._folder]

    def status(self) -> PartStatus:
        """Returns the console's status."""
        return self.processes.status(_NAME)
