"""The page "Dashboards": Grafana's panels, for machines without Grafana."""

import asyncio

from nicegui import ui

from console.dashboards.definitions import Dashboard, Panel, Variable, dashboards, fill_legend
from console.dashboards.drawing import PanelBox, Stretches
from console.dashboards.window import Window
from console.frame import frame
from stack.backends.prometheus import AsyncPrometheus, Exemplar, PrometheusError, Series

_REFRESH_SECONDS = 5.0
_AT_ONCE = 4
_RANGES = {5: "5 minutes", 15: "15 minutes", 60: "1 hour", 360: "6 hours"}


def add_dashboards_page(prometheus: AsyncPrometheus, *, grafana_page: str | None) -> None:
    """Adds the pages `/dashboards` and `/dashboards/<uid>`.

    Args:
        prometheus: the client for the queries.
        grafana_page: Grafana's address; None if it does not run.
    """
    known = dashboards()

    @ui.page("/dashboards", title="telemetry: dashboards")
    async def first() -> None:
        ui.navigate.to(f"/dashboards/{next(iter(known))}")

    @ui.page("/dashboards/{uid}", title="telemetry: dashboards")
    async def one(uid: str) -> None:
        with frame("Dashboards"):
            with ui.row().style("gap: 6px 18px").props('role="navigation" aria-label="Dashboards"'):
                for each in known.values():
                    link = ui.link(each.title, f"/dashboards/{each.uid}")
                    if each.uid == uid:
                        link.props('aria-current="page"').style("font-weight: 700")
                if grafana_page is not None:
                    ui.link("in Grafana", f"{grafana_page}/d/{uid}", new_tab=True)
            if uid not in known:
                ui.label(f"there is no dashboard {uid}").classes("card warning")
                return
            view = _View(known[uid], prometheus)
        ui.timer(_REFRESH_SECONDS, view.show, immediate=True)


class _View:
    """One open dashboard."""

    def __init__(self, dashboard: Dashboard, prometheus: AsyncPrometheus) -> None:
        self._dashboard = dashboard
        self._prometheus = prometheus
        self._is_asking = self._is_outdated = False
        self._gate = asyncio.Semaphore(_AT_ONCE)
        ui.label(dashboard.description).classes("hint")
        with ui.row().classes("items-end").style("gap: 12px"):
            self._range = ui.select(_RANGES, label="of the last", value=5, on_change=self.show)
            self._choices = [
                (
                    each,
                    ui.select(
                        each.options([]), label=each.title.lower(), value=each.first, on_change=self.show
                    ).style("min-width: 130px"),
                )
                for each in dashboard.variables
            ]
        self._trouble = ui.label("").classes("error")
        self._boxes: list[tuple[Panel, PanelBox]] = []
        row = ""
        with ui.element("section").classes("panels"):
            for panel in dashboard.panels:
                if panel.row != row:
                    row = panel.row
                    ui.label(row).classes("row-title")
                with ui.element("div").classes("card").style(f"grid-column: span {panel.width}"):
                    ui.label(panel.title).classes("card-title")
                    ui.label(panel.description).classes("hint")
                    self._boxes.append((panel, PanelBox(panel)))

    async def show(self) -> None:
        """Queries and draws; repeats that if it was called again meanwhile, as by another choice."""
        self._is_outdated = True
        if self._is_asking:
            return
        self._is_asking = True
        try:
            while self._is_outdated:
                self._is_outdated = False
                await self._draw()
        finally:
            self._is_asking = False

    async def _draw(self) -> None:
        window = Window.until_now(60 * int(self._range.value or 5))
        try:
            # Services and routes appear only with their first request.
            for variable, choice in self._choices:
                await self._offer(variable, choice, window)
            stretches = await self._stretches(window)
            await asyncio.gather(*(self._show(panel, box, window, stretches) for panel, box in self._boxes))
            self._trouble.set_text("")
        except PrometheusError as error:
            self._trouble.set_text(str(error))

    async def _show(self, panel: Panel, box: PanelBox, window: Window, stretches: Stretches) -> None:
        answers: list[list[Series]] = []
        exemplars: list[Exemplar] = []
        for target in panel.targets:
            expression = window.fill(target.expression, self._values())
            async with self._gate:
                if target.is_instant:
                    answers.append(await self._prometheus.instant(expression, at=window.end))
                else:
                    answers.append(await self._over_time(expression, window))
                if target.has_exemplars:
                    found = await self._prometheus.exemplars(expression, start=window.start, end=window.end)
                    exemplars += window.highest_of_each_step(found)
        chosen = {variable.name: str(choice.value) for variable, choice in self._choices}
        box.show(answers, exemplars, window, stretches, chosen)

    async def _offer(self, variable: Variable, choice: ui.select, window: Window) -> None:
        metric = window.fill(variable.metric, self._values())
        found = await self._prometheus.values(variable.label, metric, start=window.start, end=window.end)
        options = variable.options(found)
        if options != choice.options:
            choice.set_options(options, value=choice.value if choice.value in options else variable.first)

    def _values(self) -> dict[str, str]:
        return {variable.name: variable.fill(str(choice.value)) for variable, choice in self._choices}

    async def _stretches(self, window: Window) -> Stretches:
        found = await self._over_time(self._dashboard.annotation, window)
        return [
            (
                series.points[0][0] * 1000,
                series.points[-1][0] * 1000,
                fill_legend("{{kind}}: {{name}}", series.labels),
            )
            for series in found
            if series.points
        ]

    async def _over_time(self, expression: str, window: Window) -> list[Series]:
        return await self._prometheus.range(expression, start=window.start, end=window.end, step=window.step)
