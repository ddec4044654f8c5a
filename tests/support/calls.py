"""Functions of every kind that double a number, and calls that keep a diary of them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

from telemetry.tracing.calls import Call, Layer, wrap


class Diary(Call):
    """A call that writes down its turning points."""

    def __init__(self, events: list[Any]) -> None:
        super().__init__()
        self.events = events

    def on_resume(self) -> None:
        """Notes the beginning of a step."""
        self.events.append("resume")

    def on_pause(self) -> None:
        """Notes the end of a step."""
        self.events.append("pause")

    def on_end(self, error: BaseException | None) -> None:
        """Notes the end, and what kind of exception made it."""
        self.events.append(("end", type(error) if error else None))


def keep_diary(function: Callable[..., Any], events: list[Any]) -> Callable[..., Any]:
    """Wraps a function so that its calls write down their turning points."""
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
