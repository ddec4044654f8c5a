"""The wrapper around generators is transparent whatever consumer and body do."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.calls import generator, keep_diary
from support.functions import BoomError, ThrownError

from telemetry.tracing.calls import Layer, wrap

# At each step a scripted body yields and, if the consumer throws there, reacts.
REACTIONS = ["propagate", "swallow", "return", "replace"]
STEPS = st.one_of(st.sampled_from(REACTIONS), st.just("raise"))
SCRIPTS = st.lists(STEPS, max_size=4)
MOVES = st.lists(st.one_of(st.integers(0, 9), st.sampled_from(["next", "throw", "close"])), max_size=7)


def react(reaction: str, error: BaseException, heard: list[Any]) -> bool:
    """Reacts to an exception that was thrown in; returns True if the body should return."""
    heard.append(type(error))
    if reaction == "propagate":
        raise error
    if reaction == "replace":
        raise BoomError("instead") from error
    # A generator that continues after GeneratorExit has its own test.
    return reaction == "return" or isinstance(error, GeneratorExit)


def scripted(script: list[str], heard: list[Any]) -> Generator[int, Any, str]:
    """Yields, raises and reacts as the script says."""
    for number, step in enumerate(script):
        if step == "raise":
            raise BoomError(number)
        try:
            heard.append((yield number))
        except BaseException as error:  # noqa: BLE001 - the script decides
            if react(step, error, heard):
                return "early"
    return "late"


async def scripted_async(script: list[str], heard: list[Any]) -> AsyncIterator[int]:
    """Does the same asynchronously."""
    for number, step in enumerate(script):
        await asyncio.sleep(0)
        if step == "raise":
            raise BoomError(number)
        try:
            heard.append((yield number))
        except BaseException as error:  # noqa: BLE001 - the script decides
            await asyncio.sleep(0)
            if react(step, error, heard):
                return


def consume(function: Callable[..., Any], script: list[str], moves: list[Any]) -> list[Any]:
    """Makes the moves and returns everything that the consumer and the body see."""
    seen: list[Any] = []
    body = function(script, seen)
    for move in [*moves, "close"]:
        try:
            if move == "next":
                seen.append(next(body))
            elif move == "throw":
                seen.append(body.throw(ThrownError("consumer's")))
            elif move == "close":
                seen.append(body.close())
            else:
                seen.append(body.send(move))
        except BaseException as error:  # noqa: BLE001 - compared below
            seen.append((type(error), error.args))
    return seen


async def consume_async(function: Callable[..., Any], script: list[str], moves: list[Any]) -> list[Any]:
    """Does the same for an asynchronous generator."""
    seen: list[Any] = []
    body = function(script, seen)
    for move in [*moves, "close"]:
        try:
            if move == "next":
                seen.append(await anext(body))
            elif move == "throw":
                seen.append(await body.athrow(ThrownError("consumer's")))
            elif move == "close":
                seen.append(await body.aclose())
            else:
                seen.append(await body.asend(move))
        except BaseException as error:  # noqa: BLE001 - compared below
            seen.append((type(error), error.args))
    return seen


def assert_orderly(events: list[Any]) -> None:
    """Asserts that resume and pause alternate, and that a body that began ended exactly once."""
    steps, ends = events[:-1], events[-1:]
    assert steps == ["resume", "pause"] * (len(steps) // 2)
    assert all(isinstance(end, tuple) for end in ends)


@given(script=SCRIPTS, moves=MOVES)
def test_generator_is_transparent(script: list[str], moves: list[Any]) -> None:
    """Neither the consumer nor the body can tell that a wrapper is between them."""
    events: list[Any] = []
    assert consume(keep_diary(scripted, events), script, moves) == consume(scripted, script, moves)
    assert_orderly(events)


@given(script=SCRIPTS, moves=MOVES)
def test_async_generator_is_transparent(script: list[str], moves: list[Any]) -> None:
    """The same holds for asynchronous generators."""
    events: list[Any] = []
    wrapped = keep_diary(scripted_async, events)
    assert asyncio.run(consume_async(wrapped, script, moves)) == asyncio.run(
        consume_async(scripted_async, script, moves)
    )
    assert_orderly(events)


@given(script=SCRIPTS, moves=MOVES)
def test_async_generator_left_alone_is_transparent(script: list[str], moves: list[Any]) -> None:
    """It also holds without a client, since an asynchronous generator cannot be passed through."""
    wrapped = wrap(scripted_async, Layer.SPAN, lambda name: None)
    assert asyncio.run(consume_async(wrapped, script, moves)) == asyncio.run(
        consume_async(scripted_async, script, moves)
    )


def test_generator_that_ignores_its_end_raises() -> None:
    """A body that yields on close raises Python's own RuntimeError and may go on, as without a wrapper."""

    def stubborn() -> Iterator[int]:
        for number in range(2):
            try:
                yield number
            except GeneratorExit:
                yield -1

    body = keep_diary(stubborn, [])()
    assert next(body) == 0
    with pytest.raises(RuntimeError, match="generator ignored GeneratorExit"):
        body.close()
    assert list(body) == [1]


def test_async_generator_that_ignores_its_end_raises() -> None:
    """An asynchronous body raises the same error."""

    async def stubborn() -> AsyncIterator[int]:
        try:
            yield 0
        except GeneratorExit:
            yield -1

    async def main() -> None:
        body = keep_diary(stubborn, [])()
        await anext(body)
        with pytest.raises(RuntimeError, match="async generator ignored GeneratorExit"):
            await body.aclose()

    asyncio.run(main())


def test_collected_generator_ends() -> None:
    """A generator that its consumer abandons ends its call when it is collected."""
    events: list[Any] = []
    body = keep_diary(generator, events)(1)
    next(body)
    del body
    gc.collect()
    assert events[-1] == ("end", GeneratorExit)


def test_collected_async_generator_ends() -> None:
    """An asynchronous generator that its consumer abandons also ends its call."""
    events: list[Any] = []

    async def main() -> None:
        closed = asyncio.Event()

        async def items() -> AsyncIterator[int]:
            try:
                yield 1
            finally:
                closed.set()

        async for _ in keep_diary(items, events)():
            break
        async with asyncio.timeout(5):  # lets the loop close the generator
            await closed.wait()

    asyncio.run(main())
    assert events[-1] == ("end", GeneratorExit)


def test_loop_closes_body_through_its_wrapper(caplog: pytest.LogCaptureFixture) -> None:
    """A loop closes all its known generators at once on shutdown, so it must not know the wrapped bodies."""
    events: list[Any] = []
    forgotten: list[Any] = []

    async def slow_to_close() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            events.append("cleanup")

    async def main() -> None:
        for _ in range(8):
            forgotten.append(keep_diary(slow_to_close, events)())
            await anext(forgotten[-1])

    asyncio.run(main())
    assert events.count("cleanup") == 8
    assert events.count(("end", GeneratorExit)) == 8
    assert caplog.records == []
