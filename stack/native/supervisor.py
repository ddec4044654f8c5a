"""supervisord, as the native runtime uses it: its configuration, its start, and its API.

It restarts nothing: what was killed stays dead until it is started.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast
from xmlrpc.client import Fault, ServerProxy

import psutil
from supervisor.xmlrpc import Faults, SupervisorTransport

from stack.errors import StackError
from stack.health import NotYetError, wait_for
from stack.native.commands import Command
from stack.native.sockets import socket_folder
from stack.settings import ROOT, is_service_variable

MARK = "FASTAPI_TELEMETRY_STACK_RUN"
"""Each process of a run carries its folder in this variable: known as ours even without its parent."""

_STOP_SECONDS = 15
_START_SECONDS = 10.0


class Supervisor:
    """One supervisord, in one run folder."""

    def __init__(self, run_folder: Path) -> None:
        self._folder = run_folder
        self._configuration = run_folder / "supervisord.conf"
        self._pid_file = run_folder / "supervisord.pid"
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
        return self._folder / "logs" / f"{name}.log"

    def is_configured_as(self, commands: Iterable[Command]) -> bool:
        """Whether the running supervisord was started with exactly these commands."""
        return self._configuration.exists() and self._configuration.read_text() == self._render(commands)

    def launch(self, commands: Iterable[Command]) -> None:
        """Starts supervisord, with none of the commands running yet.

        Raises:
            StackError: it does not come up.
        """
        for folder in (self.log_of("supervisord").parent, self._socket.parent):
            folder.mkdir(parents=True, exist_ok=True)
        self._configuration.touch(mode=0o600)  # headers of an exporter may be secrets
        self._configuration.write_text(self._render(commands))
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "supervisor.supervisord", "-c", str(self._configuration)],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            # Parts inherit supervisord's environment: what the services read is each command's to say.
            env={name: value for name, value in os.environ.items() if not is_service_variable(name)},
        )
        if done.returncode != 0:
            raise StackError(f"supervisord did not start:\n{done.stderr or done.stdout}")

        def answers() -> None:
            if not self.is_running:
                raise NotYetError("supervisord does not answer on its socket")

        wait_for(answers, seconds=_START_SECONDS)

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
        try:
            self._call("supervisor.startProcess", name, False)
        except Fault as fault:
            if fault.faultCode != Faults.ALREADY_STARTED:
                raise StackError(f"the {name} cannot be started: {fault.faultString}") from fault

    def replace(self, command: Command, commands: Iterable[Command]) -> None:
        """Stops a part and makes this its command from now on; `commands` are all, it among them."""
        name = command.name
        self._configuration.write_text(self._render(commands))
        self._call("supervisor.reloadConfig")
        if name in self.pids():
            self._call("supervisor.stopProcess", name)
        # Only by being taken out does it get its new command.
        self._call("supervisor.removeProcessGroup", name)
        self._call("supervisor.addProcessGroup", name)

    def shut_down(self) -> None:
        """Stops every part, then supervisord itself, and waits for its end."""
        if not self.is_running:
            return
        daemon = psutil.Process(cast("int", self._call("supervisor.getPID")))
        for child in daemon.children():
            # A frozen process would not see the request to stop.
            child.resume()
        self._call("supervisor.shutdown")
        psutil.wait_procs([daemon], timeout=2 * _STOP_SECONDS)

    def end_orphans(self) -> None:
        """Ends what a supervisord of this folder left behind when it was killed itself."""
        orphans = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == str(self._folder):
                    orphans.append(process)
            except psutil.Error:
                continue  # gone meanwhile, or somebody else's
        for process in orphans:
            process.kill()
        psutil.wait_procs(orphans, timeout=_STOP_SECONDS)

    def _call(self, method: str, *arguments: object) -> object:
        # ServerProxy wants a host; the transport goes to the socket.
        proxy = ServerProxy("http://localhost", SupervisorTransport(serverurl=f"unix://{self._socket}"))
        target: Any = proxy
        for name in method.split("."):
            target = getattr(target, name)
        with proxy:
            return cast("object", target(*arguments))

    def _render(self, commands: Iterable[Command]) -> str:
        logs = self.log_of("supervisord").parent
        sections = [
            f"""\
[unix_http_server]
file={_literal(self._socket)}
chmod=0600

[supervisord]
directory={_literal(ROOT)}
logfile={_literal(logs / "supervisord.log")}
logfile_maxbytes=1MB
logfile_backups=1
pidfile={_literal(self._pid_file)}
childlogdir={_literal(logs)}
silent=true

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""
        ]
        sections += [self._render_part(command) for command in commands]
        return "\n".join(sections)

    def _render_part(self, command: Command) -> str:
        # Through env(1): supervisord's own `environment` cannot hold a quotation mark.
        variables = [f"{name}={value}" for name, value in {**command.environment, MARK: self._folder}.items()]
        words = shlex.join(["/usr/bin/env", *variables, *command.arguments])
        return f"""\
[program:{command.name}]
command={_literal(words)}
autostart=false
autorestart=false
startsecs=0
stopwaitsecs={_STOP_SECONDS}
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile={_literal(self.log_of(command.name))}
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=2
"""


def _literal(value: object) -> str:
    # supervisord expands %(names)s.
    return str(value).replace("%", "%%")
