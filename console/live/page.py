"""The page "Live"."""

from collections.abc import Callable, Mapping

from nicegui import ui

from console.charts import INK, ORANGE, RED, Curve, Options, band_data, bands, curves
from console.control import Control
from console.frame import frame
from console.live.controls import Controls
from console.live.diagram import Diagram
from console.live.history import History, summed
from console.observer import PERIOD_SECONDS, Observer
from console.rates import Rates, ServiceRates, request_cost
from console.readings import Reading
from grafana.queries import STAGES_OF_SPANS
from stack.runtime import PartState
from stack.services import SERVICE_NAMES, STOREFRONT

_STATES_SECONDS = 2.0


def add_live_page(observer: Observer, control: Control) -> None:
    """Adds the page at `/`.

    Args:
        observer: the source of the readings.
        control: the actions of the buttons.
    """

    @ui.page("/", title="telemetry: live")
    async def live() -> None:
        observer.watchers += 1
        ui.context.client.on_delete(lambda: setattr(observer, "watchers", observer.watchers - 1))
        with frame("Live"):
            view = _View(observer, control)
        ui.timer(PERIOD_SECONDS, view.show)
        ui.timer(_STATES_SECONDS, view.ask_states, immediate=True)


class _View:
    """One open page."""

    def __init__(self, observer: Observer, control: Control) -> None:
        self._observer = observer
        self._control = control
        self._history = History()
        self._states: Mapping[str, PartState] = {}
        self._diagram = Diagram(SERVICE_NAMES)
        self._controls = Controls(control)
        self._figures = _Figures()
        self._charts = _charts()

    async def ask_states(self) -> None:
        """Asks the runtime for the parts' states, which takes longer than reading their metrics."""
        statuses = await self._control.statuses()
        self._states = {status.part.name: status.state for status in statuses}
        await self._controls.show(self._states)

    def show(self) -> None:
        """Shows the latest reading."""
        history = self._history
        history.follow(tuple(self._observer.history))
        if not history.readings:
            return
        reading, rates = history.readings[-1], history.rates[-1]
        self._diagram.show(reading, rates, self._states)
        self._figures.show(reading, rates)
        for chart, draw in self._charts:
            chart.run_chart_method("setOption", draw(history))


class _Figures:
    """The most important figures."""

    def __init__(self) -> None:
        self._labels = {}
        with ui.element("section").classes("figures").props('aria-label="Figures"'):
            for name, hint in (
                ("requests/s", "at the storefront"),
                ("p99", "of its requests, last 5 s"),
                ("spans waiting", "in memory and on disk"),
                ("spans lost", "since the services started"),
                ("telemetry's CPU", "own threads, of the storefront's CPU"),
                ("in requests", f"calibrated, not measured: {request_cost().sampled_us:.0f} µs a request"),
                ("freshness", "oldest span of a batch, delivered"),
            ):
                with ui.element("div").classes("card"):
                    ui.label(name).classes("card-title")
                    self._labels[name] = ui.label("-").classes("value").props(f'data-figure="{name}"')
                    ui.label(hint).classes("hint")

    def show(self, reading: Reading, rates: Rates | None) -> None:
        """Shows the current figures."""
        storefront = rates.services.get(STOREFRONT.name) if rates else None
        services = [service for service in reading.services.values() if service is not None]
        lost = sum(sum(service.lost.values()) for service in services)
        texts = {
            "requests/s": _number(storefront.requests if storefront else None, "{:.0f}"),
            "p99": _number(storefront.p99_ms if storefront else None, "{:.0f} ms"),
            "spans waiting": _number(sum(s.waiting for s in services) if services else None, "{:,.0f}"),
            "spans lost": _number(lost if services else None, "{:,.0f}"),
            "telemetry's CPU": _number(
                sum(storefront.telemetry_shares.values()) if storefront else None, "{:.1%}"
            ),
            "in requests": _number(storefront.calibrated_share if storefront else None, "~{:.0%}"),
            "freshness": _number(storefront.freshness_seconds if storefront else None, "{:.2f} s"),
        }
        for name, text in texts.items():
            self._labels[name].set_text(text)
        self._labels["spans lost"].classes("error" if lost else "", remove="error")


_Draw = Callable[[History], Options]


