"""The console beside the stack: a process on the host, in either runtime, under its own supervisord."""

import shutil
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from stack.errors import StackError
from stack.health import get, health_of, wait_for
from stack.native.commands import Command
from stack.native.supervisor import Supervisor
from stack.parts import HOST, Part
from stack.ports import check_ports
from stack.runtime import PartState, PartStatus
from stack.settings import StackSettings

_NAME = "console"
_START_SECONDS = 30.0
_LINES_SHOWN = 15


class ConsolePage:
    """Starts and ends it.

    Args:
        settings: of the stack that it shows.
        kind: of the runtime that the stack is in.
    """

    def __init__(self, settings: StackSettings, kind: str) -> None:
        self._folder = settings.stack_run_dir.absolute().with_name(f"{settings.stack_run_dir.name}-console")
        self._supervisor = Supervisor(self._folder)
        self._command = Command(
            _NAME, (sys.executable, "-m", "console"), {**settings.variables(), "RUNTIME": kind}
        )
        self.part = Part(
            _NAME,
            "the pipeline live, traces, dashboards, doctor",
            f"http://{HOST}:{settings.console_port}",
            f"http://{HOST}:{settings.console_port}/healthz",
            {"CONSOLE_PORT": settings.console_port},
        )

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
        self.check_port()
        if self._supervisor.is_running and not self._supervisor.is_configured_as([self._command]):
            self._supervisor.shut_down()
        if not self._supervisor.is_running:
            self._supervisor.end_orphans()
            self._folder.mkdir(parents=True, exist_ok=True)
            self._supervisor.launch([self._command])
        self._supervisor.start(_NAME)
        try:
            wait_for(lambda: get(self.part.health_url), seconds=_START_SECONDS)
        except StackError as error:
            raise StackError(f"the console does not become well: {error}{self._last_lines()}") from None

    def stop(self) -> None:
        """Ends it."""
        self._supervisor.shut_down()
        self._supervisor.end_orphans()

    def clean(self) -> list[Path]:
        """Ends it and removes its log; returns what was removed."""
        self.stop()
        if not self._folder.exists():
            return []
        shutil.rmtree(self._folder)
        return [self._folder]

    def status(self) -> PartStatus:
        """How it is."""
        pid = self._supervisor.pids().get(_NAME)
        if pid is None:
            return PartStatus(self.part, PartState.STOPPED)
        state, detail = health_of(self.part)
        memory = None
        with suppress(psutil.Error):
            memory = psutil.Process(pid).memory_info().rss
        return PartStatus(self.part, state, pid, memory, detail=detail)

    def logs(self, lines: int) -> list[str]:
        """The last lines of its log.

        Raises:
            StackError: it was never started.
        """
        log = self._supervisor.log_of(_NAME)
        if not log.exists():
            raise StackError("the console has no log yet; `make up` starts it")
        return log.read_text(errors="replace").splitlines()[-lines:]

    def _last_lines(self) -> str:
        return "\nLast lines of its log:\n" + "\n".join(f"  {line}" for line in self.logs(_LINES_SHOWN))
