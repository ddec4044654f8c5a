"""The kinds of panels in the dashboards; everything about their look is defined here."""

from collections.abc import Mapping, Sequence
from string import ascii_uppercase

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import heatmap as heatmap_builders
from grafana_foundation_sdk.builders import prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders.dashboard import DashboardLink, FieldColor, ThresholdsConfig
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    DataSourceRef,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from grafana.queries import Query
from telemetry.export.breaker import BreakerState

PROMETHEUS = DataSourceRef(type_val="prometheus", uid="prometheus")

Panel = timeseries.Panel | stat.Panel | statetimeline.Panel | heatmap_builders.Panel | table.Panel
FULL, HALF, THIRD, QUARTER, SIXTH = 24, 12, 8, 6, 4
SPANS_PER_SECOND = "suffix: spans/s"
GOOD, WARNING, BAD, LIMIT = "green", "orange", "red", "text"

# Numbered as in the rule job:telemetry_breaker_state:code.
BREAKER_CODES = {
    0: (BreakerState.CLOSED, GOOD),
    1: (BreakerState.DISABLED, "gray"),
    2: (BreakerState.HALF_OPEN, "yellow"),
    3: (BreakerState.OPEN, BAD),
    4: (BreakerState.FORCED_OPEN, "purple"),
}

_HEIGHT, _STAT_HEIGHT = 8, 4

Steps = Mapping[float, str]
"""The colours by the lowest value that has them; below the first, values are good."""


def time_series(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    steps: Steps | None = None,
    is_stacked: bool = False,
    limits: Sequence[str] = (),
    width: int = HALF,
) -> timeseries.Panel:
    """Builds a panel of curves over time.

    Args:
        title: the panel's title.
        description: what it shows, in a sentence.
        unit: Grafana's name of the unit.
        queries: the queries, with one curve for each returned series.
        steps: the thresholds, shown as dashed lines.
        is_stacked: whether the curves are stacked, except those of `limits`.
        limits: the legends of curves that show upper limits: dashed, and not filled.
        width: the width, of 24 columns.
    """
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(PROMETHEUS)
        .unit(unit)
        .min(0)
        .height(_HEIGHT)
        .span(width)
        .fill_opacity(60 if is_stacked else 10)
        .show_points(VisibilityMode.NEVER)
        .thresholds(_thresholds(steps))
        .thresholds_style(
            common_builders.GraphThresholdsStyleConfig().mode(
                GraphThresholdsStyleMode.DASHED if steps else GraphThresholdsStyleMode.OFF
            )
        )
        .legend(
            common_builders.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(show_legend=True)
        )
        .tooltip(
            common_builders.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING)
        )
        .targets([_target(query, ref).range() for query, ref in _lettered(queries)])
    )
    if is_stacked:
        panel.stacking(common_builders.StackingConfig().mode(StackingMode.NORMAL).group("A"))
    for legend in limits:
        panel.override_by_name(
            legend,
            [
                model.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [8, 8]}),
                model.DynamicConfigValue("custom.fillOpacity", 0),
                model.DynamicConfigValue("custom.stacking", {"mode": "none"}),
                model.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": LIMIT}),
            ],
        )
    return panel


def figure(
    title: str, description: str, unit: str, *queries: Query, steps: Steps | None = None, width: int = SIXTH
) -> stat.Panel:
    """Builds a panel with the latest value, large, in its threshold's colour, over a curve of its history."""
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(PROMETHEUS)
        .unit(unit)
        .height(_STAT_HEIGHT)
        .span(width)
        .thresholds(_thresholds(steps))
        .color_scheme(FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
        .color_mode(BigValueColorMode.VALUE)
        .graph_mode(BigValueGraphMode.AREA)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        .targets([_target(query, ref).range() for query, ref in _lettered(queries)])
    )


def totals(title: str, description: str, unit: str, *queries: Query, width: int = FULL) -> stat.Panel:
    """Builds a panel of figures side by side, each from one query over the displayed time range."""
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(PROMETHEUS)
        .unit(unit)
        .decimals(0)
        .height(_STAT_HEIGHT)
        .span(width)
        .thresholds(_thresholds(None))
        .color_mode(BigValueColorMode.NONE)
        .graph_mode(BigValueGraphMode.NONE)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        .targets([_target(query, ref).instant() for query, ref in _lettered(queries)])
    )


