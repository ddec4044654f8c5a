"""supervisord, as the stack uses it: its start, its API, and its end.

It restarts nothing: what was killed stays dead until it is started.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, cast
from xmlrpc.client import Fault, ServerProxy, Transport

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
from stack.supervision.sockets import socket_folder

_START_SECONDS = 10.0
_ANSWER_SECONDS = 15.0


class _SocketConnection(HTTPConnection):
    """HTTP over a Unix socket; a supervisord that is frozen is not waited for for ever."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_ANSWER_SECONDS)
        self._path = path

    def connect(self) -> None:
        """To the socket instead of a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_ANSWER_SECONDS)
        self.sock.connect(str(self._path))


class _SocketTransport(Transport):
    """XML-RPC over such a connection."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> HTTPConnection:
        """A new one, kept where the base class closes it."""
        connection = _SocketConnection(self._path)
        self._connection = host, connection
        return connection


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
        """Where a part's output goes."""
        return logs_in(self._folder) / f"{name}.log"

    def log_since_start(self, name: str) -> str:
        """A part's output since it was started here; all of it, where that was elsewhere or it began anew."""
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
        """Gives the running supervisord these commands: a part whose command is another one is stopped.

        Returns:
            Why, by the part's name, for each that was stopped.
        """
        return self._apply(self._render(commands))

    def as_it_is(self) -> Callable[[], None]:
        """Notes what runs, and with what; what it returns brings that back, without waiting for it."""
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
        """The process of each part that runs."""
        if not self.is_running:
            return {}
        processes = cast("list[dict[str, Any]]", self._call("supervisor.getAllProcessInfo"))
        return {each["name"]: each["pid"] for each in processes if each["pid"]}

    def processes(self) -> frozenset[int]:
        """Every process of the parts, their workers included, which hold the same ports."""
        found = set(self.pids().values())
        for pid in tuple(found):
            with suppress(psutil.NoSuchProcess):
                found.update(child.pid for child in psutil.Process(pid).children(recursive=True))
        return frozenset(found)

    def start(self, name: str) -> None:
        """Starts a part; harmless when it runs.

        Raises:
            StackError: its program cannot be run.
        """
        log = self.log_of(name)
        self._log_sizes[name] = log.stat().st_size if log.exists() else 0
        try:
            self._call("supervisor.startProcess", name, False)
        except Fault as fault:
            if fault.faultCode != Faults.ALREADY_STARTED:
                # Not supervisord's own words: they may hold the command, with the secrets in its variables.
                why = getFaultDescription(fault.faultCode)
                raise StackError(f"the {name} cannot be started: supervisord answers {why}") from None

    def thaw(self) -> None:
        """Lets every frozen part go on."""
        for pid in self.pids().values():
            _thaw(pid)

    def replace(self, command: Command) -> None:
        """Stops a part and makes this its command from now on."""
        self._stop({command.name})  # also where it is the same
        before = self._configuration.read_text()
        sections = {**sections_of(before), command.name: render_part(command, self._folder)}
        self._apply(head_of(before) + "\n".join(section.rstrip("\n") + "\n" for section in sections.values()))

    def end(self) -> None:
        """Stops everything, whatever its supervisord can still do about it."""
        self.shut_down()
        self.end_orphans()

    def shut_down(self) -> None:
        """Stops every part, then supervisord itself, and waits for its end."""
        if not self.is_running:
            return
        daemon = psutil.Process(cast("int", self._call("supervisor.getPID")))
        self.thaw()  # a frozen process would not see the request to stop
        self._call("supervisor.shutdown")
        psutil.wait_procs([daemon], timeout=2 * STOP_SECONDS)

    def end_orphans(self) -> None:
        """Ends what a supervisord of this folder left behind when it was killed itself."""
        orphans = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == str(self._folder) and process.pid != os.getpid():
                    orphans.append(process)
            except psutil.Error:
                continue  # gone meanwhile, or somebody else's
        for process in orphans:
            process.kill()
        psutil.wait_procs(orphans, timeout=STOP_SECONDS)

    def _call(self, method: str, *arguments: object) -> object:
        # ServerProxy wants a host; the transport goes to the socket.
        proxy = ServerProxy("http://localhost", _SocketTransport(self._socket))
        target: Any = proxy
        for name in method.split("."):
            target = getattr(target, name)
        with proxy:
            return cast("object", target(*arguments))

    def _render(self, commands: Iterable[Command]) -> str:
        return render(commands, folder=self._folder, socket=self._socket, pid_file=self._pid_file)

    def _write(self, text: str) -> None:
        """Whole or not at all, and for its owner alone: headers of an exporter may be secrets."""
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
        with shielded():  # half started, nobody would know it
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
                # Parts inherit supervisord's environment: what the services read is each command's to say.
                env={**foreign, **_no_proxy(foreign), MARK: str(self._folder)},
                start_new_session=True,  # Ctrl-C is not meant for it
            )
            if done.returncode != 0:
                raise StackError(f"supervisord did not start:\n{done.stderr or done.stdout}")

            def answers() -> None:
                if not self.is_running:
                    raise NotYetError("supervisord does not answer on its socket")

            wait_for(answers, seconds=_START_SECONDS)

    def _apply(self, text: str) -> Mapping[str, str]:
        """Makes the running supervisord one of this configuration; cut off, it the next goes on with it."""
        before = self._configuration.read_text() if self._configuration.exists() else ""
        if head_of(before) != head_of(text):
            self.end()
            self._launch(text)
            return dict.fromkeys(sections_of(text), "the run was moved")
        self._write(text)
        # Compared with what it has in memory, whatever was in the file before.
        ((added, changed, removed),) = cast(
            "list[tuple[list[str], list[str], list[str]]]", self._call("supervisor.reloadConfig")
        )
        self._stop({*changed, *removed})
        # Only by being taken out does a part get another command.
        for name in (*changed, *removed):
            self._call("supervisor.removeProcessGroup", name)
        for name in (*changed, *added):
            self._call("supervisor.addProcessGroup", name)
        old, new = sections_of(before), sections_of(text)
        return {name: why_changed(old.get(name, ""), new[name]) for name in new if name in changed}

    def _stop(self, names: AbstractSet[str]) -> None:
        """Stops parts as a user would, all at once, and waits for their end."""
        pids = {name: pid for name, pid in self.pids().items() if name in names}
        processes = []
        for name, pid in pids.items():
            with suppress(psutil.NoSuchProcess):
                processes.append(psutil.Process(pid))
                _thaw(pid)  # a frozen one would not see the request to stop
            with suppress(Fault):  # it ended meanwhile
                self._call("supervisor.stopProcess", name, False)
        psutil.wait_procs(processes, timeout=2 * STOP_SECONDS)

        def are_gone() -> None:
            if names & self.pids().keys():
                raise NotYetError(f"supervisord does not stop {', '.join(names & self.pids().keys())}")

        wait_for(are_gone, seconds=STOP_SECONDS)


def _thaw(pid: int) -> None:
    """Lets a part go on, its workers included."""
    with suppress(ProcessLookupError):  # it ended at once
        os.killpg(pid, signal.SIGCONT)


def _no_proxy(environment: Mapping[str, str]) -> dict[str, str]:
    """The parts speak to one another on this machine, whatever proxy leads out of it: gRPC would take it."""
    names = ("no_proxy", "NO_PROXY")
    said = next((environment[name] for name in names if environment.get(name)), "")
    return dict.fromkeys(names, ",".join(filter(None, [said, "127.0.0.1", "localhost"])))
