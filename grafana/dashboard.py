"""The common parts of all dashboards: links to one another, variables, annotations, numbered panels."""

from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.builders.dashboard import (
    AnnotationQuery,
    Dashboard,
    DashboardLink,
    QueryVariable,
    Row,
    TextBoxVariable,
)
from grafana_foundation_sdk.models import dashboard as model

from grafana.panels import PROMETHEUS, Panel
from grafana.queries import ACTIVITY
from telemetry.metrics import names

JAEGER_PAGE = "http://127.0.0.1:16686"
"""With the port in `.env`; a user who moved Jaeger's port corrects it in the dashboard's text field."""
_TAG = "telemetry"
_REQUESTS = f"{names.REQUEST_COUNT}_total"


def dashboard(
    title: str,
    uid: str,
    description: str,
    *,
    variables: Sequence[QueryVariable | TextBoxVariable],
    rows: Mapping[str, Sequence[Panel]],
) -> model.Dashboard:
    """Builds a dashboard from rows of panels, and places and numbers them."""
    builder = (
        Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([_TAG])
        .readonly()
        .time("now-15m", "now")
        .refresh("5s")
        .timezone("browser")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .links(
            [
                DashboardLink("Dashboards")
                .type(model.DashboardLinkType.DASHBOARDS)
                .tags([_TAG])
                .keep_time(keep_time=True)
                # Without the variables: a `$job` that is one service cannot take another dashboard's "All".
                .include_vars(include_vars=False)
            ]
        )
        .annotation(
            AnnotationQuery()
            .name("Load lab")
            .datasource(PROMETHEUS)
            .enable(enable=True)
            .icon_color("purple")
            .expr(f"max by (kind, name) ({ACTIVITY}) > 0")
            .step("2s")
            .title_format("{{kind}}: {{name}}")
            .tag_keys("kind")
        )
    )
    for variable in variables:
        builder.with_variable(variable)
    for row, panels in rows.items():
        builder.with_row(Row(row))
        for panel in panels:
            builder.with_panel(panel)
    made = builder.build()
    for number, panel_or_row in enumerate(made.panels or (), start=1):
        panel_or_row.id_val = number
    for link in made.links or ():
        # Above the dashboard: the builder hides links in a menu, and its type has no other placement.
        link.placement = None  # type: ignore[assignment]
    return made


def job_variable(*, is_multiple: bool = False) -> QueryVariable:
    """Builds `$job`: the service, or with `is_multiple` a regular expression for several."""
    variable = _query_variable("job", "Service", f"label_values({_REQUESTS}, job)")
    if is_multiple:
        return _with_all(variable).description("The services that are looked at.")
    return variable.description("The service that is looked at.").current(
        model.VariableOption(selected=True, text="storefront", value="storefront")
    )


def route_variable() -> QueryVariable:
    """Builds `$route`: a regular expression for route templates of `$job`."""
    query = f'label_values({_REQUESTS}{{job="$job"}}, {names.ROUTE})'
    return _with_all(_query_variable("route", "Route", query)).description(
        "The routes that the panels of requests show."
    )


def jaeger_variable() -> TextBoxVariable:
    """Builds `$jaeger`: the address of Jaeger's web page for the user's browser."""
    return (
        TextBoxVariable("jaeger")
        .label("Jaeger's page")
        .description("Where links to traces lead.")
        .default_value(JAEGER_PAGE)
    )


def _query_variable(name: str, label: str, query: str) -> QueryVariable:
    # Services and routes appear only with their first request, so each refresh queries them again.
    return (
        QueryVariable(name)
        .label(label)
        .query(query)
        .datasource(PROMETHEUS)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
    )


def _with_all(variable: QueryVariable) -> QueryVariable:
    return (
        variable.multi(multi=True)
        .include_all(include_all=True)
        .all_value(".+")
        .current(model.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )
