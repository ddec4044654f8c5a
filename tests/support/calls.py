"""Functions of every kind that double a number, and a call that records its events."""

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

from telemetry.tracing.calls import Call, Layer, wrap


class Diary(Call):
    """A call that records its events."""

    def __init__(self, events: list[Any]) -> None:
        super().__init__()
        self.events = events

    def on_resume(self) -> None:
        """Records the beginning of a step."""
        self.events.append("resume")

    def on_pause(self) -> None:
        """Records the end of a step."""
        self.events.append("pause")

    def on_end(self, error: BaseException | None) -> None:
        """Records the end, with the type of the exception that caused it, if any."""
        self.events.append(("end", type(error) if error else None))


def keep_diary(function: Callable[..., Any], events: list[Any]) -> Callable[..., Any]:
    """Wraps a function so that its calls record their events."""
    return wrap(function, Layer.SPAN, lambda name: Diary(events))


def plain(value: int) -> int:
    """Doubles."""
    return value * 2


async def coroutine(value: int) -> int:
    """Doubles, later."""
    await asyncio.sleep(0)
    return value * 2


def generator(value: int) -> Generator[int, None, int]:
    """Doubles, in steps."""
    yield value
    return value * 2


async def async_generator(value: int) -> AsyncIterator[int]:
    """Doubles, in steps, later."""
    yield value
    await asyncio.sleep(0)
    yield value * 2


KINDS = [plain, coroutine, generator, async_generator]
