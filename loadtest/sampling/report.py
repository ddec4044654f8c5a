"""The report of a sampling run: a page with plots, a picture, and the figures for programs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import BaseModel

from loadtest.page import PageTable, Picture, describe_machine, write_page
from loadtest.pictures import BLUE, GREEN, GREY, ORANGE, RED, look, save_png
from loadtest.sampling.data import HeadRun, RateRun, SamplingRun
from loadtest.sampling.judging import CONFIDENCE, kept_per_second, random_bits
from loadtest.statistics import clopper_pearson
from loadtest.verdict import Verdict

_BINS = 20


class SamplingResult(BaseModel):
    """`result.json`: the run's figures."""

    runtime: str
    rate: float
    machine: str
    verdicts: list[Verdict]
    configuration: dict[str, str]


def write_report(run: SamplingRun, verdicts: Sequence[Verdict], folder: Path) -> Path:
    """Writes `report.html`, `sampling.png` and `result.json`; returns the page."""
    figure = draw_sampling(run)
    save_png(figure, folder / "sampling.png")
    result = SamplingResult(
        runtime=run.runtime,
        rate=run.rate,
        machine=describe_machine(),
        verdicts=list(verdicts),
        configuration=dict(run.configuration),
    )
    (folder / "result.json").write_text(result.model_dump_json(indent=2))
    page = folder / "report.html"
    requests = sum(len(head.requests) for head in run.heads)
    requests += len(run.limited.requests) + len(run.tail.requests)
    write_page(
        page,
        title="Sampling: what was promised, and what came of each trace",
        summary=f"{requests} requests at up to {run.rate:g} a second, {run.runtime} runtime.",
        verdicts=verdicts,
        pictures=[
            Picture(
                "Kept and dropped",
                figure,
                "Which trace is kept is decided by its id alone: one that a low ratio keeps, every higher "
                "ratio keeps. Span metrics count what was sampled away, by ot=th in tracestate.",
            )
        ],
        tables=[_configuration(run)],
    )
    return page


def draw_sampling(run: SamplingRun) -> Figure:
    """Draws four plots: shares, decisions by trace id, the rate limit, and the counts of span metrics."""
    with look():
        figure = Figure(figsize=(12, 8), layout="constrained")
        (shares, decisions), (limit, counts) = figure.subplots(2, 2)
        _draw_shares(shares, run.heads)
        _draw_decisions(decisions, run.heads)
        _draw_limit(limit, run.limited)
        _draw_counts(counts, run)
        return figure


def _draw_shares(axes: Axes, heads: Sequence[HeadRun]) -> None:
    ratios = [head.ratio for head in heads]
    estimates = [
        clopper_pearson(sum(it.is_sampled for it in head.requests), len(head.requests), confidence=CONFIDENCE)
        for head in heads
    ]
    values = [each.value for each in estimates]
    low = [each.value - each.low for each in estimates]
    high = [each.high - each.value for each in estimates]
    axes.plot([0.005, 1], [0.005, 1], color=GREY, linestyle="--", label="promised")
    axes.errorbar(ratios, values, yerr=[low, high], fmt="o", color=BLUE, capsize=4, label="kept, 99.9 %")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("ratio")
    axes.set_ylabel("share of traces kept")
    axes.legend()


def _draw_decisions(axes: Axes, heads: Sequence[HeadRun]) -> None:
    edges = np.linspace(0, 1, _BINS + 1)
    for row, head in enumerate(heads):
        kept = random_bits([it for it in head.requests if it.is_sampled])
        dropped = random_bits([it for it in head.requests if not it.is_sampled])
        for bits, colour, label in ((dropped, GREY, "dropped"), (kept, GREEN, "kept")):
            heights, _ = np.histogram(bits, edges)
            scaled = heights / max(1, len(head.requests) / _BINS) * 0.4
            axes.bar(
                edges[:-1],
                scaled,
                width=1 / _BINS,
                bottom=row,
                align="edge",
                color=colour,
                alpha=0.8,
                label=label if row == 0 else None,
            )
        axes.plot([1 - head.ratio] * 2, [row - 0.05, row + 0.75], color=RED, linewidth=1)
    axes.set_yticks(range(len(heads)), [f"{head.ratio:g}" for head in heads])
    axes.set_xlabel("the trace id's random bits (red: the ratio's threshold)")
    axes.set_ylabel("ratio")
    axes.legend(loc="upper left")


def _draw_limit(axes: Axes, run: RateRun) -> None:
    offered, kept = kept_per_second(run)
    seconds = range(len(offered))
    axes.step(seconds, offered, where="post", color=GREY, label="requests/s")
    axes.bar(seconds, kept, width=1, align="edge", color=BLUE, label="traces kept")
    axes.axhline(run.per_second, color=RED, linewidth=1, label=f"limit {run.per_second:g}/s")
    axes.set_yscale("symlog", linthresh=10)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seconds")
    axes.set_title("rate_limited under a burst", fontsize=10)
    axes.legend()


def _draw_counts(axes: Axes, run: SamplingRun) -> None:
    labels = [*(f"head {head.ratio:g}" for head in run.heads), f"tail {run.tail.percentage:g} %"]
    true = [*(len(head.requests) for head in run.heads), len(run.tail.requests)]
    calls = [*(head.calls for head in run.heads), run.tail.calls]
    counted = [sum(each.total.values()) for each in calls]
    stored = [
        *(it.stored.asked for it in run.heads),
        run.tail.must_keep.asked + run.tail.kept_of_the_rest,
    ]
    places = np.arange(len(labels))
    for offset, values, colour, label in (
        (-0.27, true, GREY, "requests"),
        (0.0, counted, ORANGE, "counted by span metrics"),
        (0.27, stored, GREEN, "traces stored"),
    ):
        axes.bar(places + offset, values, width=0.27, color=colour, label=label)
    axes.set_xticks(places, labels, rotation=20)
    axes.legend()


def _configuration(run: SamplingRun) -> PageTable:
    rows = [[name, value] for name, value in run.configuration.items()]
    return PageTable("Configuration, but for the samplers", ["variable", "value"], rows, is_code=True)
