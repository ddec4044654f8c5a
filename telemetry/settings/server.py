"""Options of the server that runs the application, as far as its variables and command line show."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

_SERVERS = frozenset({"uvicorn", "gunicorn", "fastapi"})
_WORKERS_OPTION = re.compile(r"(?:^|\s)(?:-w|--workers)[\s=]?(\d+)")


def announced_workers(environment: Mapping[str, str], arguments: Sequence[str]) -> int:
    """Returns the number of workers that the server is configured to run, 1 by default.

    Later sources win, as in the servers: the common variable, gunicorn's own, the command line.
    """
    counts = [environment.get("WEB_CONCURRENCY", "")]
    counts += _WORKERS_OPTION.findall(environment.get("GUNICORN_CMD_ARGS", ""))
    program = Path(arguments[0] if arguments else "")
    if (program.parent.name if program.name == "__main__.py" else program.name) in _SERVERS:
        # A spawned worker has its parent's command line.
        counts += _WORKERS_OPTION.findall(" ".join(arguments[1:]))
    given = [int(count) for count in counts if count.isdecimal()]
    return given[-1] if given else 1
