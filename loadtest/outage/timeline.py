"""The timeline of an outage: load and p99, the breaker, pending and delivered spans."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import LogFormatter

from loadtest.outage.data import OutageRun
from loadtest.pictures import BLUE, BREAKER_COLOURS, GREEN, GREY, ORANGE, PURPLE, RED, look
from loadtest.watch import Reading

_MIB = 2**20


def capitalized(sentence: str) -> str:
    """Capitalizes the first letter and leaves the rest unchanged."""
    return sentence[:1].upper() + sentence[1:]


def draw_timeline(run: OutageRun) -> Figure:
    """Draws the whole run over one time axis, with the fault shaded."""
    with look():
        figure = Figure(figsize=(11, 9.5), layout="constrained")
        axes = figure.subplots(4, 1, sharex=True, height_ratios=[3, 1.1, 2.4, 2.4])
        load, breaker, waiting, delivered = axes
        end = max(readings[-1].at for readings in run.readings.values()) - run.phases.load
        for each in axes:
            _shade(each, run)
            each.set_xlim(0, end)
        _draw_load(load, run)
        _draw_breaker(breaker, run)
        _draw_waiting(waiting, run)
        _draw_delivered(delivered, run)
        delivered.set_xlabel("seconds since the load began")
        figure.suptitle(
            f"{capitalized(run.fault.what)}: {run.seconds:g} s at {run.rate:g} requests/s", x=0.01, ha="left"
        )
        return figure


def _shade(axes: Axes, run: OutageRun) -> None:
    start = run.phases.load
    axes.axvspan(run.phases.fault - start, run.phases.mended - start, color=RED, alpha=0.08, linewidth=0)
    for moment in (run.phases.fault, run.phases.mended):
        axes.axvline(moment - start, color=RED, alpha=0.6, linewidth=1)
    axes.axvline(run.phases.quiet - start, color=GREY, linestyle=":", linewidth=1)


def _draw_load(axes: Axes, run: OutageRun) -> None:
    seconds: dict[int, list[float]] = {}
    failed: dict[int, int] = {}
    for record in run.requests:
        second = math.floor(record.due - run.phases.load)
        seconds.setdefault(second, []).append(record.latency_seconds * 1000)
        failed[second] = failed.get(second, 0) + bool(record.error)
    # The last second is incomplete.
    moments = sorted(seconds)[:-1]
    middle = [moment + 0.5 for moment in moments]
    # Averaged over two seconds: over one, the shoppers' steady rhythm would appear as a sawtooth.
    counts = np.array([len(seconds[moment]) for moment in moments], dtype=float)
    counts[1:] = (counts[1:] + counts[:-1]) / 2
    axes.plot(middle, counts, color=GREY, label="requests/s")
    axes.bar(middle, [failed[moment] for moment in moments], color=RED, label="failed/s")
    axes.set_ylabel("requests/s")
    axes.set_ylim(bottom=0)
    latency = axes.twinx()
    latency.grid(visible=False)
    latency.spines["right"].set_visible(True)
    for share, colour in ((50, GREEN), (99, BLUE)):
        values = [float(np.percentile(seconds[moment], share)) for moment in moments]
        latency.plot(middle, values, color=colour, label=f"p{share}")
    latency.set_yscale("log")
    for axis_format in (latency.yaxis.set_major_formatter, latency.yaxis.set_minor_formatter):
        axis_format(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.8)))
    latency.set_ylabel("latency, ms")
    handles = [*axes.get_legend_handles_labels()[0], *latency.get_legend_handles_labels()[0]]
    axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.07, 0.5))
    phases = run.phases
    for text, start, end in (
        ("before", phases.load, phases.fault),
        ("fault", phases.fault, phases.mended),
        ("recovery", phases.mended, phases.quiet),
    ):
        axes.text(
            (start + end) / 2 - phases.load, 1.02, text, transform=axes.get_xaxis_transform(), ha="center"
        )


def _draw_breaker(axes: Axes, run: OutageRun) -> None:
    names = sorted(run.readings)
    seen = set()
    for row, service in enumerate(names):
        for state, start, end in _bands(run.readings[service]):
            seen.add(state)
            axes.broken_barh(
                [(start - run.phases.load, end - start)], (row - 0.35, 0.7), color=BREAKER_COLOURS[state]
            )
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.grid(visible=False)
    axes.legend(
        handles=[
            Patch(color=BREAKER_COLOURS[state], label=state) for state in BREAKER_COLOURS if state in seen
        ],
        loc="center left",
        bbox_to_anchor=(1.005, 0.5),
        title="breaker",
    )


def _bands(readings: Sequence[Reading]) -> list[tuple[str, float, float]]:
    bands: list[tuple[str, float, float]] = []
    for reading in readings:
        if bands and bands[-1][0] == reading.breaker:
            bands[-1] = (reading.breaker, bands[-1][1], reading.at)
        else:
            start = bands[-1][2] if bands else reading.at
            bands.append((reading.breaker, start, reading.at))
    return bands


def _draw_waiting(axes: Axes, run: OutageRun) -> None:
    (times, memory), (_, disk) = _summed(run, "in_memory"), _summed(run, "spooled")
    axes.stackplot(times, memory, disk, colors=[ORANGE, PURPLE], labels=["in memory", "on disk"], alpha=0.8)
    axes.set_ylabel("spans that wait")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper left")
    _, rss = _summed(run, "rss_bytes")
    if not np.isfinite(rss).all():
        return  # the services' system does not report it
    room = axes.twinx()
    room.grid(visible=False)
    room.spines["right"].set_visible(True)
    room.plot(times, np.asarray(rss) / _MIB, color=GREY, linestyle="--", label="memory of both services")
    room.set_ylabel("MiB")
    room.set_ylim(0, 1.35 * max(rss) / _MIB)
    room.legend(loc="upper right")


def _draw_delivered(axes: Axes, run: OutageRun) -> None:
    for field, colour, label in (("ended", GREY, "ended/s"), ("delivered", GREEN, "delivered/s")):
        times, values = _summed(run, field)
        # Averaged over a second, because a batch is delivered at once.
        whole = np.arange(0, times[-1], 1.0)
        axes.step(
            whole[:-1], np.diff(np.interp(whole, times, values)), where="post", color=colour, label=label
        )
    axes.set_ylabel("spans/s")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper left")


def _summed(run: OutageRun, field: str) -> tuple[list[float], list[float]]:
    """Sums a field over both services, at the times of one of them."""
    base, *others = run.readings.values()
    times = [reading.at - run.phases.load for reading in base]
    total = np.array([getattr(reading, field) for reading in base], dtype=float)
    for other in others:
        other_times = [reading.at - run.phases.load for reading in other]
        total += np.interp(times, other_times, [getattr(reading, field) for reading in other])
    return times, total.tolist()