def _charts() -> list[tuple[ui.echart, _Draw]]:
    """Creates the charts; returns each with the function that makes its update for each second."""
    made: list[tuple[ui.echart, _Draw]] = []

    def add(title: str, hint: str, options: Options, draw: _Draw, *, is_low: bool = False) -> None:
        with ui.element("div").classes("card"):
            ui.label(title).classes("card-title")
            ui.label(hint).classes("hint")
            chart = ui.echart(options).classes("chart low" if is_low else "chart")
            chart.props(f'role="img" aria-label="{title}"')
        made.append((chart, draw))

    def add_curves(
        title: str,
        hint: str,
        drawn: Mapping[str, Callable[[History], Curve]],
        *,
        unit: str,
        right_unit: str | None = None,
        is_stacked: bool = False,
    ) -> None:
        empty = [curve(History()) for curve in drawn.values()]
        add(
            title,
            hint,
            curves(empty, unit=unit, right_unit=right_unit, is_stacked=is_stacked),
            lambda history: {
                "series": [{"data": [list(p) for p in curve(history).points]} for curve in drawn.values()]
            },
        )

    def of_storefront(pick: Callable[[ServiceRates], float | None]) -> Callable[[Rates], float | None]:
        return lambda rates: pick(found) if (found := rates.services.get(STOREFRONT.name)) else None

    def over_services(pick: Callable[[ServiceRates], float]) -> Callable[[Rates], float | None]:
        return lambda rates: summed([pick(found) for found in rates.services.values() if found is not None])

    def level(
        pick: Callable[[Reading], float | None],
    ) -> Callable[[History], list[tuple[float, float | None]]]:
        return lambda history: list(history.level(pick))

    with ui.element("section").classes("charts").props('aria-label="The last five minutes"'):
        add(
            "Breaker",
            "green closed, yellow probing, red open",
            bands([], SERVICE_NAMES),
            lambda history: {
                "series": [{"data": band_data(history.breaker_bands(SERVICE_NAMES), SERVICE_NAMES)}],
                "xAxis": {"min": history.readings[0].at * 1000, "max": history.readings[-1].at * 1000},
            },
            is_low=False,
        )
        add_curves(
            "Requests and latency",
            "the storefront's own figures",
            {
                "requests/s": lambda h: Curve("requests/s", h.rate(of_storefront(lambda r: r.requests))),
                "errors/s": lambda h: Curve("errors/s", h.rate(of_storefront(lambda r: r.errors)), RED),
                "p50": lambda h: Curve(
                    "p50 ms", h.rate(of_storefront(lambda r: r.p50_ms)), is_on_the_right=True
                ),
                "p99": lambda h: Curve(
                    "p99 ms", h.rate(of_storefront(lambda r: r.p99_ms)), ORANGE, is_on_the_right=True
                ),
            },
            unit="requests/s",
            right_unit="ms",
        )
        add_curves(
            "Spans waiting",
            "in memory, and on disk once the breaker is open",
            {
                "in memory": lambda h: Curve("in memory", h.level(_in_memory)),
                "on disk": lambda h: Curve("on disk", h.level(_on_disk)),
            },
            unit="spans",
            is_stacked=True,
        )
        add_curves(
            "Flow of spans",
            "what ends is delivered, or waits; after an outage more is delivered than ends",
            {
                "ended": lambda h: Curve("ended/s", h.rate(over_services(lambda r: r.ended))),
                "delivered": lambda h: Curve("delivered/s", h.rate(over_services(lambda r: r.delivered))),
                "lost": lambda h: Curve("lost/s", h.rate(over_services(lambda r: r.lost)), RED),
            },
            unit="spans/s",
        )
        add(
            "Ledger",
            "every span that ended, by what became of it; each bar is whole",
            _ledger_options(),
            _ledger_data,
        )
        add_curves(
            "What a batch costs",
            "CPU of telemetry's threads a span, and how old spans are when they arrive: move the sliders",
            {
                "cpu": lambda h: Curve("CPU µs a span", h.rate(of_storefront(lambda r: r.cpu_us_per_span))),
                "fresh": lambda h: Curve(
                    "freshness s", h.rate(of_storefront(lambda r: r.freshness_seconds)), is_on_the_right=True
                ),
                "spans": lambda h: Curve(
                    "spans an export", h.rate(of_storefront(lambda r: r.spans_per_export))
                ),
            },
            unit="µs, spans",
            right_unit="s",
        )
        add_curves(
            "CPU of telemetry",
            "share of the storefront's CPU; what requests spend is calibrated by make bench-request",
            {
                **{
                    stage: lambda h, stage=stage: Curve(  # type: ignore[misc]
                        f"{stage} %", h.rate(of_storefront(lambda r: _percent(r.telemetry_shares.get(stage))))
                    )
                    for stage in STAGES_OF_SPANS
                },
                "requests": lambda h: Curve(
                    "requests % (calibrated)", h.rate(of_storefront(lambda r: _percent(r.calibrated_share)))
                ),
            },
            unit="%",
            is_stacked=True,
        )
    return made


_LEDGER = {
    "delivered": "#10b981",
    "in memory": "#3b82f6",
    "on disk": "#f59e0b",
    "lost": "#ef4444",
}


def _ledger_options() -> Options:
    options = curves([], unit="")
    percent = {"color": INK, ":formatter": "(v) => v + ' %'", "showMaxLabel": True}
    return {
        **options,
        # Room for the right half of "100 %".
        "grid": {**options["grid"], "right": 24},
        "tooltip": {"trigger": "axis", "confine": True, "axisPointer": {"type": "shadow"}},
        "xAxis": {
            **options["yAxis"][0],
            "max": 100,
            "name": "",
            "axisLabel": percent,
        },
        "yAxis": {
            "type": "category",
            "data": list(SERVICE_NAMES),
            "inverse": True,
            "axisLabel": {"color": INK},
        },
        "series": [
            {"type": "bar", "name": name, "stack": "all", "color": colour, "data": []}
            for name, colour in _LEDGER.items()
        ],
    }


def _ledger_data(history: History) -> Options:
    latest = [history.readings[-1].services.get(name) for name in SERVICE_NAMES]
    totals = [(service.ended + service.adopted) if service else 0.0 for service in latest]
    parts = {
        "delivered": [service.delivered if service else 0.0 for service in latest],
        "in memory": [service.in_memory if service else 0.0 for service in latest],
        "on disk": [service.spooled if service else 0.0 for service in latest],
        "lost": [sum(service.lost.values()) if service else 0.0 for service in latest],
    }
    return {
        "series": [
            {
                "data": [
                    round(100 * count / total, 2) if total else 0
                    for count, total in zip(counts, totals, strict=True)
                ]
            }
            for counts in parts.values()
        ]
    }


def _in_memory(reading: Reading) -> float | None:
    return summed([service.in_memory for service in reading.services.values() if service])


def _on_disk(reading: Reading) -> float | None:
    return summed([service.spooled for service in reading.services.values() if service])


def _percent(share: float | None) -> float | None:
    return None if share is None else share * 100


def _number(value: float | None, pattern: str) -> str:
    return "-" if value is None else pattern.format(value)
