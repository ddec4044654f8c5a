"""`python -m benchmarks.request`: what telemetry costs a request, ours beside the others.

Everything is measured in rounds: each round takes one sample of every variant, each in a process of its own,
in shuffled order, and a ratio is one of two samples of the same round. All variants send to one receiver, and
a sample is void unless exactly the spans that it must send have arrived.
"""

import statistics
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from benchmarks.export import deliver
from benchmarks.figures import Amount, Figure
from benchmarks.report import table_of, table_of_amounts, wide_console, write
from benchmarks.request_served import measure_served
from benchmarks.request_variants import VARIANTS
from benchmarks.run import ROOT, Receiver, Run, SpansLostError

_UNSAMPLED = "unsampled"
_TENTH = "10 %"
_RATIOS = {_UNSAMPLED: 0.0, _TENTH: 0.1}
_VARIANTS = (*VARIANTS, f"ours {_UNSAMPLED}", f"contrib {_UNSAMPLED}")
"""A label is a key of VARIANTS, with what is sampled unless that is everything."""
_ADDED = (
    ("ours", "contrib", 0.10),
    ("ours", "contrib-fewer", 0.16),
    ("ours", "native", 0.10),
    ("ours", "logfire", 0.07),
    (f"ours {_UNSAMPLED}", f"contrib {_UNSAMPLED}", 0.12),
)
"""Whose added CPU is compared with whose, and the ratio to reach."""
_TRIES = 3
_MOST_WAITED = 0.1
"""The share of the time in which a process may wait for a core while it shows its limit."""

Result = tuple[list[Figure], list[Amount]]


def _direct(run: Run) -> Result:
    requests = 800 if run.is_quick else 2_000

    def take(label: str) -> None:
        variant, ratio = _of(label)
        run.measure_delivery(
            f"in process, {label}",
            "benchmarks.request_direct",
            variant=variant,
            ratio=ratio,
            grpc=run.receiver.grpc,
            http=run.receiver.http,
            requests=requests,
            warm_up=400,
            per_second=1_000,
        )

    _take_in_rounds(run, 1 if run.is_quick else 7, _VARIANTS, take)
    return _added(run, "in process", _VARIANTS)


def _served(run: Run) -> Result:
    figures: list[Figure] = []
    amounts: list[Amount] = []
    few = ("bare", "ours", "contrib")
    variants_of = {"httptools": few} if run.is_quick else {"httptools": _VARIANTS, "h11": few}
    for parser, variants in variants_of.items():

        def take(label: str, parser: str = parser) -> None:
            variant, ratio = _of(label)
            measure_served(
                run, f"{parser}, {label}", variant, ratio=ratio, parser=parser, requests=1_600, per_second=800
            )

        _take_in_rounds(run, 1 if run.is_quick else 5, variants, take)
        more_figures, more_amounts = _added(run, parser, variants)
        figures += more_figures
        amounts += more_amounts
    return figures, amounts


def _rates(run: Run) -> Result:
    figures: list[Figure] = []
    amounts: list[Amount] = []
    labels = ("bare", "ours", f"ours {_TENTH}")
    for parser in ("httptools",) if run.is_quick else ("httptools", "h11"):

        def take(label: str, parser: str = parser) -> None:
            variant, ratio = _of(label)
            seconds = 1.0 if run.is_quick else 2.5
            measure_served(
                run, f"{parser} at its limit, {label}", variant, ratio=ratio, parser=parser, seconds=seconds
            )

        _take_in_rounds(run, 1 if run.is_quick else 5, labels, take)
        rate = {label: run.column(f"{parser} at its limit, {label}", "per_second") for label in labels}
        is_trusted = all(
            _had_a_core(label, run.column(f"{parser} at its limit, {label}", "waited")) for label in labels
        )
        for label, target in (("ours", 0.85), (f"ours {_TENTH}", 0.92)):
            name = f"requests a second, {parser}, {label} over bare"
            figures.append(
                Figure(
                    name, "ratio", rate[label], rate["bare"], target, is_at_most=False, is_trusted=is_trusted
                )
            )
        for label in labels:
            amounts.append(Amount(f"requests a second, {parser}, {label}", "", rate[label]))
            used = run.column(f"{parser} at its limit, {label}", "us_per_request")
            amounts.append(Amount(f"CPU a request, {parser} at its limit, {label}", "µs", used))
    return figures, amounts


def _spans(run: Run) -> Result:
    traces = 10_240 if run.is_quick else 30_720

    def take(engine: str) -> None:
        deliver(run, engine, "cpu", traces=2_048 if run.is_quick else 4_096, traces_per_second=2_500)

    def press(engine: str) -> None:
        deliver(run, engine, "throughput", traces=traces)

    for each in (take, press):
        _take_in_rounds(run, 1 if run.is_quick else 5, ("client", "grpc"), each)
    used = {name: run.column(f"cpu {name}", "us_per_span") for name in ("client", "grpc")}
    rate = {name: run.column(f"throughput {name}", "spans_per_second") for name in ("client", "grpc")}
    titles = {"client": "ours", "grpc": "stock SDK + gRPC"}
    is_trusted = all(_had_a_core(titles[name], run.column(f"throughput {name}", "waited")) for name in titles)
    figures = [
        Figure("CPU a span, created to answered, over stock", "ratio", used["client"], used["grpc"], 0.20),
        Figure(
            "delivered spans a second over stock",
            "ratio",
            rate["client"],
            rate["grpc"],
            4,
            is_at_most=False,
            is_trusted=is_trusted,
        ),
    ]
    amounts = [Amount(f"CPU a span, {titles[name]}", "µs", used[name]) for name in titles]
    return figures, amounts + [
        Amount(f"delivered spans a second, {titles[name]}", "", rate[name]) for name in titles
    ]


