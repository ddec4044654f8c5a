"""`python -m benchmarks.export`: our engine against the stock one, interleaved, with the same receiver."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.progress import Progress

from benchmarks.figures import Figure
from benchmarks.report import table_of, wide_console, write
from benchmarks.run import HOST, ROOT, Receiver, Run, SpansLostError

_RATE = 2_500
"""Traces of two spans each, a second, in a paced measurement."""
_WORKLOAD = "benchmarks.workload"
_PACKAGES = ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-grpc", "grpcio", "protobuf", "fastapi")


def deliver(run: Run, engine: str, measure: str, variant: str = "", **what: Any) -> None:
    """Takes one sample of an engine, in which every span must arrive.

    Raises:
        SpansLostError: they did not.
    """
    endpoint = run.receiver.http if engine == "http" else run.receiver.grpc
    label = f"{measure} {engine} {variant}".strip()
    run.measure_delivery(label, _WORKLOAD, measure=measure, engine=engine, endpoint=endpoint, **what)


@contextmanager
def _black_hole() -> Iterator[str]:
    """Yields an endpoint that accepts connections and never responds."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        yield f"{HOST}:{listener.getsockname()[1]}"


def _dead() -> str:
    """Returns an endpoint that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"{HOST}:{listener.getsockname()[1]}"


def _cpu(run: Run) -> list[Figure]:
    traces = 4_096 if run.is_quick else 8_192
    for _ in range(3 if run.is_quick else 5):
        for engine in run.shuffled("ours", "grpc", "http"):
            deliver(run, engine, "cpu", traces=traces, traces_per_second=_RATE)
            deliver(run, engine, "export", "paced", traces=traces, traces_per_second=_RATE)
            deliver(run, engine, "export", "flat out", traces=4 * traces, traces_per_second=None)
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
        run.measure("encoding", _WORKLOAD, measure="encoding", traces=256, rounds=30)
    ours, official = run.column("encoding", "ours"), run.column("encoding", "official")
    return [Figure("encoding a span over the official encoder", "ratio", ours, official, 0.15)]


def _throughput(run: Run) -> list[Figure]:
    traces = 20_480 if run.is_quick else 61_440
    for _ in range(3 if run.is_quick else 5):
        for engine in run.shuffled("ours", "grpc", "http"):
            deliver(run, engine, "throughput", traces=traces)
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
        endpoints = {"healthy": run.receiver.grpc, "dead": _dead(), "black hole": hole}
        for _ in range(3 if run.is_quick else 7):
            for state in run.shuffled(*endpoints):
                run.measure(
                    f"requests {state}",
                    _WORKLOAD,
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
                run.measure(f"shutdown {engine}", _WORKLOAD, measure="shutdown", engine=engine, endpoint=hole)
    seconds = run.column("shutdown ours", "seconds")
    return [Figure("shutdown, full queue, black hole", "s", seconds, (), 5.5)]


def _outage(run: Run) -> list[Figure]:
    for _ in range(1 if run.is_quick else 5):
        run.measure("outage", _WORKLOAD, measure="outage", endpoint=_dead(), traces=20_480)
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
    except SpansLostError as error:
        raise SystemExit(str(error)) from None
    finally:
        receiver.close()
    console = wide_console()
    console.print(table_of(figures))
    if not only:
        file = write("export", figures, run, _PACKAGES)
        console.print(f"every sample: {file.relative_to(ROOT)}")


if __name__ == "__main__":
    typer.run(main)
