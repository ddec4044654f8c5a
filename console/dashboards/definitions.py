"""Parses the dashboards' files, as far as the console draws them."""

import json
import re
from collections.abc import Iterable, Mapping
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
    has_exemplars: bool


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
    """In columns, of which a row has 24."""
    targets: tuple[Target, ...]
    steps: Mapping[float, str]
    """The colours by the lowest value that has them."""
    is_stacked: bool
    limits: frozenset[str]
    """The legends of dashed curves."""
    words: Mapping[float, tuple[str, str]]
    """Text and colour by value."""
    column_units: Mapping[str, str]
    """The units of a table's columns."""
    row_link: str
    """The link of a table's rows: a console path with `${…}` for variables and labels; empty for none."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable whose value the user chooses from those of a label."""

    name: str
    title: str
    metric: str
    """The selector of the metric with this label; it may refer to earlier variables."""
    label: str
    of_all: str | None
    """The regular expression that matches every value; None if one value must be chosen."""
    first: str
    """The initial choice, if it exists."""

    def options(self, found: Iterable[str]) -> dict[str, str]:
        """Returns the choices among the values found, with their labels."""
        return {self.first: "all" if self.first == self.of_all else self.first} | {one: one for one in found}

    def fill(self, value: str) -> str:
        """Escapes a chosen value for a string in a query, as Grafana does."""
        if value == self.of_all:
            return value
        # A regular expression if "all" is a choice; in either case inside a PromQL string.
        return (re.escape(value) if self.of_all else value).replace("\\", r"\\").replace('"', r"\"")


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One dashboard, as parsed from its file."""

    uid: str
    title: str
    description: str
    panels: tuple[Panel, ...]
    annotation: str
    """The query whose series are the time spans of experiments."""
    variables: tuple[Variable, ...]


def dashboards() -> dict[str, Dashboard]:
    """Returns all dashboards by uid, in display order."""
    found = [_dashboard(json.loads(file.read_text())) for file in FOLDER.glob("*.json")]
    return {each.uid: each for each in sorted(found, key=lambda each: _ORDER.index(each.uid))}


def _dashboard(raw: dict[str, Any]) -> Dashboard:
    row, panels = "", []
    for each in raw["panels"]:
        if each["type"] == "row":
            row = each["title"]
        else:
            panels.append(_panel(each, row))
    (annotation,) = raw["annotations"]["list"]
    return Dashboard(
        uid=raw["uid"],
        title=raw["title"],
        description=raw["description"],
        panels=tuple(panels),
        annotation=annotation["expr"],
        variables=tuple(
            _variable(each) for each in raw["templating"].get("list", ()) if each["type"] == "query"
        ),
    )


def _variable(raw: dict[str, Any]) -> Variable:
    found = re.fullmatch(r"label_values\((.+), (\w+)\)", raw["query"])
    if found is None:
        raise ValueError(f"variable {raw['name']}: cannot read {raw['query']!r}")
    of_all = raw["allValue"] if raw["includeAll"] else None
    first = raw["current"]["value"] if of_all is None else of_all
    return Variable(raw["name"], raw["label"], found[1], found[2], of_all, first)


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
            Target(each["expr"], each["legendFormat"], bool(each.get("instant")), bool(each.get("exemplar")))
            for each in raw["targets"]
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
        # The console's traces page takes the place of Jaeger's search; it has the same parameters.
        row_link=next(iter(defaults.get("links", ())), {"url": ""})["url"].replace(
            "${jaeger}/search", "/traces"
        ),
    )


def fill_legend(legend: str, labels: Mapping[str, str]) -> str:
    """Returns the legend with its placeholders replaced by these labels."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), legend)
