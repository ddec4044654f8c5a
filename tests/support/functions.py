"""Functions of any kind: how to run them, and what they raise."""

import asyncio
import inspect
from collections.abc import Callable
from contextlib import aclosing
from typing import Any


class BoomError(Exception):
    """What a body raises in these tests."""


class ThrownError(Exception):
    """What a consumer throws into a generator in these tests."""


def run(function: Callable[..., Any], *args: Any) -> Any:
    """Runs a function of any kind to its end; a generator's result is its last word."""
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
