"""Selects this library's distro for `opentelemetry-instrument`, which loads this module to collect options.

The launcher lets the first distro that it finds configure the process, and which one that is depends on the
order of files on disk. In case another one is installed too, such as `opentelemetry-distro`, this module
selects ours before the program starts; `OTEL_PYTHON_DISTRO` or `--distro` selects another. Nothing else
imports this module.
"""

import os

# Imported as a module: each OTEL_ name in this one would become an option of the launcher's command line.
from opentelemetry.instrumentation import environment_variables as _variables

if not os.environ.get(_variables.OTEL_PYTHON_DISTRO):  # empty counts as unset, as in the specification
    os.environ[_variables.OTEL_PYTHON_DISTRO] = "telemetry"
