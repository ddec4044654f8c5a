"""The parts under a supervisord, one by one: status, log, kill, pause and start."""

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress

import psutil
from rich.console import Console

from stack.errors import StackError
from stack.health import NotYetError, get, health_of, wait_for
from stack.lock import locked
from stack.parts import Part
from stack.port_check import check_ports
from stack.runtime import PartState, PartStatus
from stack.settings import StackSettings
from stack.supervision.supervisor import Supervisor

START_SECONDS = 30.0
"""How long a part may take to become healthy."""
_LINES_SHOWN = 15
_FOLLOW_SECONDS = 0.2


class PartProcesses:
    """Acts on one part at a time.

    Args:
        supervisor: the supervisor that runs the parts.
        parts: all parts by name.
        settings: the settings of the parts' stack.
        console: where waiting is reported.
    """

    def __init__(
        self, supervisor: Supervisor, parts: Mapping[str, Part], settings: StackSettings, console: Console
    ) -> None:
        self._supervisor = supervisor
        self._parts = parts
        self._settings = settings
        self._console = console

    def status(self, name: str, pids: Mapping[str, int] | None = None) -> PartStatus:
        """Returns the part's status; pass `pids` if they are known already."""
        part = self._parts[name]
        pid = (self._supervisor.pids() if pids is None else pids).get(name)
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

    def logs(self, name: str, *, lines: int, follow: bool) -> Iterator[str]:
        """Yields the part's last lines, and each new one if following."""
        self.check_name(name)
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

    def kill(self, name: str) -> bool:
        """Ends the part at once (SIGKILL); False: it was dead already."""
        self.check_name(name)
        self._check_supervisor()
        pid = self._supervisor.pids().get(name)
        if pid is None:
            return False
        _signal(pid, signal.SIGKILL)

        def is_dead() -> None:
            if name in self._supervisor.pids():
                raise NotYetError(f"the {name} does not end")

        wait_for(is_dead, seconds=START_SECONDS)
        return True

    def pause(self, name: str) -> bool:
        """Freezes the part (SIGSTOP); False: it was frozen already."""
        return self._freeze(name, freezes=True)

    def resume(self, name: str) -> bool:
        """Resumes the part; False: it was not frozen."""
        return self._freeze(name, freezes=False)

    def start(self, name: str) -> bool:
        """Starts the part and waits until it is healthy; False: it was up already."""
        self.check_name(name)
        with locked(self._settings, self._console):
            self._check_supervisor()
            state = self.status(name).state
            if state is PartState.UP:
                return False
            if state is PartState.PAUSED:
                raise StackError(f"the {name} runs but is frozen; `make resume PART={name}` lets it go on")
            if state is PartState.STOPPED:
                check_ports([self._parts[name]], ours=())
            self._supervisor.start(name)
            self.wait_until_well(name)
        return True

    def wait_until_well(self, name: str) -> None:
        """Waits until the part answers.

        Raises:
            StackError: it ended, or does not answer in time; the message has the last lines of its log.
        """
        part = self._parts[name]

        def is_well() -> None:
            if name not in self._supervisor.pids():
                raise StackError(f"the {name} ended as soon as it was started{self._last_lines(name)}")
            get(part.health_url)

        try:
            wait_for(is_well, seconds=START_SECONDS)
        except StackError as error:
            if "Last lines" in str(error):
                raise
            raise StackError(f"the {name} does not become healthy: {error}{self._last_lines(name)}") from None

    def check_name(self, name: str) -> None:
        """Checks that there is such a part.

        Raises:
            StackError: there is none; the message lists the parts.
        """
        if name not in self._parts:
            known = ", ".join(each for each in self._parts if each != "toxiproxy")
            raise StackError(f"there is no part {name!r}; PART is one of {known}")

    def _check_supervisor(self) -> None:
        if not self._supervisor.is_running:
            raise StackError("the stack is not up; `make up` starts it")

    def _freeze(self, name: str, *, freezes: bool) -> bool:
        self.check_name(name)
        self._check_supervisor()
        pid = self._supervisor.pids().get(name)
        with suppress(psutil.NoSuchProcess):
            if pid is not None:
                if (psutil.Process(pid).status() == psutil.STATUS_STOPPED) == freezes:
                    return False
                _signal(pid, signal.SIGSTOP if freezes else signal.SIGCONT)
                return True
        raise StackError(f"the {name} does not run; `make start PART={name}` or `make up` starts it")

    def _last_lines(self, name: str) -> str:
        lines = self._supervisor.log_since_start(name).splitlines()[-_LINES_SHOWN:]
        return "\nLast lines of its log:\n" + "\n".join(f"  {line}" for line in lines)


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it has ended by itself
        # supervisord makes each part the leader of its own process group.
        os.killpg(pid, number)
