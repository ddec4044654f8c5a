"""`python -m benchmarks.export`: our engine against the stock one, interleaved, with the same receiver."""

import json
import platform
import random
import socket
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.figures import Figure

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).with_name("results")
_RATE = 2_500
"""Traces of two spans each, a second, in a paced measurement."""
_HOST = "http://127.0.0.1"
_PACKAGES = ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-grpc", "grpcio", "protobuf", "fastapi")


class Receiver:
    """The process that both engines send to."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.receiver"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        grpc_port, http_port = self._read().split()
        self.endpoints = {"grpc": f"{_HOST}:{grpc_port}", "ours": f"{_HOST}:{grpc_port}"}
        self.endpoints |= {"http": f"{_HOST}:{http_port}", "none": f"{_HOST}:{grpc_port}"}

    @property
    def spans(self) -> int:
        """Number of spans received so far."""
        if self._process.stdin is None:
            raise RuntimeError("the receiver has no input")
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self._read())

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()

    def _read(self) -> str:
        if self._process.stdout is None:
            raise RuntimeError("the receiver has no output")
        return self._process.stdout.readline()


class Run:
    """A run of measurements, each in its own process, and all of their samples."""

    def __init__(self, receiver: Receiver, *, is_quick: bool) -> None:
        self.receiver = receiver
        self.is_quick = is_quick
        self.samples: dict[str, list[dict[str, float]]] = defaultdict(list)
        self._chance = random.Random(1)  # noqa: S311 - the order only

    def measure(self, label: str, **what: Any) -> dict[str, float]:
        """Takes one sample."""
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.workload", json.dumps(what)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        sample: dict[str, float] = json.loads(done.stdout)
        self.samples[label].append(sample)
        return sample

    def deliver(self, engine: str, measure: str, variant: str = "", **what: Any) -> None:
        """Takes one sample in which every span must arrive."""
        before = self.receiver.spans
        label = f"{measure} {engine} {variant}".strip()
        sample = self.measure(
            label, measure=measure, engine=engine, endpoint=self.receiver.endpoints[engine], **what
        )
        arrived = self.receiver.spans - before
        if engine != "none" and arrived != sample["spans"]:
            raise SystemExit(f"{label}: {arrived} of {sample['spans']:.0f} spans arrived: the run is void")

    def shuffled(self, *engines: str) -> list[str]:
        """Returns the engines in a different order each time, so that no drift favours one of them."""
        return self._chance.sample(engines, len(engines))

    def column(self, label: str, key: str) -> list[float]:
        """Returns one figure of every sample."""
        return [sample[key] for sample in self.samples[label]]


@contextmanager
def _black_hole() -> Iterator[str]:
    """Yields an endpoint that accepts connections and never responds."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        yield f"{_HOST}:{listener.getsockname()[1]}"


