"""Controls: buttons that break and restore the Collector, a burst of load, and sliders for the batching."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from nicegui import ui

from console.control import BURST_RATE, BURST_SECONDS, Control, ControlError
from stack.runtime import PartState

_PART = "collector"
_BATCH_SIZES = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
_DELAYS_MS = (50, 100, 200, 400, 700, 1000, 2000, 5000)
_RATIOS = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0)


class Controls:
    """The page's controls; `show` adapts them to the state of the parts."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._state = PartState.UP
        with ui.element("section").classes("controls card").props('aria-label="Controls"'):
            self._kill = ui.button("Kill Collector", icon="bolt", on_click=lambda: self._do(self._end))
            self._freeze = ui.button("Freeze", icon="ac_unit", on_click=lambda: self._do(self._pause))
            self._start = ui.button(
                "Start Collector", icon="play_arrow", on_click=lambda: self._do(self._begin)
            )
            self._burst = ui.button("Burst of load", icon="groups", on_click=self._turn_burst)
            for button, colour in (
                (self._kill, "negative"),
                (self._freeze, "warning"),
                (self._start, "positive"),
                (self._burst, "primary"),
            ):
                button.props(f'no-caps unelevated color="{colour}"')
            with ui.element("div").classes("sliders"):
                self._sliders = (
                    _Slider("batch size", "batch_size", _BATCH_SIZES, "{:.0f} spans", control),
                    _Slider("delay", "delay_ms", _DELAYS_MS, "{:.0f} ms", control),
                    _Slider("sampling ratio", "sampling_ratio", _RATIOS, "{:.0%}", control),
                )

    async def show(self, states: Mapping[str, PartState]) -> None:
        """Enables the actions that are possible now, and shows the effective settings."""
        self._state = states.get(_PART, PartState.STOPPED)
        is_up = self._state in {PartState.UP, PartState.UNHEALTHY}
        is_busy = self._control.is_busy
        self._kill.set_enabled(not is_busy and self._state is not PartState.STOPPED)
        self._freeze.set_enabled(not is_busy and is_up)
        self._start.set_enabled(not is_busy and not is_up)
        self._burst.set_text(
            "End the burst" if self._control.has_burst else f"Burst: {BURST_RATE}/s for {BURST_SECONDS} s"
        )
        tuning = await self._control.tuning()
        for slider in self._sliders:
            slider.show(tuning)

    async def _end(self) -> None:
        await self._control.kill(_PART)

    async def _pause(self) -> None:
        await self._control.freeze(_PART)

    async def _begin(self) -> None:
        await self._control.start(_PART, self._state)

    async def _turn_burst(self) -> None:
        if self._control.has_burst:
            self._control.end_burst()
            return
        self._burst.set_text("End the burst")
        await self._try(self._control.burst)

    async def _do(self, act: Callable[[], Awaitable[None]]) -> None:
        for button in (self._kill, self._freeze, self._start):
            button.disable()
        await self._try(act)

    async def _try(self, act: Callable[[], Awaitable[None]]) -> None:
        try:
            await act()
        except ControlError as error:
            # The page may have been closed meanwhile.
            if not self._burst.is_deleted:
                ui.notify(str(error), type="negative", multi_line=True)


class _Slider:
    """A slider for one setting, with steps that make a difference."""

    def __init__(self, title: str, name: str, steps: Sequence[float], pattern: str, control: Control) -> None:
        self._name = name
        self._steps = steps
        self._pattern = pattern
        self._control = control
        self._is_held = False
        with ui.element("div") as self._box:
            with ui.row().classes("justify-between w-full no-wrap").style("gap: 8px"):
                ui.label(title)
                self._now = ui.label("-").classes("now").props(f'data-setting="{name}"')
            self._slider = ui.slider(min=0, max=len(steps) - 1, step=1, value=0, on_change=self._hold)
            self._slider.props(f'dense snap markers aria-label="{title}"')
            self._slider.on("change", lambda event: self._override(event.args))

    def show(self, tuning: Mapping[str, float | None] | None) -> None:
        """Shows the effective value, unless the user is moving the slider."""
        value = tuning.get(self._name) if tuning else None
        # Hidden in production, where the services have no such route, and for a sampler without a ratio.
        self._box.set_visibility(value is not None)
        if value is not None and not self._is_held:
            nearest = min(range(len(self._steps)), key=lambda n: abs(self._steps[n] - value))
            self._slider.value = nearest
            self._is_held = False
            # Last, because it may lie between two steps, and the slider has shown one of them.
            self._say(value)

    def _hold(self) -> None:
        self._is_held = True
        self._say(self._steps[int(self._slider.value or 0)])

    def _say(self, value: float) -> None:
        """Shows the value, also to screen readers, which would otherwise read the number of the step."""
        text = self._pattern.format(value)
        if text != self._now.text:
            self._now.set_text(text)
            self._slider.props(f'aria-valuetext="{text}"')

    async def _override(self, position: int) -> None:
        # The slider's own value update is throttled, and arrives after this event.
        self._slider.value = position
        try:
            await self._control.tune(**{self._name: self._steps[position]})
        except ControlError as error:
            ui.notify(str(error), type="negative", multi_line=True)
        finally:
            self._is_held = False
