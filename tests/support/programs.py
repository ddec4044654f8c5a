"""Programs with telemetry, each in a process of its own."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from support.paths import ROOT


def uncovered_environment() -> dict[str, str]:
    """Returns the environment for a program whose handling of SIGTERM is tested.

    Measured by coverage, it would start with coverage's own handler.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


def start_program(source: str, folder: Path, endpoint: str, **variables: str) -> "subprocess.Popen[str]":
    """Starts a script whose spans only a flush can send; the caller must end it."""
    script = folder / "script.py"
    script.write_text(textwrap.dedent(source))
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning", str(script)],
        env={
            **uncovered_environment(),
            "PYTHONPATH": str(ROOT),
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "600000",
            **variables,
        },
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run_program(source: str, folder: Path, endpoint: str, **variables: Any) -> tuple[int, str]:
    """Runs a script to its end; returns its exit code and what it printed."""
    with start_program(source, folder, endpoint, **variables) as process:
        try:
            output, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    return process.returncode, output