def _dead() -> str:
    """Returns an endpoint that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"{_HOST}:{listener.getsockname()[1]}"


def _cpu(run: Run) -> list[Figure]:
    traces = 4_096 if run.is_quick else 8_192
    for _ in range(3 if run.is_quick else 5):
        for engine in run.shuffled("ours", "grpc", "http"):
            run.deliver(engine, "cpu", traces=traces, traces_per_second=_RATE)
            run.deliver(engine, "export", "paced", traces=traces, traces_per_second=_RATE)
            run.deliver(engine, "export", "flat out", traces=4 * traces, traces_per_second=None)
    whole = {engine: run.column(f"cpu {engine}", "us_per_span") for engine in ("ours", "grpc", "http")}
    after = {
        (engine, how): run.column(f"export {engine} {how}", "us_per_span")
        for engine in ("ours", "grpc")
        for how in ("paced", "flat out")
    }
    return [
        Figure(
            "CPU a span, created to answered, over stock gRPC", "ratio", whole["ours"], whole["grpc"], 0.60
        ),
        Figure("the same over stock HTTP", "ratio", whole["ours"], whole["http"], 0.60),
        *(
            Figure(
                f"CPU a span, ended to answered, over stock gRPC, {how}",
                "ratio",
                after["ours", how],
                after["grpc", how],
                0.20,
            )
            for how in ("flat out", "paced")
        ),
    ]


def _encoding(run: Run) -> list[Figure]:
    for _ in range(5 if run.is_quick else 9):
        run.measure("encoding", measure="encoding", traces=256, rounds=30)
    ours, official = run.column("encoding", "ours"), run.column("encoding", "official")
    return [Figure("encoding a span over the official encoder", "ratio", ours, official, 0.15)]


def _throughput(run: Run) -> list[Figure]:
    traces = 20_480 if run.is_quick else 61_440
    for _ in range(3 if run.is_quick else 5):
        for engine in run.shuffled("ours", "grpc", "http"):
            run.deliver(engine, "throughput", traces=traces)
    rate = {name: run.column(f"throughput {name}", "spans_per_second") for name in ("ours", "grpc")}
    return [
        Figure(
            "delivered spans a second over stock gRPC",
            "ratio",
            rate["ours"],
            rate["grpc"],
            1.8,
            is_at_most=False,
        )
    ]


def _requests(run: Run) -> list[Figure]:
    requests = 2_000 if run.is_quick else 4_000
    with _black_hole() as hole:
        endpoints = {"healthy": run.receiver.endpoints["ours"], "dead": _dead(), "black hole": hole}
        for _ in range(3 if run.is_quick else 7):
            for state in run.shuffled(*endpoints):
                run.measure(
                    f"requests {state}",
                    measure="requests",
                    endpoint=endpoints[state],
                    requests=requests,
                    per_second=500,
                )
    p99 = {state: run.column(f"requests {state}", "p99_ms") for state in endpoints}
    for state in ("dead", "black hole"):
        if not all(run.column(f"requests {state}", "opened")):
            raise SystemExit(f"requests {state}: the breaker never opened: the run is void")
    return [
        Figure(
            f"request p99, {state} Collector over a healthy one",
            "ratio",
            p99[state],
            p99["healthy"],
            1.15,
            bound_of_interval=1.05,
        )
        for state in ("dead", "black hole")
    ]


def _shutdown(run: Run) -> list[Figure]:
    with _black_hole() as hole:
        for engine in ("ours", "grpc", "http"):
            for _ in range(1 if run.is_quick or engine == "http" else 2 if engine == "grpc" else 5):
                run.measure(f"shutdown {engine}", measure="shutdown", engine=engine, endpoint=hole)
    seconds = run.column("shutdown ours", "seconds")
    return [Figure("shutdown, full queue, black hole", "s", seconds, (), 5.5)]


def _outage(run: Run) -> list[Figure]:
    for _ in range(1 if run.is_quick else 5):
        run.measure("outage", measure="outage", endpoint=_dead(), traces=20_480)
    return [
        Figure(
            "bytes held for a span in an outage",
            "B",
            run.column("outage", "buffered_bytes_per_span"),
            (),
            600,
        ),
        Figure(
            "growth of the process for each", "B", run.column("outage", "resident_bytes_per_span"), (), 600
        ),
    ]


_PARTS: dict[str, Callable[[Run], list[Figure]]] = {
    "encoding": _encoding,
    "cpu": _cpu,
    "throughput": _throughput,
    "requests": _requests,
    "shutdown": _shutdown,
    "outage": _outage,
}


def main(
    only: Annotated[list[str] | None, typer.Option(help=f"Any of {', '.join(_PARTS)}.")] = None,
    *,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer and shorter samples.")] = False,
) -> None:
    """Prints the figures and writes them, with every sample, to benchmarks/results."""
    parts = only or list(_PARTS)
    unknown = sorted(set(parts) - set(_PARTS))
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: there are only {', '.join(_PARTS)}")
    receiver = Receiver()
    run = Run(receiver, is_quick=quick)
    figures: list[Figure] = []
    try:
        with Progress(transient=True) as progress:
            for part in progress.track(parts, description="measuring"):
                figures += _PARTS[part](run)
    finally:
        receiver.close()
    Console().print(_table(figures))
    if not only:
        file = RESULTS / ("export-quick.json" if quick else "export.json")
        RESULTS.mkdir(exist_ok=True)
        file.write_text(json.dumps(_report(figures, run), indent=1) + "\n")
        Console().print(f"every sample: {file.relative_to(ROOT)}")


def _table(figures: list[Figure]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("", "figure", "median", "95 %", "to reach", "samples"):
        table.add_column(heading)
    for figure in figures:
        low, high = figure.interval
        table.add_row(
            "[green]reached[/]" if figure.is_reached else "[red]missed[/]",
            figure.name,
            f"{figure.value:.3g} {figure.unit if figure.unit != 'ratio' else ''}",
            f"{low:.3g} to {high:.3g}",
            f"{'≤' if figure.is_at_most else '≥'} {figure.target:g}",
            str(len(figure.samples)),
        )
    return table


def _report(figures: list[Figure], run: Run) -> dict[str, Any]:
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
        },
        "packages": {name: version(name) for name in _PACKAGES},
        "figures": [
            {
                "name": figure.name,
                "unit": figure.unit,
                "median": figure.value,
                "interval_95": figure.interval,
                "to_reach": figure.target,
                "is_reached": figure.is_reached,
            }
            for figure in figures
        ],
        "samples": run.samples,
    }


if __name__ == "__main__":
    typer.run(main)
