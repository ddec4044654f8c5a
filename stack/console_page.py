"""The console beside the stack: a process on the host, in either runtime, under its own supervisord."""

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
    """Starts and ends it.

    Args:
        settings: of the stack that it shows.
        kind: of the runtime that the stack is in.
        console: where it is told why it is started anew.
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
        """To end, freeze, and start it alone, and for its log."""

    def check_port(self) -> None:
        """Whether its port is free, or its own.

        Raises:
            StackError: somebody else has it.
        """
        check_ports([self.part], ours=self._supervisor.processes())

    def start(self) -> None:
        """Starts it with these settings, and waits until it answers; harmless when it does.

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
            self._supervisor.thaw()  # a frozen one would never become well
            self.processes.wait_until_well(_NAME)

    def as_it_is(self) -> Callable[[], None]:
        """Notes how it is; what it returns brings that back, after an `up` that was interrupted."""
        existed, bring_back = self._folder.exists(), self._supervisor.as_it_is()

        def undo() -> None:
            bring_back()
            if not existed:
                shutil.rmtree(self._folder, ignore_errors=True)

        return undo

    def stop(self) -> None:
        """Ends it."""
        self._supervisor.end()

    def clean(self) -> list[Path]:
        """Ends it and removes its log; returns what was removed."""
        self.stop()
        if not self._folder.exists():
            return []
        shutil.rmtree(self._folder)
        return [self._folder]

    def status(self) -> PartStatus:
        """How it is."""
        return self.processes.status(_NAME)
