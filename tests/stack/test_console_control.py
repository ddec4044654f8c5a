"""The console's buttons: what they do to the parts, the load and the services."""

import asyncio
from collections.abc import Callable, Iterator

import httpx
import pytest

from console import control as control_module
from console.control import Control, ControlError
from stack.native.runtime import NativeRuntime
from stack.runtime import PartState
from stack.service_variables import authorization
from stack.settings import StackSettings


@pytest.fixture
def control(
    settings: StackSettings, runtime: NativeRuntime, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Control]:
    """The controls of a stack that is not up, with short bursts to its storefront."""
    monkeypatch.setenv("STOREFRONT_PORT", str(settings.storefront_port))
    monkeypatch.setenv("PROMETHEUS_PORT", str(settings.prometheus_port))
    monkeypatch.setattr(control_module, "BURST_SECONDS", 2)
    made = Control(settings, runtime)
    yield made
    made.end_burst()


@pytest.mark.timeout(180)
def test_parts_are_ended_frozen_and_started(control: Control, runtime: NativeRuntime) -> None:
    """The buttons act as `make` does; starting a frozen part resumes it."""

    async def press() -> list[PartState]:
        states = []
        for act in (
            lambda: control.freeze("collector"),
            lambda: control.start("collector", PartState.PAUSED),
            lambda: control.kill("collector"),
            lambda: control.start("collector", PartState.STOPPED),
        ):
            await act()
            states += [each.state for each in await control.statuses() if each.part.name == "collector"]
        return states

    runtime.up()
    assert asyncio.run(press()) == [PartState.PAUSED, PartState.UP, PartState.STOPPED, PartState.UP]


def test_what_cannot_be_done_is_said(control: Control) -> None:
    """The error says why."""
    with pytest.raises(ControlError, match="the stack is not up"):
        asyncio.run(control.kill("collector"))
    with pytest.raises(ControlError, match="the storefront does not answer"):
        asyncio.run(control.tune(batch_size=64))


def test_a_burst_without_a_shop_says_why_it_failed(control: Control, settings: StackSettings) -> None:
    """The error has its output, since nobody sees its terminal."""
    with pytest.raises(ControlError, match=f"No storefront at http://127.0.0.1:{settings.storefront_port}"):
        asyncio.run(control.burst())
    assert not control.has_burst


@pytest.mark.timeout(180)
def test_bursts_come_one_at_a_time_fail_aloud_and_can_be_ended(
    control: Control,
    runtime: NativeRuntime,
    settings: StackSettings,
    monkeypatch: pytest.MonkeyPatch,
    until: Callable[[str, Callable[[], object]], None],
) -> None:
    """Ending a burst is not a failure."""

    async def ended() -> None:
        burst = asyncio.create_task(control.burst())
        # Before that there is nothing to end.
        await asyncio.to_thread(until, "a burst", lambda: control._burst)
        assert control.has_burst
        await control.burst()  # another page's: it returns, and changes nothing
        control.end_burst()
        await burst

    runtime.up()
    asyncio.run(control.burst())
    monkeypatch.setattr(control_module, "BURST_SECONDS", 300)
    asyncio.run(ended())
    assert not control.has_burst
    monkeypatch.setattr(control_module, "BURST_SECONDS", 2)
    shop = f"http://127.0.0.1:{settings.storefront_port}"
    httpx.put(
        f"{shop}/faults", json={"error_rate": 1}, headers=authorization(settings), trust_env=False
    ).raise_for_status()
    with pytest.raises(ControlError, match="requests of the burst failed"):
        asyncio.run(control.burst())


@pytest.mark.timeout(180)
def test_sliders_reach_both_services_and_report_a_refusal(
    control: Control, runtime: NativeRuntime, settings: StackSettings
) -> None:
    """The values shown are those that the services report."""
    runtime.up()
    asyncio.run(control.tune(batch_size=64))
    for port in (settings.storefront_port, settings.inventory_port):
        tuning = httpx.get(f"http://127.0.0.1:{port}/tuning", trust_env=False).json()
        assert tuning["batch_size"] == 64
    shown = asyncio.run(control.tuning())
    assert shown is not None
    assert shown["batch_size"] == 64
    with pytest.raises(ControlError, match="the storefront refuses"):
        asyncio.run(control.tune(batch_size=0))


@pytest.mark.timeout(180)
def test_of_several_overrides_at_once_the_last_one_stays(
    control: Control,
    runtime: NativeRuntime,
    settings: StackSettings,
    until: Callable[[str, Callable[[], object]], None],
) -> None:
    """A browser under load may send a slider's value twice, on its way and at the end."""

    def sizes() -> set[int]:
        ports = (settings.storefront_port, settings.inventory_port)
        answers = [
            httpx.get(f"http://127.0.0.1:{port}/health/telemetry", trust_env=False).json() for port in ports
        ]
        return {answer["batch"]["size"] for answer in answers}

    async def override() -> None:
        for last in range(100, 110):
            await asyncio.gather(*(control.tune(batch_size=size) for size in (16, 32, 64, last)))
            await asyncio.to_thread(until, f"batches of {last}", lambda last=last: sizes() == {last})

    runtime.up()
    asyncio.run(override())


@pytest.mark.timeout(180)
def test_sliders_are_absent_in_production(
    control: Control, runtime: NativeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The services have no such route there."""
    monkeypatch.setenv("ENVIRONMENT", "production")
    runtime.up()
    assert asyncio.run(control.tuning()) is None
    with pytest.raises(ControlError, match="the storefront refuses"):
        asyncio.run(control.tune(batch_size=64))
