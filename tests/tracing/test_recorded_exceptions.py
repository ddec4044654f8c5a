"""An exception that leaves nested calls is recognised; a new one is not mistaken for it."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from support.functions import BoomError, ThrownError

from telemetry.tracing.calls import Call, Layer, wrap


class Marking(Call):
    """A call that marks the exception as recorded and notes whether an inner call had marked it."""

    def __init__(self, marked: list[bool]) -> None:
        super().__init__()
        self.marked = marked

    def on_end(self, error: BaseException | None) -> None:
        """Notes whether there was a mark, and sets one."""
        self.marked.append(self.is_recorded)
        self.is_recorded = True


def mark(function: Callable[..., Any], marked: list[bool]) -> Callable[..., Any]:
    """Wraps a function so that its calls mark the exceptions that leave."""
    return wrap(function, Layer.SPAN, lambda name: Marking(marked))


def raise_it(error: Exception) -> None:
    """Raises the given error."""
    raise error


def test_exception_that_passes_through_is_recognised() -> None:
    """Of the nested calls that an exception leaves, only the innermost finds it unmarked."""
    marked: list[bool] = []
    inner = mark(raise_it, marked)
    middle = mark(lambda: inner(BoomError()), marked)
    outer = mark(lambda: [middle()], marked)
    with pytest.raises(BoomError):
        outer()
    assert marked == [False, True, True]


def test_same_exception_raised_again_is_new() -> None:
    """An instance raised again in a later call is unmarked there, although its traceback has grown."""
    marked: list[bool] = []
    error = BoomError()
    for _ in range(3):
        with pytest.raises(BoomError):
            mark(raise_it, marked)(error)
    assert marked == [False, False, False]


def test_same_exception_raised_again_by_a_sibling_is_new() -> None:
    """Each inner call that raises the instance again finds it unmarked, even within one outer call."""
    marked: list[bool] = []
    inner = mark(raise_it, marked)

    def twice() -> None:
        error = BoomError()
        with suppress(BoomError):
            inner(error)
        inner(error)

    with pytest.raises(BoomError):
        mark(twice, marked)()
    assert marked == [False, False, True]


def test_exception_raised_instead_is_new() -> None:
    """An exception that replaces another is new."""
    marked: list[bool] = []

    def replace() -> None:
        try:
            mark(raise_it, marked)(BoomError())
        except BoomError as error:
            raise ThrownError from error

    with pytest.raises(ThrownError):
        mark(replace, marked)()
    assert marked == [False, False]


def test_exceptions_are_recognised_across_tasks() -> None:
    """When two tasks fail at once, the exception that propagates is recognised."""
    marked: list[bool] = []

    async def fail(error: Exception) -> None:
        await asyncio.sleep(0)
        raise error

    async def both() -> None:
        await asyncio.gather(mark(fail, marked)(BoomError()), mark(fail, marked)(ThrownError()))

    with pytest.raises(BoomError):
        asyncio.run(mark(both, marked)())
    assert marked == [False, False, True]


def test_exceptions_are_recognised_across_threads() -> None:
    """An exception from a thread pool still has its thread's mark."""
    marked: list[bool] = []

    def in_thread() -> None:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(mark(raise_it, marked), BoomError()).result()

    with pytest.raises(BoomError):
        mark(in_thread, marked)()
    assert marked == [False, True]


def test_exceptions_are_recognised_through_generators() -> None:
    """An exception from a generator that began before its consumer's call is recognised."""
    marked: list[bool] = []

    def items() -> Iterator[int]:
        yield 1
        raise BoomError

    body = mark(items, marked)()
    next(body)
    with pytest.raises(BoomError):
        mark(lambda: next(body), marked)()
    assert marked == [False, True]
