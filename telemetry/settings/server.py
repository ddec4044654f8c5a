"""What the server that runs the application was told, as far as its variables and command line say."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

_SERVERS = frozenset({"uvicorn", "gunicorn", "fastapi"})
_WORKERS_OPTION = re.compile(r"(?:^|\s)(?:-w|--workers)[\s=]?(\d+)")


def announced_workers(environment: Mapping[str, str], arguments: Sequence[str]) -> int:
    """How many workers the server was told to run: 1 where nothing says so.

    What comes later wins, as with the servers: the variable of all, gunicorn's own, the command line.
    """
    counts = [environment.get("WEB_CONCURRENCY", "")]
    counts += _WORKERS_OPTION.findall(environment.get("GUNICORN_CMD_ARGS", ""))
    program = Path(arguments[0] if arguments else "")
    if (program.parent.name if program.name == "__main__.py" else program.name) in _SERVERS:
        # A spawned worker has its parent's command line.
        counts += _WORKERS_OPTION.findall(" ".join(arguments[1:]))
    told = [int(count) for count in counts if count.isdecimal()]
    return told[-1] if told else 1
