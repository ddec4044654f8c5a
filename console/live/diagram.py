"""A diagram of the pipeline: services, Collector and Jaeger with their states, and rates on the arrows."""

from collections.abc import Mapping

from nicegui import ui

from console.rates import Rates
from console.readings import Reading
from stack.runtime import PartState
from telemetry.export.breaker import BreakerState

_NODE_CLASSES = {
    PartState.UP: "up",
    PartState.PAUSED: "paused",
    PartState.UNHEALTHY: "down",
    PartState.STOPPED: "down",
}
_STATE_WORDS = {
    PartState.UP: "up",
    PartState.PAUSED: "frozen",
    PartState.UNHEALTHY: "not well",
    PartState.STOPPED: "down",
}
_CHIPS = {
    BreakerState.CLOSED: "ok",
    BreakerState.HALF_OPEN: "warning",
    BreakerState.OPEN: "error",
    BreakerState.FORCED_OPEN: "error",
    BreakerState.DISABLED: "soft",
}
_ALL_CHIPS, _ALL_NODES = "ok warning error soft", "up paused down"


class Diagram:
    """The diagram, drawn when it is created; `show` updates it."""

    def __init__(self, services: tuple[str, ...]) -> None:
        self._services = {}
        with ui.element("section").classes("flow").props('aria-label="The pipeline"'):
            with ui.element("div").classes("stack"):
                for name in services:
                    self._services[name] = _ServiceNode(name)
            self._sent = _Arrow("spans/s delivered")
            self._collector = _Node("Collector")
            self._stored = _Arrow("spans/s sent on")
            self._jaeger = _Node("Jaeger")

    def show(self, reading: Reading, rates: Rates | None, states: Mapping[str, PartState]) -> None:
        """Shows the current figures and states.

        Args:
            reading: the latest reading.
            rates: the rates up to that reading; None at the beginning.
            states: the parts' states from the runtime; a part without one is judged by whether it answers.
        """
        delivered = 0.0
        is_stuck = False
        for name, node in self._services.items():
            service = reading.services.get(name)
            found = rates.services.get(name) if rates else None
            node.show_state(states.get(name), is_answering=service is not None)
            node.show_breaker(service.breaker if service else None)
            node.figures(
                f"{found.requests:.0f} requests/s, {found.ended:.0f} spans/s end" if found else "no figures",
                f"{service.waiting:,.0f} spans wait" if service else "",
            )
            delivered += found.delivered if found else 0.0
            is_stuck |= service is not None and service.breaker is not BreakerState.CLOSED
        self._sent.show(delivered if rates else None, is_stuck=is_stuck)
        collector, accepted = reading.collector, rates.accepted if rates else None
        self._collector.show_state(states.get("collector"), is_answering=collector is not None)
        self._collector.figures(
            f"{accepted:.0f} spans/s accepted" if accepted is not None else "no figures",
            f"{collector.queued:,.0f} queued, {collector.refused:,.0f} refused so far" if collector else "",
        )
        self._stored.show(rates.sent if rates else None, is_stuck=collector is None)
        jaeger, stored = reading.jaeger, rates.stored if rates else None
        self._jaeger.show_state(states.get("jaeger"), is_answering=jaeger is not None)
        self._jaeger.figures(
            f"{stored:.0f} spans/s stored" if stored is not None else "no figures",
            f"{jaeger.stored:,.0f} spans stored since it started" if jaeger else "",
        )


class _Node:
    def __init__(self, name: str) -> None:
        with ui.element("div").classes("card node") as self._box:
            self._state = ui.label("…").classes("state soft")
            ui.label(name).classes("name")
            self._extra()
            self._lines = [ui.label("").classes("figure") for _ in range(2)]

    def _extra(self) -> None:
        """Adds elements besides the figures."""

    def show_state(self, state: PartState | None, *, is_answering: bool) -> None:
        # A part that answers is up: its metrics are read each second, but its runtime's state comes later.
        if is_answering or state is None:
            state = PartState.UP if is_answering else PartState.STOPPED
        elif state is PartState.UP:
            state = PartState.UNHEALTHY
        self._state.set_text(_STATE_WORDS[state])
        colour = {"up": "ok", "paused": "warning", "down": "error"}[_NODE_CLASSES[state]]
        self._state.classes(colour, remove=_ALL_CHIPS)
        self._box.classes(_NODE_CLASSES[state], remove=_ALL_NODES)

    def figures(self, *texts: str) -> None:
        for line, text in zip(self._lines, texts, strict=True):
            line.set_text(text)


class _ServiceNode(_Node):
    def _extra(self) -> None:
        self._breaker = ui.label("breaker").classes("chip soft")

    def show_breaker(self, state: BreakerState | None) -> None:
        self._breaker.set_text(f"breaker {state.value.replace('_', ' ')}" if state else "breaker unknown")
        self._breaker.classes(_CHIPS[state] if state else "soft", remove=_ALL_CHIPS)


class _Arrow:
    def __init__(self, what: str) -> None:
        with ui.element("div").classes("arrow") as self._box:
            self._rate = ui.label("-")
            ui.element("div").classes("line")
            ui.label(what)

    def show(self, rate: float | None, *, is_stuck: bool) -> None:
        self._rate.set_text("-" if rate is None else f"{rate:,.0f}")
        state = "stuck" if is_stuck and not rate else "busy" if rate else ""
        self._box.classes(state, remove="busy stuck")
