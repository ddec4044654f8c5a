"""`python -m benchmarks.import_time`: what importing the library costs, beside the stock packages.

Each import runs in a process of its own, in turns, and the time is the CPU's: how long it takes on the clock
depends on what else the machine does.
"""

import os
import resource
import statistics
import subprocess
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.figures import Figure

OURS = "from telemetry.telemetry import setup_telemetry"
STOCK = (
    "import fastapi, opentelemetry.instrumentation.fastapi, "
    "opentelemetry.exporter.otlp.proto.grpc.trace_exporter"
)
FASTAPI = "import fastapi"
TARGET = 1.05


def cpu_seconds(statement: str) -> float:
    """Returns the CPU time of a process that runs one statement, in seconds, Python's own start included."""
    before = _cpu_seconds_of_children()
    # Bytecode is written, as it is where packages are installed; a checkout's may be missing or old.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    subprocess.run([sys.executable, "-c", statement], env=environment, check=True)
    return _cpu_seconds_of_children() - before


def _cpu_seconds_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main(turns: Annotated[int, typer.Option(min=1)] = 10) -> None:
    """Prints the medians and the ratio; ends with 1 if the ratio is above its target."""
    samples: dict[str, list[float]] = {statement: [] for statement in (OURS, STOCK, FASTAPI)}
    for statement in samples:
        cpu_seconds(statement)  # writes the bytecode, and warms the disk's cache
    for _ in range(turns):
        for statement, taken in samples.items():
            taken.append(cpu_seconds(statement))
    table = Table("import", "CPU, median")
    for statement, taken in samples.items():
        table.add_row(statement, f"{statistics.median(taken) * 1000:.0f} ms")
    ratio = Figure("import", "ratio", samples[OURS], samples[STOCK], TARGET)
    console = Console()
    console.print(table)
    low, high = ratio.interval
    console.print(f"ours / stock: {ratio.value:.2f} ({low:.2f} to {high:.2f}), at most {TARGET} is wanted")
    sys.exit(not ratio.is_reached)


if __name__ == "__main__":
    typer.run(main)
