"""supervisord's configuration: rendered from commands, and parsed to report changes."""

import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from stack.digests import edited, written
from stack.errors import StackError
from stack.settings import ROOT
from stack.supervision.command import Command

MARK = "FASTAPI_TELEMETRY_STACK_RUN"
"""Every process of a run has the run folder in this variable, which identifies orphans."""
_FILES = "FASTAPI_TELEMETRY_STACK_FILES"
"""Every process has the digests of its files in this variable, so an edited file changes its command."""

STOP_SECONDS = 15
_PART = re.compile(r"^\[program:(.+)\]$", re.MULTILINE)


def render(commands: Iterable[Command], *, folder: Path, socket: Path, pid_file: Path) -> str:
    """Renders the configuration file of a run in this folder."""
    logs = logs_in(folder)
    sections = [
        f"""\
[unix_http_server]
file={_literal(socket)}
chmod=0600

[supervisord]
directory={_literal(ROOT)}
logfile={_literal(logs / "supervisord.log")}
logfile_maxbytes=1MB
logfile_backups=1
pidfile={_literal(pid_file)}
childlogdir={_literal(logs)}
silent=true

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""
    ]
    sections += [render_part(command, folder) for command in commands]
    return "\n".join(sections)


def render_part(command: Command, folder: Path) -> str:
    """Renders one part's section."""
    own = {MARK: str(folder), **({_FILES: written(command.files)} if command.files else {})}
    # By env(1), because supervisord's own `environment` cannot contain a quotation mark.
    variables = [f"{name}={value}" for name, value in {**command.environment, **own}.items()]
    words = shlex.join(["/usr/bin/env", *variables, *command.arguments])
    if "\n" in words or "\r" in words:
        name = next((each.partition("=")[0] for each in variables if {"\n", "\r"} & set(each)), command.name)
        raise StackError(f"{name} has a line break in it, which supervisord cannot take: set it to one line")
    # These start a comment after a space; an empty pair of quotation marks in between prevents that.
    words = re.sub(r"(\s)(?=[;#])", r"\1''", words)
    return f"""\
[program:{command.name}]
command={_literal(words)}
autostart=false
autorestart=false
startsecs=0
stopwaitsecs={STOP_SECONDS}
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile={_literal(logs_in(folder) / f"{command.name}.log")}
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=2
"""


def logs_in(folder: Path) -> Path:
    """Returns the folder for the output of a run's parts."""
    return folder / "logs"


def head_of(text: str) -> str:
    """Returns the text before the parts' sections."""
    first = _PART.search(text)
    return text[: first.start()] if first else text


def sections_of(text: str) -> dict[str, str]:
    """Returns each part's section, by its name."""
    found = list(_PART.finditer(text))
    ends = [each.start() for each in found[1:]] + [len(text)]
    return {each[1]: text[each.start() : end] for each, end in zip(found, ends, strict=True)}


def why_changed(before: str, after: str) -> str:
    """Describes what differs between two sections of a part, without values, which may be secret."""
    (old_variables, old_arguments), (variables, arguments) = _command_in(before), _command_in(after)
    files = edited(old_variables.pop(_FILES, ""), variables.pop(_FILES, ""))
    names = sorted(
        name
        for name in old_variables | variables
        if old_variables.get(name) != variables.get(name) and name != MARK
    )
    reasons = [f"{path} was edited" for path in files]
    if names:
        reasons.append(f"{', '.join(names)} changed")
    if old_arguments != arguments and not reasons:
        reasons.append("its command changed")
    return " and ".join(reasons) or "it still ran with older settings"


def _command_in(section: str) -> tuple[dict[str, str], list[str]]:
    found = re.search(r"^command=(.*)$", section, re.MULTILINE)
    words = shlex.split(found[1].replace("%%", "%"))[1:] if found else []
    arguments = next((n for n, word in enumerate(words) if not re.match(r"\w+=", word)), len(words))
    pairs = (word.partition("=") for word in words[:arguments])
    return {name: value for name, _, value in pairs}, words[arguments:]


def _literal(value: object) -> str:
    # supervisord expands %(names)s.
    return str(value).replace("%", "%%")
