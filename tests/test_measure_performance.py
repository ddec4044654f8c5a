"""measure_performance records a function's own time and logs slow calls."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from opentelemetry import trace
from support.clock import Clock
from support.decorated import SLOW_CALL_MS, Observed, each_kind, each_order, make, stack
from support.functions import BoomError, run

from telemetry.decorators import measure_performance
from telemetry.metrics import names


@pytest.mark.parametrize(
    ("error", "outcome"), [(None, "ok"), (BoomError, "error"), (asyncio.CancelledError, "cancelled")]
)
@each_kind
def test_duration_is_recorded(
    observed: Observed, kind: str, error: type[BaseException] | None, outcome: str
) -> None:
    """A call's duration is recorded in milliseconds under its outcome, however it ends."""
    clock = Clock(now=100.0)

    def work() -> None:
        clock.pass_ms(250)
        if error is not None:
            raise error

    with suppress(BoomError, asyncio.CancelledError):
        run(measure_performance(clock=clock)(make(kind, work)))
    assert observed.calls() == {(kind, outcome): 1}
    assert observed.client.registry.get_sample_value(
        f"{names.FUNCTION_DURATION_MS}_sum",
        {names.FUNCTION: f"{make.__module__}.make.<locals>.{kind}", names.OUTCOME: outcome},
    ) == pytest.approx(250)


def test_consumers_time_is_not_the_generators(observed: Observed, caplog: pytest.LogCaptureFixture) -> None:
    """A slow consumer does not make a generator slow."""
    clock = Clock(now=100.0)

    @measure_performance(clock=clock)
    def items() -> Iterator[int]:
        for number in range(3):
            clock.pass_ms(99)
            yield number

    for _ in items():
        clock.pass_ms(10_000)
    assert caplog.records == []


@pytest.mark.parametrize("kind", ["coroutine", "async_generator"])
def test_waiting_is_the_functions_time(
    observed: Observed, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """A function that awaits something slow is slow."""
    clock = Clock(now=100.0)
    function = measure_performance(clock=clock)(make(kind, lambda: 42))

    async def consume() -> None:
        if kind == "coroutine":
            await function()
        else:
            assert [item async for item in function()] == ["first", 42]

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(consume())
            await asyncio.sleep(0)  # lets the function start to wait
            clock.pass_ms(400)

    asyncio.run(main())
    assert len(caplog.records) == 1


def slow(clock: Clock, milliseconds: float) -> Callable[[], None]:
    """Returns a function that takes that long."""

    def work() -> None:
        clock.pass_ms(milliseconds)

    return work


@each_order
def test_slow_call_is_logged(observed: Observed, caplog: pytest.LogCaptureFixture, order: Any) -> None:
    """The warning names function, duration and trace, in any order of decorators."""
    clock = Clock(now=100.0)
    replaced = [
        measure_performance(clock=clock) if decorator is measure_performance else decorator
        for decorator in order
    ]
    stack(replaced, slow(clock, 1234.5))()
    (record,) = caplog.records
    span = observed.spans["work"].context
    assert span is not None
    assert (record.name, record.levelno) == ("telemetry.decorators", logging.WARNING)
    assert record.getMessage() == (
        f"{__name__}.slow.<locals>.work took 1234.5 ms, more than {SLOW_CALL_MS} ms "
        f"(trace {trace.format_trace_id(span.trace_id)})"
    )


def test_slow_call_outside_a_trace_is_logged(observed: Observed, caplog: pytest.LogCaptureFixture) -> None:
    """The warning says that there is no trace."""
    clock = Clock(now=100.0)
    measure_performance(clock=clock)(slow(clock, 400))()
    assert [record.getMessage().rpartition("(")[2] for record in caplog.records] == ["trace none)"]


@pytest.mark.parametrize(
    ("slow_ms", "duration_ms", "is_slow"),
    [
        (None, SLOW_CALL_MS - 1, False),
        (None, SLOW_CALL_MS + 1, True),
        (10, 9, False),
        (10, 11, True),
        (0, 1, True),
    ],
)
def test_threshold(
    observed: Observed,
    caplog: pytest.LogCaptureFixture,
    slow_ms: float | None,
    duration_ms: float,
    is_slow: bool,
) -> None:
    """The decorator's threshold has precedence over the configuration's."""
    clock = Clock(now=100.0)
    measure_performance(slow_ms=slow_ms, clock=clock)(slow(clock, duration_ms))()
    assert len(caplog.records) == is_slow
