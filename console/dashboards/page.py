"""The page "Dashboards": Grafana's panels, for machines without Grafana."""

import asyncio
import time

from nicegui import ui

from console.dashboards.definitions import Dashboard, Panel, dashboards
from console.dashboards.drawing import PanelBox, Stretches
from console.dashboards.prometheus import Prometheus, PrometheusError, Series, Window
from console.frame import frame
from telemetry import names

_REFRESH_SECONDS = 5.0
_AT_ONCE = 4
_RANGES = {5: "5 minutes", 15: "15 minutes", 60: "1 hour", 360: "6 hours"}
_ALL = ".+"


def add_dashboards_page(prometheus: Prometheus, *, grafana_page: str | None) -> None:
    """Adds the pages `/dashboards` and `/dashboards/<uid>`.

    Args:
        prometheus: who answers the queries.
        grafana_page: Grafana's address; None where it does not run.
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
                ui.label(f"there is no dashboard {uid}").classes("card warn")
                return
            view = _View(known[uid], prometheus)
        await view.begin()
        ui.timer(_REFRESH_SECONDS, view.show, immediate=True)


class _View:
    """One open dashboard."""

    def __init__(self, dashboard: Dashboard, prometheus: Prometheus) -> None:
        self._dashboard = dashboard
        self._prometheus = prometheus
        self._is_asking = False
        self._gate = asyncio.Semaphore(_AT_ONCE)
        ui.label(dashboard.description).classes("hint")
        with ui.row().classes("items-end").style("gap: 12px"):
            self._range = ui.select(_RANGES, label="of the last", value=5, on_change=self.show)
            self._job = ui.select([], label="service", on_change=self.show).style("min-width: 130px")
            self._job.set_visibility(
                any("$job" in each.expression for p in dashboard.panels for each in p.targets)
            )
        self._trouble = ui.label("").classes("ill")
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

    async def begin(self) -> None:
        """Offers the services that there are."""
        try:
            jobs = await self._prometheus.values("job", f"{names.REQUEST_COUNT}_total")
        except PrometheusError:
            jobs = []
        choices = {} if self._dashboard.has_one_job else {_ALL: "all"}
        choices |= {job: job for job in jobs}
        first = (
            _ALL
            if _ALL in choices
            else "storefront"
            if "storefront" in choices
            else next(iter(choices), None)
        )
        self._job.set_options(choices, value=first)

    async def show(self) -> None:
        """Asks anew, and draws."""
        if self._is_asking:
            return
        self._is_asking = True
        try:
            end = time.time()
            window = Window(end - 60 * int(self._range.value or 5), end)
            stretches = await self._stretches(window)
            await asyncio.gather(*(self._show(panel, box, window, stretches) for panel, box in self._boxes))
            self._trouble.set_text("")
        except PrometheusError as error:
            self._trouble.set_text(str(error))
        finally:
            self._is_asking = False

    async def _show(self, panel: Panel, box: PanelBox, window: Window, stretches: Stretches) -> None:
        variables = {"job": str(self._job.value or _ALL), "route": _ALL}

        async def ask(expression: str, *, is_instant: bool) -> list[Series]:
            async with self._gate:
                filled = window.fill(expression, variables)
                api = self._prometheus
                return await (api.instant(filled, window) if is_instant else api.range(filled, window))

        answers = [await ask(target.expression, is_instant=target.is_instant) for target in panel.targets]
        box.show(answers, window, stretches)

    async def _stretches(self, window: Window) -> Stretches:
        found = await self._prometheus.range(self._dashboard.annotation, window)
        return [
            (series.points[0][0] * 1000, series.points[-1][0] * 1000, series.named("{{kind}}: {{name}}"))
            for series in found
            if series.points
        ]
