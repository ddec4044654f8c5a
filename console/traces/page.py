"""The page "Traces": a search, and one trace as a waterfall."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from nicegui import ui

from console.charts import COLOURS
from console.frame import frame
from stack.backends.jaeger import AsyncJaeger, JaegerError
from stack.backends.traces import Span, Trace
from stack.services import STOREFRONT

_SHOWN, _LOOKED_THROUGH = 30, 300
_LOOKBACKS = {
    "5m": ("5 minutes", timedelta(minutes=5)),
    "15m": ("15 minutes", timedelta(minutes=15)),
    "1h": ("1 hour", timedelta(hours=1)),
    "6h": ("6 hours", timedelta(hours=6)),
}
_FIRST_SERVICE, _FIRST_LOOKBACK = STOREFRONT.name, "15m"
_ERROR_COLOUR = "#ef4444"
_ASKING = "asking Jaeger …"
_WHY_NONE = "it was not sampled, is not there yet, or is forgotten."


def add_traces_page(jaeger: AsyncJaeger, *, jaeger_page: str | None) -> None:
    """Adds the pages `/traces` and `/traces/<id>`.

    Args:
        jaeger: the client for the traces.
        jaeger_page: the address of Jaeger's own web page; None if there is none.
    """

    @ui.page("/traces", title="telemetry: traces")
    async def traces(service: str = "", operation: str = "", lookback: str = "") -> None:
        with frame("Traces"):
            search = _Search(jaeger, lookback)
        # After the page has loaded: a slow Jaeger must not delay it.
        ui.timer(0.01, lambda: search.begin(service, operation), once=True)

    @ui.page("/traces/{trace_id}", title="telemetry: a trace")
    async def trace(trace_id: str) -> None:
        with frame("Traces"):
            ui.link("all traces", "/traces")
            with ui.element("div").props('aria-live="polite"') as place:
                ui.label(_ASKING).classes("soft")

        async def fill() -> None:
            try:
                found = await jaeger.trace(trace_id)
                trouble = "" if found else f"Jaeger has no trace {trace_id}: {_WHY_NONE}"
            except JaegerError as error:
                found, trouble = None, str(error)
            place.clear()
            with place:
                if found is None:
                    ui.label(trouble).classes("card error")
                    return
                if jaeger_page is not None:
                    ui.link("open in Jaeger", f"{jaeger_page}/trace/{found.trace_id}", new_tab=True)
                _draw(found)

        ui.timer(0.01, fill, once=True)


class _Search:
    """One open search."""

    def __init__(self, jaeger: AsyncJaeger, lookback: str) -> None:
        self._jaeger = jaeger
        with ui.element("form").classes("search card").props('role="search"') as form:
            self._service = ui.select([], label="service")
            self._operation = ui.select([""], label="operation", value="", with_input=True)
            self._at_least = ui.number("at least, ms", min=0, value=0)
            self._lookback = ui.select(
                {name: title for name, (title, _) in _LOOKBACKS.items()},
                label="of the last",
                value=lookback if lookback in _LOOKBACKS else _FIRST_LOOKBACK,
            )
            self._only_errors = ui.checkbox("with errors only")
            ui.button("Search", icon="search").props('type="submit" no-caps unelevated').classes("go")
            self._trace_id = ui.input("or a trace id").on("keydown.enter.prevent", self._open)
        form.on("submit.prevent", self._search)
        self._found = ui.element("section").classes("traces").props('aria-label="Traces" aria-live="polite"')

    async def begin(self, service: str = "", operation: str = "") -> None:
        """Fills in the choices, and shows the latest traces.

        Args:
            service: the initial choice of service; empty for the storefront.
            operation: the initial choice of operation; empty for any.
        """
        self._say(_ASKING, "soft")
        try:
            services = await self._jaeger.services()
        except JaegerError as error:
            self._say(str(error), "error")
            return
        if not services:
            self._say("Jaeger has no trace yet: send the shop a request, or a burst of load.", "soft")
            return
        first = next((each for each in (service, _FIRST_SERVICE) if each in services), services[0])
        self._service.set_options(services, value=first)
        await self._offer_operations(operation)
        self._service.on_value_change(lambda: self._offer_operations(""))
        await self._search()

    async def _offer_operations(self, wanted: str) -> None:
        try:
            operations = await self._jaeger.operations(str(self._service.value))
        except JaegerError:
            operations = []
        self._operation.set_options(
            {"": "any", **{name: name for name in operations}}, value=wanted if wanted in operations else ""
        )

    def _open(self) -> None:
        trace_id = (self._trace_id.value or "").strip()
        if trace_id:
            ui.navigate.to(f"/traces/{quote(trace_id, safe='')}")

    async def _search(self) -> None:
        if not self._service.value:
            await self.begin()
            return
        only_errors = bool(self._only_errors.value)
        now = datetime.now(UTC)
        _, lookback = _LOOKBACKS[str(self._lookback.value)]
        try:
            found = await self._jaeger.search(
                str(self._service.value or ""),
                operation=str(self._operation.value or ""),
                at_least_ms=float(self._at_least.value or 0),
                since=now - lookback,
                until=now,
                # Jaeger's API has no filter for errors: its results are filtered here.
                limit=_LOOKED_THROUGH if only_errors else _SHOWN,
            )
        except JaegerError as error:
            self._say(str(error), "error")
            return
        shown = [trace for trace in found if trace.errors or not only_errors][:_SHOWN]
        if not shown:
            among = f" among the latest {len(found)}" if only_errors else ""
            self._say(f"no such trace{among}", "soft")
            return
        longest = max(trace.duration_ms for trace in shown)
        self._found.clear()
        with self._found:
            for trace in shown:
                _row(trace, longest)

    def _say(self, text: str, colour: str) -> None:
        self._found.clear()
        with self._found:
            ui.label(text).classes(f"card {colour}")


def _row(trace: Trace, longest_ms: float) -> None:
    failed = " failed" if trace.errors else ""
    with ui.link(target=f"/traces/{trace.trace_id}").classes(f"trace card{failed}"):
        with ui.element("div"):
            ui.label(f"{trace.root.service}: {trace.root.name}").classes("card-title")
            ui.label(trace.trace_id).classes("mono soft")
        with ui.element("div").style("text-align: right"):
            ui.label(_milliseconds(trace.duration_ms)).classes("card-title")
            errors = f", {trace.errors} failed" if trace.errors else ""
            services = " and ".join(trace.services)
            ui.label(f"{len(trace.spans)} spans of {services}{errors}").classes("hint")
            ui.label(f"{_moment(trace.start_ns):%H:%M:%S}").classes("hint")
        ui.element("div").classes("bar").style(
            f"width: {max(1.0, 100 * trace.duration_ms / longest_ms):.1f}%"
        )


def _draw(trace: Trace) -> None:
    colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(trace.services)}
    with ui.element("section").classes("card").props('aria-label="Trace"'):
        ui.label(f"{trace.root.service}: {trace.root.name}").classes("card-title")
        ui.label(trace.trace_id).classes("mono soft")
        errors = f", {trace.errors} failed" if trace.errors else ""
        ui.label(
            f"{_moment(trace.start_ns):%Y-%m-%d %H:%M:%S} UTC, {_milliseconds(trace.duration_ms)}, "
            f"{len(trace.spans)} spans{errors}"
        ).classes("hint")
        with ui.row().style("gap: 14px"):
            for name, colour in colours.items():
                ui.label(name).classes("chip").style(f"color: {colour}")
    with ui.element("section").classes("card").style("margin-top: 10px").props('aria-label="Spans"'):
        for span, depth in trace.spans:
            _line(trace, span, depth, colours[span.service])


def _line(trace: Trace, span: Span, depth: int, colour: str) -> None:
    offset_ms = (span.start_ns - trace.start_ns) / 1e6
    whole = max(trace.duration_ms, 1e-6)
    left, width = 100 * offset_ms / whole, 100 * span.duration_ms / whole
    with ui.expansion().classes("w-full").props("dense") as opened:
        with opened.add_slot("header"), ui.element("div").classes("span"):
            mark = "! " if span.is_error else ""
            who = (
                ui.label(f"{mark}{span.name}").classes("who").style(f"padding-left: {min(depth, 12) * 12}px")
            )
            if span.is_error:
                who.classes("error")
            with ui.element("div").classes("lane"):
                ui.element("div").classes("piece").style(
                    f"left: {left:.2f}%; width: {width:.2f}%; "
                    f"background: {_ERROR_COLOUR if span.is_error else colour}"
                )
                side = f"right: {100 - left:.2f}%" if left + width > 75 else f"left: {left + width:.2f}%"  # noqa: PLR2004
                ui.label(_milliseconds(span.duration_ms)).classes("time").style(side)
        facts = {
            "service": span.service,
            "kind": span.kind,
            "begins after": _milliseconds(offset_ms),
            "span id": span.span_id,
            **({"error": span.status_message or "yes"} if span.is_error else {}),
            **span.attributes,
        }
        _facts(facts)
        for event in span.events:
            ui.label(f"{event.name}, {_milliseconds(event.offset_ms)} into it").classes("card-title")
            _facts(event.attributes)


def _facts(facts: Mapping[str, str]) -> None:
    with ui.element("div").classes("attributes"):
        for key, value in facts.items():
            ui.label(key).classes("soft")
            ui.label(value).classes("mono")


def _moment(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC)


def _milliseconds(value: float) -> str:
    return f"{value / 1000:.2f} s" if value >= 1000 else f"{value:.1f} ms"  # noqa: PLR2004
