"""Starts, controls and stops a supervisord.

It never restarts a part on its own: a killed part stays dead until it is started.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path
from typing import Any, cast
from xmlrpc.client import Fault

import psutil
from supervisor.xmlrpc import Faults, getFaultDescription

from stack.errors import StackError
from stack.health import NotYetError, wait_for
from stack.interruption import shielded
from stack.service_variables import is_service_variable
from stack.supervision.command import Command
from stack.supervision.configuration import (
    MARK,
    STOP_SECONDS,
    head_of,
    logs_in,
    render,
    render_part,
    sections_of,
    why_changed,
)
from stack.supervision.rpc import call
from stack.supervision.sockets import socket_folder

_START_SECONDS = 10.0


class Supervisor:
    """One supervisord, in one run folder."""

    def __init__(self, run_folder: Path) -> None:
        self._folder = run_folder
        self._configuration = run_folder / "supervisord.conf"
        self._pid_file = run_folder / "supervisord.pid"
        self._log_sizes: dict[str, int] = {}
        name = "supervisord.sock"
        self._socket = socket_folder(run_folder, "supervisord", longest_file=name) / name

    @property
    def is_running(self) -> bool:
        """Whether it answers; a stale socket or pid file does not count."""
        try:
            self._call("supervisor.getState")
        except (OSError, Fault):
            return False
        return True

    def log_of(self, name: str) -> Path:
        """Returns the file of a part's output."""
        return logs_in(self._folder) / f"{name}.log"

    def log_since_start(self, name: str) -> str:
        """Returns a part's output since this process started it; all if another did, or after a rotation."""
        log = self.log_of(name)
        if not log.exists():
            return ""
        known = self._log_sizes.get(name, 0)
        with log.open("rb") as file:
            file.seek(known if known <= log.stat().st_size else 0)
            return file.read().decode(errors="replace")

    def launch(self, commands: Iterable[Command]) -> None:
        """Starts supervisord, with none of the commands running yet.

        Raises:
            StackError: it does not come up.
        """
        self._launch(self._render(commands))

    def configure(self, commands: Iterable[Command]) -> Mapping[str, str]:
        """Gives the running supervisord these commands and stops each part whose command has changed.

        Returns:
            The reason for each part that was stopped, by its name.
        """
        return self._apply(self._render(commands))

    def as_it_is(self) -> Callable[[], None]:
        """Captures which parts run; the returned function restores that, without waiting for their health."""
        if not self.is_running:
            return self.end
        text, running = self._configuration.read_text(), set(self.pids())

        def bring_back() -> None:
            if self.is_running:
                self._apply(text)
            else:
                self.end_orphans()
                self._launch(text)
            self._stop(set(self.pids()) - running)
            for name in sorted(running):
                self.start(name)

        return bring_back

    def pids(self) -> Mapping[str, int]:
        """Returns the process id of each running part."""
        if not self.is_running:
            return {}
        processes = cast("list[dict[str, Any]]", self._call("supervisor.getAllProcessInfo"))
        return {each["name"]: each["pid"] for each in processes if each["pid"]}

    def processes(self) -> frozenset[int]:
        """Returns the ids of all the parts' processes, including workers, which hold the same ports."""
        found = set(self.pids().values())
        for pid in tuple(found):
            with suppress(psutil.NoSuchProcess):
                found.update(child.pid for child in psutil.Process(pid).children(recursive=True))
        return frozenset(found)

    def start(self, name: str) -> None:
        """Starts a part; harmless if it runs already.

        Raises:
            StackError: its program cannot be run.
        """
        log = self.log_of(name)
        self._log_sizes[name] = log.stat().st_size if log.exists() else 0
        try:
            self._call("supervisor.startProcess", name, False)
        except Fault as fault:
            if fault.faultCode != Faults.ALREADY_STARTED:
                # Not supervisord's own message, which may contain the command and with it secrets.
                why = getFaultDescription(fault.faultCode)
                raise StackError(f"the {name} cannot be started: supervisord answers {why}") from None

    def thaw(self) -> None:
        """Resumes every frozen part."""
        for pid in self.pids().values():
            _thaw(pid)

    def replace(self, command: Command) -> None:
        """Stops a part and replaces its command."""
        self._stop({command.name})  # even if the command is the same
        before = self._configuration.read_text()
        sections = {**sections_of(before), command.name: render_part(command, self._folder)}
        self._apply(head_of(before) + "\n".join(section.rstrip("\n") + "\n" for section in sections.values()))

    def end(self) -> None:
        """Stops everything, even if supervisord does not answer."""
        self.shut_down()
        self.end_orphans()

    def shut_down(self) -> None:
        """Stops every part, then supervisord itself, and waits for its end."""
        if not self.is_running:
            return
        daemon = psutil.Process(cast("int", self._call("supervisor.getPID")))
        self.thaw()  # a frozen process ignores the request to stop
        self._call("supervisor.shutdown")
        psutil.wait_procs([daemon], timeout=2 * STOP_SECONDS)

    def end_orphans(self) -> None:
        """Kills the processes that a killed supervisord of this folder left behind."""
        orphans = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == str(self._folder) and process.pid != os.getpid():
                    orphans.append(process)
            except psutil.Error:
                continue  # it has ended, or belongs to another user
        for process in orphans:
            process.kill()
        psutil.wait_procs(orphans, timeout=STOP_SECONDS)

    def _call(self, method: str, *arguments: object) -> object:
        return call(self._socket, method, *arguments)

    def _render(self, commands: Iterable[Command]) -> str:
        return render(commands, folder=self._folder, socket=self._socket, pid_file=self._pid_file)

    def _write(self, text: str) -> None:
        """Writes atomically, readable by its owner only: headers of an exporter may be secret."""
        unfinished = self._configuration.with_suffix(".new")
        unfinished.unlink(missing_ok=True)
        unfinished.touch(mode=0o600)
        unfinished.write_text(text)
        unfinished.replace(self._configuration)

    def _launch(self, text: str) -> None:
        for folder in (logs_in(self._folder), self._socket.parent):
            folder.mkdir(parents=True, exist_ok=True)
        self._write(text)
        foreign = {name: value for name, value in os.environ.items() if not is_service_variable(name)}
        with shielded():  # a half-started one would be lost
            done = subprocess.run(
                [
                    *(sys.executable, "-W", "ignore", "-m", "supervisor.supervisord"),
                    "-c",
                    str(self._configuration),
                ],
                capture_output=True,
                text=True,
                check=False,
                stdin=subprocess.DEVNULL,
                # Parts inherit this environment; the variables of the services come from their commands.
                env={**foreign, **_no_proxy(foreign), MARK: str(self._folder)},
                start_new_session=True,  # it must not receive Ctrl-C
            )
            if done.returncode != 0:
                raise StackError(f"supervisord did not start:\n{done.stderr or done.stdout}")

            def answers() -> None:
                if not self.is_running:
                    raise NotYetError("supervisord does not answer on its socket")

            wait_for(answers, seconds=_START_SECONDS)

    def _apply(self, text: str) -> Mapping[str, str]:
        """Applies a configuration to the running supervisord; after an interruption the next call resumes."""
        before = self._configuration.read_text() if self._configuration.exists() else ""
        if head_of(before) != head_of(text):
            self.end()
            self._launch(text)
            return dict.fromkeys(sections_of(text), "the run was moved")
        self._write(text)
        # supervisord compares with its memory, not with the previous file.
        ((added, changed, removed),) = cast(
            "list[tuple[list[str], list[str], list[str]]]", self._call("supervisor.reloadConfig")
        )
        self._stop({*changed, *removed})
        # A part only gets another command by being removed and added.
        for name in (*changed, *removed):
            self._call("supervisor.removeProcessGroup", name)
        for name in (*changed, *added):
            self._call("supervisor.addProcessGroup", name)
        old, new = sections_of(before), sections_of(text)
        return {name: why_changed(old.get(name, ""), new[name]) for name in new if name in changed}

    def _stop(self, names: AbstractSet[str]) -> None:
        """Stops parts gracefully, all at once, and waits until they have ended."""
        pids = {name: pid for name, pid in self.pids().items() if name in names}
        processes = []
        for name, pid in pids.items():
            with suppress(psutil.NoSuchProcess):
                processes.append(psutil.Process(pid))
                _thaw(pid)  # a frozen one ignores the request to stop
            with suppress(Fault):  # it has ended
                self._call("supervisor.stopProcess", name, False)
        psutil.wait_procs(processes, timeout=2 * STOP_SECONDS)

        def are_gone() -> None:
            if names & self.pids().keys():
                raise NotYetError(f"supervisord does not stop {', '.join(names & self.pids().keys())}")

        wait_for(are_gone, seconds=STOP_SECONDS)


def _thaw(pid: int) -> None:
    """Resumes a part and its workers."""
    with suppress(ProcessLookupError):  # it has ended
        os.killpg(pid, signal.SIGCONT)


def _no_proxy(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns variables that exempt loopback from a proxy, which gRPC would use even there."""
    names = ("no_proxy", "NO_PROXY")
    said = next((environment[name] for name in names if environment.get(name)), "")
    return dict.fromkeys(names, ",".join(filter(None, [said, "127.0.0.1", "localhost"])))
