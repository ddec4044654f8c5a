"""What a run says: a table of figures, and a file with the machine, the versions and every sample."""

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.figures import Amount, Figure
from benchmarks.run import ROOT, Run

_LEAST_WIDTH = 130
RESULTS = Path(__file__).with_name("results")


def wide_console(*, is_for_errors: bool = False) -> Console:
    """Returns a console, of standard output or error, whose lines stay whole."""
    return Console(width=max(Console().width, _LEAST_WIDTH), stderr=is_for_errors)


def table_of(figures: Sequence[Figure]) -> Table:
    """Returns the figures as a table, each with its verdict."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("", "figure", "median", "95 %", "to reach", "samples"):
        table.add_column(heading)
    for figure in figures:
        low, high = figure.interval
        table.add_row(
            _verdict(figure),
            figure.name,
            f"{figure.value:.3g} {figure.unit if figure.unit != 'ratio' else ''}",
            f"{low:.3g} to {high:.3g}",
            f"{'≤' if figure.is_at_most else '≥'} {figure.target:g}",
            str(len(figure.samples)),
        )
    return table


def table_of_amounts(amounts: Sequence[Amount]) -> Table:
    """Returns absolute values as a table, each with its spread."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("", "median", "least to greatest", "samples"):
        table.add_column(heading)
    for amount in amounts:
        low, high = amount.spread
        table.add_row(
            amount.name,
            f"{amount.value:,.4g} {amount.unit}",
            f"{low:,.4g} to {high:,.4g}",
            str(len(amount.samples)),
        )
    return table


def _verdict(figure: Figure) -> str:
    if not figure.is_trusted:
        return "[yellow]unsure[/]"
    return "[green]reached[/]" if figure.is_reached else "[red]missed[/]"


def write(
    name: str,
    figures: Sequence[Figure],
    run: Run,
    packages: Iterable[str],
    amounts: Sequence[Amount] = (),
) -> Path:
    """Writes the figures, with every sample, to benchmarks/results; returns the file."""
    file = RESULTS / (f"{name}-quick.json" if run.is_quick else f"{name}.json")
    RESULTS.mkdir(exist_ok=True)
    content = {**_circumstances(packages), "figures": [_entry(figure) for figure in figures]}
    if amounts:
        content["amounts"] = [
            {"name": amount.name, "unit": amount.unit, "median": amount.value, "spread": amount.spread}
            for amount in amounts
        ]
    file.write_text(json.dumps({**content, "void": run.void, "samples": run.samples}, indent=1) + "\n")
    return file


def _circumstances(packages: Iterable[str]) -> dict[str, Any]:
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607 - whichever git PATH names
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit.stdout.strip(),
        "machine": {
            "cpu": cpu[0].split(":", 1)[1].strip() if cpu else platform.processor(),
            "cores": len(cpu),
            "system": platform.system(),
            "python": platform.python_version(),
            "load_average": os.getloadavg(),
        },
        "packages": {name: version(name) for name in packages},
    }


def _entry(figure: Figure) -> dict[str, Any]:
    return {
        "name": figure.name,
        "unit": figure.unit,
        "median": figure.value,
        "interval_95": figure.interval,
        "to_reach": figure.target,
        "is_reached": figure.is_reached,
        "is_trusted": figure.is_trusted,
    }
