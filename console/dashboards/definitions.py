"""What a dashboard's file says, as far as the console draws it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "grafana" / "dashboards"
_ORDER = ("service", "telemetry-pipeline", "collector", "load-test")


@dataclass(frozen=True, slots=True)
class Target:
    """One query of a panel."""

    expression: str
    legend: str
    is_instant: bool


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel."""

    row: str
    title: str
    description: str
    kind: str
    """`timeseries`, `stat`, `state-timeline`, `heatmap` or `table`."""
    unit: str
    width: int
    """Of 24 columns."""
    targets: tuple[Target, ...]
    steps: Mapping[float, str]
    """From which value on which colour."""
    is_stacked: bool
    limits: frozenset[str]
    """Legends of curves that are dashed."""
    words: Mapping[float, tuple[str, str]]
    """Of a value its text and colour."""
    column_units: Mapping[str, str]
    """Of a table's columns."""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One file."""

    uid: str
    title: str
    description: str
    panels: tuple[Panel, ...]
    annotation: str
    """The query whose series are stretches of time that something went on."""
    has_one_job: bool
    """Whether `$job` is one service and no regular expression."""


def dashboards() -> dict[str, Dashboard]:
    """All of them by uid, in the order of their pages."""
    found = [_dashboard(json.loads(file.read_text())) for file in FOLDER.glob("*.json")]
    return {each.uid: each for each in sorted(found, key=lambda each: _ORDER.index(each.uid))}


def _dashboard(raw: dict[str, Any]) -> Dashboard:
    row, panels = "", []
    for each in raw["panels"]:
        if each["type"] == "row":
            row = each["title"]
        else:
            panels.append(_panel(each, row))
    variables = {each["name"]: each for each in raw["templating"].get("list", ())}
    (annotation,) = raw["annotations"]["list"]
    return Dashboard(
        uid=raw["uid"],
        title=raw["title"],
        description=raw["description"],
        panels=tuple(panels),
        annotation=annotation["expr"],
        has_one_job="job" in variables and not variables["job"].get("multi", False),
    )


def _panel(raw: dict[str, Any], row: str) -> Panel:
    defaults = raw["fieldConfig"]["defaults"]
    overrides = {
        each["matcher"]["options"]: {one["id"]: one["value"] for one in each["properties"]}
        for each in raw["fieldConfig"]["overrides"]
    }
    words = {
        float(value): (shown["text"], shown["color"])
        for mapping in defaults.get("mappings", ())
        for value, shown in mapping["options"].items()
    }
    return Panel(
        row=row,
        title=raw["title"],
        description=raw["description"],
        kind=raw["type"],
        unit=defaults["unit"],
        width=raw["gridPos"]["w"],
        targets=tuple(
            Target(each["expr"], each["legendFormat"], bool(each.get("instant"))) for each in raw["targets"]
        ),
        steps={
            step["value"]: step["color"]
            for step in defaults.get("thresholds", {}).get("steps", ())
            if step["value"] is not None
        },
        is_stacked=defaults.get("custom", {}).get("stacking", {}).get("mode") == "normal",
        limits=frozenset(name for name, changed in overrides.items() if "custom.lineStyle" in changed),
        words=words,
        column_units={name: changed["unit"] for name, changed in overrides.items() if "unit" in changed},
    )
