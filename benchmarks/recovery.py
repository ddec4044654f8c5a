"""`python -m benchmarks.recovery`: how soon exports go on after an outage, and what the Collector gets then.

Two hundred processes are simulated, with the library's breaker, back-off and pace; fifty real ones lose a
real receiver, which then comes back on the same port.
"""

import json
import subprocess
import sys
import time
from typing import Annotated, Any

import typer

from benchmarks.figures import Amount, Figure
from benchmarks.recovery_model import simulate
from benchmarks.report import table_of, table_of_amounts, wide_console, write
from benchmarks.run import ROOT, Receiver, Run, clean_environment

_OUTAGES = (5.0, 20.0, 45.0, 240.0, 3_600.0)
_SIMULATED, _SPANS_PER_SECOND, _SEEDS = 200, 50, range(5)
_REAL = 50
_REAL_OUTAGE_SECONDS = 45.0
_SECONDS_AFTER = 12.0
_MOST_SECONDS = 2.0

Result = tuple[list[Figure], list[Amount]]


def _simulated(outage: float) -> Result:
    """Compares both ways to recover from a simulated outage: by asking, and by the open time alone."""
    seconds, batches, checks, most = [], [], [], []
    by_time, connections, connections_by_time = [], [], []
    for seed in _SEEDS:
        asking, waiting = (
            simulate(
                processes=_SIMULATED,
                outage_seconds=outage,
                spans_per_second=_SPANS_PER_SECOND,
                is_asking=is_asking,
                seed=seed,
            )
            for is_asking in (True, False)
        )
        seconds.append(_percentile(asking.closed_after))
        by_time.append(_percentile(waiting.closed_after))
        batches.append(float(asking.most_batches))
        most.append(float(waiting.most_batches))
        checks.append(float(asking.most_checks))
        connections.append(float(asking.most_connections))
        connections_by_time.append(float(waiting.most_connections))
    what = f"{_SIMULATED} simulated processes, {outage:g} s away"
    return [
        Figure(f"{what}: breaker closed after, p95", "s", seconds, [], _MOST_SECONDS),
        Figure(f"{what}: most batches a second, over the open time alone", "ratio", batches, most, 1.0),
        Figure(f"{what}: most connection checks of a process in a second", "", checks, [], 1.0),
    ], [
        Amount(f"{what}: breaker closed by the open time alone, p95", "s", by_time),
        Amount(f"{what}: most batches a second", "", batches),
        Amount(f"{what}: most new connections a second", "", connections),
        Amount(f"{what}: the same, by the open time alone", "", connections_by_time),
    ]


class _Sender:
    """A process that sends spans."""

    def __init__(self, endpoint: str, protocol: str) -> None:
        what = {"endpoint": endpoint, "protocol": protocol}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.recovery_process", json.dumps(what)],
            cwd=ROOT,
            env=clean_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait_until_ready(self) -> None:
        """Waits for its first line."""
        if self._process.stdout is None or not self._process.stdout.readline():
            raise RuntimeError("a sending process has ended")

    def end(self) -> list[dict[str, Any]]:
        """Ends it; returns what it has printed."""
        printed, _ = self._process.communicate("\n", timeout=90)
        return [json.loads(line) for line in printed.splitlines()]


def _real(run: Run, protocol: str, outage: float) -> Result:
    """Takes a receiver away from real processes, and measures how soon after its return they go on."""
    receiver = Receiver()
    endpoint = receiver.grpc if protocol == "grpc" else receiver.http
    senders = [_Sender(endpoint, protocol) for _ in range(_REAL)]
    for sender in senders:
        sender.wait_until_ready()
    time.sleep(3)
    receiver.kill()
    time.sleep(outage)
    receiver = Receiver(*receiver.ports)
    returned = time.time()
    time.sleep(_SECONDS_AFTER)
    label = f"{_REAL} processes, {protocol}, {outage:g} s away"
    for sender in senders:
        *states, ledger = sender.end()
        last = states[-1]
        closed_after = last["at"] - returned if last["state"] == "closed" else float("inf")
        opened = sum(each["state"] == "open" for each in states)
        sample = {"opened": opened, "closed_after": closed_after if closed_after > 0 else float("inf")}
        run.samples[label].append(sample | {"lost": ledger["ended"] - ledger["delivered"]})
    receiver.close()
    if not all(run.column(label, "opened")):
        raise RuntimeError(f"{label}: not every breaker opened")
    seconds = run.column(label, "closed_after")
    return [
        Figure(f"{label}: breaker closed after, p95", "s", [_percentile(seconds)], [], _MOST_SECONDS),
        Figure(f"{label}: spans lost", "", [sum(run.column(label, "lost"))], [], 0),
    ], [Amount(f"{label}: breaker closed after", "s", seconds)]


def _percentile(values: Any) -> float:
    """Returns the 95th percentile: the least value that 95 % do not exceed."""
    ordered = sorted(values)
    return float(ordered[-(-len(ordered) * 95 // 100) - 1])


def main(
    *, quick: Annotated[bool, typer.Option("--quick", help="Short outages, to see that it runs.")] = False
) -> None:
    """Prints the figures and writes them, with every sample, to benchmarks/results."""
    run = Run(Receiver(), is_quick=quick)
    figures: list[Figure] = []
    amounts: list[Amount] = []
    try:
        results = [_simulated(outage) for outage in (_OUTAGES[:2] if quick else _OUTAGES)]
        results += [
            _real(run, protocol, 8.0 if quick else _REAL_OUTAGE_SECONDS)
            for protocol in ("grpc", "http/protobuf")
        ]
    finally:
        run.receiver.close()
    for more_figures, more_amounts in results:
        figures += more_figures
        amounts += more_amounts
    console = wide_console()
    console.print(table_of(figures))
    console.print()
    console.print(table_of_amounts(amounts))
    file = write("recovery", figures, run, ("grpcio",), amounts)
    console.print(f"every sample: {file.relative_to(ROOT)}")


if __name__ == "__main__":
    typer.run(main)
