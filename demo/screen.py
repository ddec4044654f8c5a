"""Shows the story live on a terminal, or as a line every few seconds on other output."""

import math
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from demo.story import Phase, Promise, Reading, Story, percentile

_BREAKER_COLOURS = {"closed": "green", "half_open": "yellow", "open": "red"}
_PHASE_WORDS = {
    Phase.HEALTHY: ("the Collector is up", "green"),
    Phase.OUTAGE: ("the Collector was killed", "red"),
    Phase.RECOVERY: ("the Collector is back", "yellow"),
}
_RECENT_SECONDS = 3.0
_BAR_WIDTH = 30
_HISTORY = 24
"""Seconds of the breaker's history."""


def picture(story: Story, now: float, received: int) -> RenderableType:
    """Returns the live view at a moment."""
    words, colour = _PHASE_WORDS[story.phase(now)]
    headline = Text.assemble((f" {words} ", f"bold white on {colour}"), f"   {now:4.0f} s")
    latest = story.latest()
    return Panel(
        Group(
            headline,
            Text(),
            _requests(story, now),
            Text(),
            _services(story, latest),
            Text(),
            _ledger(latest, received),
        ),
        title="where does each span go when its Collector dies?",
        width=min(100, Console().width),
    )


def line(story: Story, now: float, received: int) -> str:
    """Returns the same in one line, for output that is not a terminal."""
    latest = story.latest().values()
    breakers = ", ".join(f"{reading.service} {reading.breaker}" for reading in latest)
    recent = _recent(story, now)
    sums = {
        key: sum(getattr(reading.ledger, key) for reading in latest)
        for key in ("ended", "delivered", "in_memory", "spooled")
    }
    return (
        f"{now:4.0f} s  {_PHASE_WORDS[story.phase(now)][0]:<24}  breaker: {breakers}; p95 {_ms(recent, 95)}; "
        f"ended {sums['ended']}, delivered {sums['delivered']}, in memory {sums['in_memory']}, "
        f"on disk {sums['spooled']}; received {received}"
    )


def verdict(promises: Sequence[Promise]) -> Table:
    """Returns the verdict as a table."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for promise in promises:
        mark = Text("PASS", "bold green") if promise.is_kept else Text("FAIL", "bold red")
        table.add_row(mark, promise.text, Text(promise.figure, "dim"))
    return table


def _recent(story: Story, now: float) -> list[float]:
    return [request.latency_ms for request in story.requests[-2000:] if request.at > now - _RECENT_SECONDS]


def _ms(latencies: Sequence[float], percent: int) -> str:
    value = percentile(latencies, percent)
    return "     -" if math.isnan(value) else f"{value:6.1f} ms"


def _requests(story: Story, now: float) -> Text:
    recent = _recent(story, now)
    failed = sum(request.is_failed for request in story.requests)
    return Text.assemble(
        ("requests  ", "bold"),
        f"{len(recent) / _RECENT_SECONDS:5.0f}/s   p50 {_ms(recent, 50)}   "
        f"p95 {_ms(recent, 95)}   p99 {_ms(recent, 99)}   ",
        (f"{failed} failed", "bold red" if failed else "green"),
    )


def _services(story: Story, latest: dict[str, Reading]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("service", "breaker", "lately", "outbox", "spool"):
        table.add_column(heading)
    for name, reading in sorted(latest.items()):
        history = Text()
        for each in [each for each in story.readings if each.service == name][::2][-_HISTORY:]:
            history.append("█", _BREAKER_COLOURS.get(each.breaker, "white"))
        table.add_row(
            name,
            Text(reading.breaker, _BREAKER_COLOURS.get(reading.breaker, "white")),
            history,
            f"{reading.buffer_bytes / 1024:.0f} KiB",
            f"{reading.spool_bytes / 1024:.0f} KiB",
        )
    return table


def _ledger(latest: dict[str, Reading], received: int) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    ended = sum(reading.ledger.ended for reading in latest.values())
    for label, key, colour in (
        ("delivered", "delivered", "green"),
        ("in memory", "in_memory", "cyan"),
        ("on disk", "spooled", "yellow"),
    ):
        spans = sum(getattr(reading.ledger, key) for reading in latest.values())
        bar = ProgressBar(
            max(ended, 1), spans, width=_BAR_WIDTH, complete_style=colour, finished_style=colour
        )
        table.add_row(label, bar, f"{spans}")
    dropped = sum(sum(reading.ledger.dropped.values()) for reading in latest.values())
    bar = ProgressBar(max(ended, 1), dropped, width=_BAR_WIDTH, complete_style="red")
    table.add_row("dropped", bar, f"{dropped}")
    table.add_row("ended", "", f"{ended}")
    table.add_row("taken", "", f"{received}, as the Collector counts")
    return table
