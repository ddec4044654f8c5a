"""Chooses this library's distribution for `opentelemetry-instrument`, which loads this to ask for options.

The launcher lets the first distribution that it finds configure the process, and which one that is depends on
the order of files on a disk. So where another one is installed too, such as `opentelemetry-distro`, ours is
named here, before the program is started; `OTEL_PYTHON_DISTRO` or `--distro` choose another. Nobody else
imports this module.
"""

import os

# As a module: each OTEL_ name of this one would become an option of the launcher's command line.
from opentelemetry.instrumentation import environment_variables as _variables

if not os.environ.get(_variables.OTEL_PYTHON_DISTRO):  # empty is unset, as the specification has it
    os.environ[_variables.OTEL_PYTHON_DISTRO] = "telemetry"
