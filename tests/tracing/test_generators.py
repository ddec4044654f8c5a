"""The wrapper around generators: transparent whatever consumer and body do, to the end."""

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

# What a scripted body does at each of its steps: yield and, if the consumer throws there, react.
REACTIONS = ["propagate", "swallow", "return", "replace"]
STEPS = st.one_of(st.sampled_from(REACTIONS), st.just("raise"))
SCRIPTS = st.lists(STEPS, max_size=4)
MOVES = st.lists(st.one_of(st.integers(0, 9), st.sampled_from(["next", "throw", "close"])), max_size=7)


def react(reaction: str, error: BaseException, heard: list[Any]) -> bool:
    """Reacts to what was thrown in; True when the body shall return."""
    heard.append(type(error))
    if reaction == "propagate":
        raise error
    if reaction == "replace":
        raise BoomError("instead") from error
    # A generator that goes on after GeneratorExit is tested on its own.
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
    """Does the same, later."""
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
    """Everything that a consumer making these moves, and the body, get to see."""
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
    """The same for an asynchronous generator."""
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
    """Steps open and close in turn, and a body that began has ended once."""
    steps, ends = events[:-1], events[-1:]
    assert steps == ["resume", "pause"] * (len(steps) // 2)
    assert all(isinstance(end, tuple) for end in ends)


@given(script=SCRIPTS, moves=MOVES)
def test_generator_is_transparent(script: list[str], moves: list[Any]) -> None:
    """Whatever consumer and body do to one another, neither can tell that a wrapper is between them."""
    events: list[Any] = []
    assert consume(keep_diary(scripted, events), script, moves) == consume(scripted, script, moves)
    assert_orderly(events)


@given(script=SCRIPTS, moves=MOVES)
def test_async_generator_is_transparent(script: list[str], moves: list[Any]) -> None:
    """The same law for asynchronous generators."""
    events: list[Any] = []
    wrapped = keep_diary(scripted_async, events)
    assert asyncio.run(consume_async(wrapped, script, moves)) == asyncio.run(
        consume_async(scripted_async, script, moves)
    )
    assert_orderly(events)


@given(script=SCRIPTS, moves=MOVES)
def test_async_generator_left_alone_is_transparent(script: list[str], moves: list[Any]) -> None:
    """The same law where no client is found, for an asynchronous generator cannot be passed through."""
    wrapped = wrap(scripted_async, Layer.SPAN, lambda name: None)
    assert asyncio.run(consume_async(wrapped, script, moves)) == asyncio.run(
        consume_async(scripted_async, script, moves)
    )


def test_generator_that_ignores_its_end_is_told_off() -> None:
    """A body that yields on close gets Python's own complaint, and may go on as a bare one may."""

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


def test_async_generator_that_ignores_its_end_is_told_off() -> None:
    """The same complaint for an asynchronous body."""

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
    """A generator that its consumer forgets ends its call when it is collected."""
    events: list[Any] = []
    body = keep_diary(generator, events)(1)
    next(body)
    del body
    gc.collect()
    assert events[-1] == ("end", GeneratorExit)


def test_collected_async_generator_ends() -> None:
    """An asynchronous generator that its consumer forgets ends its call as well."""
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
        async with asyncio.timeout(5):  # for the loop to close the generator
            await closed.wait()

    asyncio.run(main())
    assert events[-1] == ("end", GeneratorExit)


def test_loop_closes_body_through_its_wrapper(caplog: pytest.LogCaptureFixture) -> None:
    """A loop's shutdown closes what it knows all at once; it must not know the bodies besides."""
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
