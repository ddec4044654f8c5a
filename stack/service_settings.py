"""The services' telemetry settings, judged by the library before anything is stopped or started."""

import os
import subprocess
import sys

from stack.errors import StackError
from stack.settings import ROOT, StackSettings, is_service_variable, service_variables

_CHECK = "from telemetry.config import TelemetryConfig; TelemetryConfig()"


def check_service_settings(settings: StackSettings) -> None:
    """Reads the settings as a service would, in a process of its own.

    Raises:
        StackError: a value is malformed; the message is the library's.
    """
    foreign = {name: value for name, value in os.environ.items() if not is_service_variable(name)}
    done = subprocess.run(
        [sys.executable, "-c", _CHECK],
        cwd=ROOT,
        env={**foreign, **service_variables(settings)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise StackError(f"the services cannot start: {done.stderr.strip().splitlines()[-1]}")