def _functions(run: Run) -> Result:
    calls = 8_000 if run.is_quick else 20_000
    labels = [f"{way}, {what}" for way in ("ours", "stock") for what in ("sampled", "unsampled parent")]

    def take(label: str) -> None:
        way, what = label.split(", ")
        run.measure_delivery(
            f"function, {label}",
            "benchmarks.request_functions",
            way=way,
            endpoint=run.receiver.grpc,
            calls=calls,
            is_sampled=what == "sampled",
        )

    _take_in_rounds(run, 1 if run.is_quick else 5, labels, take)

    def column(way: str, what: str, key: str) -> list[float]:
        return run.column(f"function, {way}, {what}", key)

    figures, amounts = [], []
    for what, key, title, target in (
        ("unsampled parent", "us_per_call", "unsampled parent", 0.3),
        ("sampled", "us_per_call", "sampled, caller's thread", 0.5),
        ("sampled", "us_per_call_sent", "sampled, sending included", 0.5),
    ):
        ours, stock = column("ours", what, key), column("stock", what, key)
        name = f"decorated function over start_as_current_span, {title}"
        figures.append(Figure(name, "ratio", ours, stock, target))
        amounts.append(Amount(f"decorated function, {title}", "µs", ours))
        amounts.append(Amount(f"start_as_current_span, {title}", "µs", stock))
    return figures, amounts


def _had_a_core(label: str, waited: list[float]) -> bool:
    """Whether a process could run whenever it had something to do; says aloud if it could not."""
    share = statistics.median(waited)
    if share > _MOST_WAITED:
        wide_console(is_for_errors=True).print(
            f"[red]{label} waited for a core {share:.0%} of the time: something else keeps this machine "
            "busy, and its rate is not to be trusted[/]"
        )
    return share <= _MOST_WAITED


def _of(label: str) -> tuple[str, float]:
    """Returns a label's variant and the share of traces to keep."""
    variant, _, sampled = label.partition(" ")
    return variant, _RATIOS[sampled] if sampled else 1.0


def _added(run: Run, where: str, labels: tuple[str, ...]) -> Result:
    """Returns the CPU that each variant adds to the bare application, as ratios and as it is."""
    used = {label: run.column(f"{where}, {label}", "us_per_request") for label in labels}
    added = {
        label: [mine - bare for mine, bare in zip(values, used["bare"], strict=True)]
        for label, values in used.items()
        if label != "bare"
    }
    figures = [
        Figure(
            f"added CPU a request, {where}, {mine} over {theirs}", "ratio", added[mine], added[theirs], most
        )
        for mine, theirs, most in _ADDED
        if mine in added and theirs in added
    ]
    amounts = [Amount(f"CPU a request, {where}, bare", "µs", used["bare"])]
    return figures, amounts + [
        Amount(f"added CPU a request, {where}, {label}", "µs", values) for label, values in added.items()
    ]


def _take_in_rounds(
    run: Run, rounds: int, labels: tuple[str, ...] | list[str], take: Callable[[str], Any]
) -> None:
    for _ in range(rounds):
        for label in run.shuffled(*labels):
            _take(run, label, take)


def _take(run: Run, label: str, take: Callable[[str], Any]) -> None:
    """Takes a sample, and again if it is void.

    Raises:
        SpansLostError: it is void each time.
    """
    for left in reversed(range(_TRIES)):
        try:
            take(label)
        except SpansLostError as error:
            run.void.append(str(error))
            wide_console(is_for_errors=True).print(f"[red]{error}[/]")
            if not left:
                raise
        else:
            return


_PARTS: dict[str, Callable[[Run], Result]] = {
    "direct": _direct,
    "served": _served,
    "rates": _rates,
    "spans": _spans,
    "functions": _functions,
}


def main(
    only: Annotated[list[str] | None, typer.Option(help=f"Any of {', '.join(_PARTS)}.")] = None,
    *,
    quick: Annotated[bool, typer.Option("--quick", help="One short round, to see that it runs.")] = False,
) -> None:
    """Prints the figures and writes them, with every sample, to benchmarks/results."""
    parts = only or list(_PARTS)
    unknown = sorted(set(parts) - set(_PARTS))
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: there are only {', '.join(_PARTS)}")
    receiver = Receiver()
    run = Run(receiver, is_quick=quick)
    figures: list[Figure] = []
    amounts: list[Amount] = []
    lost: list[str] = []
    console = wide_console()
    try:
        for part in parts:
            started = time.monotonic()
            try:
                more_figures, more_amounts = _PARTS[part](run)
            except SpansLostError as error:
                lost.append(f"{part} has no figures: {error}, {_TRIES} times")
                continue
            figures += more_figures
            amounts += more_amounts
            console.print(f"{part}: {time.monotonic() - started:.0f} s")
    finally:
        receiver.close()
    console.print(table_of(figures))
    console.print()
    console.print(table_of_amounts(amounts))
    if lost:
        raise SystemExit("\n".join(lost))
    if not only:
        file = write("request", figures, run, _packages(), amounts)
        console.print(f"every sample: {file.relative_to(ROOT)}")
        console.print("the dashboards show what a request costs: make dashboards")


def _packages() -> list[str]:
    return list(dict.fromkeys(name for variant in VARIANTS.values() for name in variant.packages))


if __name__ == "__main__":
    typer.run(main)
