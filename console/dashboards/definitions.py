"""What a dashboard's file says, as far as the console draws it."""

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
    row_link: str
    """Where a table's row leads: a path of this page with `${…}` for variables and labels; empty for none."""


@dataclass(frozen=True, slots=True)
class Variable:
    """What the reader chooses: the values of a label."""

    name: str
    title: str
    metric: str
    """Whose label it is: a selector, perhaps with variables before this one in it."""
    label: str
    of_all: str | None
    """The regular expression that takes every value; None where one has to be chosen."""
    first: str
    """What is chosen at first, if it is there."""

    def options(self, found: Iterable[str]) -> dict[str, str]:
        """What can be chosen of the values that there are, with the words for it."""
        return {self.first: "all" if self.first == self.of_all else self.first} | {one: one for one in found}

    def fill(self, value: str) -> str:
        """A chosen value as a query's string has it, as Grafana writes it."""
        if value == self.of_all:
            return value
        # A regular expression where all can be chosen, inside a string of PromQL.
        return (re.escape(value) if self.of_all else value).replace("\\", r"\\").replace('"', r"\"")


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One file."""

    uid: str
    title: str
    description: str
    panels: tuple[Panel, ...]
    annotation: str
    """The query whose series are stretches of time that something went on."""
    variables: tuple[Variable, ...]


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
        # Jaeger's search is the traces' page here, with the same parameters.
        row_link=next(iter(defaults.get("links", ())), {"url": ""})["url"].replace(
            "${jaeger}/search", "/traces"
        ),
    )


def fill_legend(legend: str, labels: Mapping[str, str]) -> str:
    """The legend with these labels in it."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), legend)
