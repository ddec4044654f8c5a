"""Runs functions of any kind, and defines the exceptions that they raise."""

import asyncio
import inspect
from collections.abc import Callable
from contextlib import aclosing
from typing import Any


class BoomError(Exception):
    """The exception that a body raises in these tests."""


class ThrownError(Exception):
    """The exception that a consumer throws into a generator in these tests."""


def run(function: Callable[..., Any], *args: Any) -> Any:
    """Runs a function of any kind to its end; returns a generator's return value or last item."""
    result = function(*args)
    if inspect.isgenerator(result):
        try:
            while True:
                next(result)
        except StopIteration as stop:
            return stop.value
    if inspect.isasyncgen(result):

        async def last() -> Any:
            async with aclosing(result):
                return [item async for item in result][-1]

        return asyncio.run(last())
    return asyncio.run(result) if inspect.iscoroutine(result) else result