def breaker_timeline(title: str, description: str, query: Query, *, width: int = FULL) -> statetimeline.Panel:
    """Builds a panel with a band for each series, coloured by the breaker state of its value's number."""
    mapping = model.ValueMap(
        {
            str(code): model.ValueMappingResult(text=state.value, color=colour, index=code)
            for code, (state, colour) in BREAKER_CODES.items()
        }
    )
    return (
        statetimeline.Panel()
        .title(title)
        .description(description)
        .datasource(PROMETHEUS)
        .unit("none")
        .height(_HEIGHT)
        .span(width)
        .mappings([mapping])
        .thresholds(_thresholds({2: "yellow", 3: BAD, 4: "purple"}))
        .color_scheme(FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
        .fill_opacity(80)
        .show_value(VisibilityMode.AUTO)
        .merge_values(merge_values=True)
        .legend(common_builders.VizLegendOptions().show_legend(show_legend=True))
        .targets([_target(query, "A").range()])
    )


def heatmap(
    title: str, description: str, unit: str, query: Query, *, width: int = HALF
) -> heatmap_builders.Panel:
    """Builds a panel with the observations in each bucket of a histogram over time; the query is by `le`."""
    return (
        heatmap_builders.Panel()
        .title(title)
        .description(description)
        .datasource(PROMETHEUS)
        .unit(unit)
        .height(_HEIGHT)
        .span(width)
        .calculate(calculate=False)
        .color(
            # The last three are Grafana's defaults: the builder writes 0, and 0 steps give no colour.
            heatmap_builders.HeatmapColorOptions()
            .mode(HeatmapColorMode.SCHEME)
            .scheme("Oranges")
            .fill("dark-orange")
            .exponent(0.5)
            .steps(64)
        )
        .y_axis(heatmap_builders.YAxisConfig().unit(unit))
        .filter_values(heatmap_builders.FilterValueRange().le(1e-9))
        .targets([_target(query, "A").range().format(PromQueryFormat.HEATMAP)])
    )


def by_labels(
    title: str,
    description: str,
    *columns: tuple[Query, str],
    link: tuple[str, str],
    steps: Mapping[str, Steps],
    width: int = FULL,
) -> table.Panel:
    """Builds a table with a row for each set of labels, and a column for each query, named by its legend.

    Args:
        title: the panel's title.
        description: what it shows, in a sentence.
        columns: the queries, each with its unit.
        link: title and address of the link in a row's first column.
        steps: the colours by lowest value, by legend.
        width: the width, of 24 columns.
    """
    queries = [query for query, _ in columns]
    names = {
        f"Value #{letter}": query.legend for letter, query in zip(ascii_uppercase, queries, strict=False)
    }
    panel = (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(PROMETHEUS)
        .unit("none")
        .height(_HEIGHT)
        .span(width)
        .thresholds(_thresholds(None))
        .targets(
            [_target(query, ref).instant().format(PromQueryFormat.TABLE) for query, ref in _lettered(queries)]
        )
        .with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(
            model.DataTransformerConfig(
                id_val="organize", options={"excludeByName": {"Time": True}, "renameByName": names}
            )
        )
        .data_links([DashboardLink(link[0]).url(link[1]).target_blank(target_blank=True)])
    )
    for query, unit in columns:
        properties = [model.DynamicConfigValue("unit", unit)]
        if query.legend in steps:
            properties += [
                model.DynamicConfigValue("thresholds", _thresholds(steps[query.legend]).build()),
                model.DynamicConfigValue("custom.cellOptions", {"type": "color-text"}),
            ]
        panel.override_by_name(query.legend, properties)
    return panel


def _lettered(queries: Sequence[Query]) -> list[tuple[Query, str]]:
    return list(zip(queries, ascii_uppercase, strict=False))


def _thresholds(steps: Steps | None) -> ThresholdsConfig:
    rest = [model.Threshold(value=value, color=colour) for value, colour in sorted((steps or {}).items())]
    return (
        ThresholdsConfig()
        .mode(model.ThresholdsMode.ABSOLUTE)
        .steps([model.Threshold(value=None, color=GOOD), *rest])
    )


def _target(query: Query, ref_id: str) -> prometheus.Dataquery:
    return (
        prometheus.Dataquery()
        .ref_id(ref_id)
        .datasource(PROMETHEUS)
        .expr(query.expression)
        .legend_format(query.legend)
        .exemplar(query.has_exemplars)
    )
