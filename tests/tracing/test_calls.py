"""The wrapper behind the decorators: transparent for every kind of function, whatever the caller does."""

import asyncio
import functools
import gc
import inspect
import itertools
import logging
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.tracing.calls import Call, Layer, qualified_name, wrap


class BoomError(Exception):
    """What a body raises in these tests."""


class ThrownError(Exception):
    """What a consumer throws into a generator in these tests."""


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
IS_KIND = [inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction]


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


@pytest.mark.parametrize("function", KINDS)
@pytest.mark.parametrize("is_alone", [False, True], ids=["watched", "left alone"])
def test_result_is_kept(function: Callable[..., Any], is_alone: bool) -> None:
    """A wrapped function gives the bare one's result, with a call around it and without."""
    wrapped = wrap(function, Layer.SPAN, lambda name: None if is_alone else Call())
    assert run(wrapped, 4) == run(function, 4) == 8


@pytest.mark.parametrize("function", KINDS)
def test_kind_and_signature_are_kept(function: Callable[..., Any]) -> None:
    """Frameworks that look at a function see no difference."""
    wrapped = keep_diary(function, [])
    assert [is_kind(wrapped) for is_kind in IS_KIND] == [is_kind(function) for is_kind in IS_KIND]
    assert inspect.signature(wrapped) == inspect.signature(function)
    assert (wrapped.__name__, wrapped.__doc__) == (function.__name__, function.__doc__)


@pytest.mark.parametrize(
    ("function", "steps"), [(plain, 1), (coroutine, 1), (generator, 2), (async_generator, 3)]
)
def test_call_is_awake_only_in_the_body(function: Callable[..., Any], steps: int) -> None:
    """Each step of a generator's body is surrounded, and the end is told once, after the last."""
    events: list[Any] = []
    run(keep_diary(function, events), 4)
    assert events == ["resume", "pause"] * steps + [("end", None)]


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


@pytest.mark.parametrize("function", KINDS)
@pytest.mark.parametrize("hook", ["begin", "on_resume", "on_pause", "on_end"])
def test_failing_bookkeeping_is_harmless(
    function: Callable[..., Any], hook: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever fails in our own code, the function runs once, gives its result, and one line is logged."""
    runs = []

    def fail(*_: object) -> Any:
        raise unknown_error

    unknown_error = type("Unknown", (Exception,), {})("a failure no other test has logged")
    broken = type("Broken", (Call,), {hook: fail})

    def begin(name: str) -> Call | None:
        runs.append(name)
        call: Call | None = fail() if hook == "begin" else broken()
        return call

    wrapped = wrap(function, Layer.SPAN, begin)
    with caplog.at_level(logging.ERROR):
        assert [run(wrapped, 4), run(wrapped, 4)] == [8, 8]
    assert len(runs) == 2
    assert [record.name for record in caplog.records] == ["telemetry.tracing.calls"]


@pytest.mark.parametrize("function", KINDS)
@pytest.mark.parametrize("hook", ["on_resume", "on_pause", "on_end"])
def test_failing_bookkeeping_hides_no_exception(function: Callable[..., Any], hook: str) -> None:
    """A function's exception leaves as it was, also when telling of it fails."""

    def fail(*_: object) -> None:
        raise LookupError("ours")

    broken = type("Broken", (Call,), {hook: fail})
    wrapped = wrap(function, Layer.SPAN, lambda name: broken())
    with pytest.raises(TypeError) as raised:
        run(wrapped, None)
    assert raised.value.__context__ is None


def step_through(function: Callable[..., Any], value: object, thrown: list[Exception]) -> None:
    """Takes each step by hand, for an event loop keeps exceptions alive; throws in at the second."""
    body: Any = function(value)
    if isinstance(body, AsyncGenerator):
        with suppress(StopIteration):
            body.asend(None).send(None)
        if thrown:
            body.athrow(thrown.pop()).send(None)
        last = body.asend(None)
        last.send(None)
        last.send(None)
    elif body is not None:
        body.send(None)
        body.throw(thrown.pop()) if thrown else body.send(None)


@pytest.fixture
def _only_reference_counts() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_only_reference_counts")
@pytest.mark.parametrize("function", KINDS)
def test_handled_exception_is_freed_at_once(function: Callable[..., Any]) -> None:
    """No frame or call of ours keeps an exception alive, or what its frames hold."""

    class Value:
        def __mul__(self, other: int) -> int:
            raise BoomError

    value = Value()
    released = weakref.ref(value)
    try:
        step_through(keep_diary(function, []), value, [])
    except BoomError:
        del value
    assert released() is None


@pytest.mark.usefixtures("_only_reference_counts")
@pytest.mark.parametrize("function", [coroutine, generator, async_generator])
def test_thrown_exception_is_freed_at_once(function: Callable[..., Any]) -> None:
    """An exception that a consumer throws in, and gets back, is not kept by the wrapper either."""
    errors: list[Exception] = [ThrownError()]
    released = weakref.ref(errors[0])
    with suppress(ThrownError):
        step_through(keep_diary(function, []), 1, errors)
    assert released() is None


def test_layers_keep_their_order() -> None:
    """Stacked directly on one another, layers lie as `Layer` says, in whatever order they came."""
    for order in itertools.permutations(Layer):
        opened: list[Layer] = []

        def note(layer: Layer, name: str, opened: list[Layer] = opened) -> Call | None:
            opened.append(layer)
            return None

        function: Callable[[int], int] = plain
        for layer in order:
            function = wrap(function, layer, functools.partial(note, layer))
        function(1)
        assert opened == [Layer.SPAN, Layer.DURATION, Layer.ERRORS]


def test_decorators_in_between_stay_in_between() -> None:
    """A foreign decorator between two of ours is neither dropped nor moved."""
    events: list[Any] = []

    def add_one(function: Callable[[int], int]) -> Callable[[int], int]:
        @functools.wraps(function)
        def wrapper(value: int) -> int:
            return function(value) + 1

        return wrapper

    function = keep_diary(add_one(keep_diary(plain, events)), events)
    assert function(4) == 9
    assert events == ["resume", "resume", "pause", ("end", None), "pause", ("end", None)]


@pytest.mark.parametrize("outer_kind", [classmethod, staticmethod])
@pytest.mark.parametrize("is_outermost", [True, False])
def test_methods_of_the_class(outer_kind: Any, is_outermost: bool) -> None:
    """Class methods and static methods are wrapped above and below the built-in decorator."""
    events: list[Any] = []

    def method(*args: Any) -> tuple[Any, ...]:
        return args

    decorated = (
        keep_diary(outer_kind(method), events) if is_outermost else outer_kind(keep_diary(method, events))
    )
    owner: Any = type("Owner", (), {"method": decorated})
    expected = (owner, 1) if outer_kind is classmethod else (1,)
    assert (owner.method(1), owner().method(1)) == (expected, expected)
    assert len(events) == 6


@pytest.mark.parametrize("target", [BoomError, property(plain), 3])
def test_what_is_not_a_function_is_refused(target: Any) -> None:
    """Classes, properties and values are refused where they are decorated, not when they are used."""
    with pytest.raises(TypeError, match="is not a function"):
        keep_diary(target, [])


def test_any_callable_can_be_wrapped() -> None:
    """A callable object need not be hashable, and a built-in function need not be Python's."""
    unhashable = type("Unhashable", (), {"__call__": lambda self: 42, "__hash__": None})()
    assert keep_diary(unhashable, [])() == 42
    assert keep_diary(len, [])("four") == 4


def test_qualified_names() -> None:
    """A name says where the function is, through partial functions and callable objects."""
    assert qualified_name(plain) == f"{__name__}.plain"
    assert qualified_name(Diary.on_end) == f"{__name__}.Diary.on_end"
    assert qualified_name(functools.partial(functools.partial(plain), 1)) == f"{__name__}.plain"
    assert qualified_name(type("Callable", (), {"__call__": plain, "__module__": "m"})()) == "m.Callable"


class Marking(Call):
    """A call that marks the exception as recorded, and notes whether a call further in had done it."""

    def __init__(self, marked: list[bool]) -> None:
        super().__init__()
        self.marked = marked

    def on_end(self, error: BaseException | None) -> None:
        """Notes whether there was a mark, and leaves one."""
        self.marked.append(self.is_recorded)
        self.is_recorded = True


def mark(function: Callable[..., Any], marked: list[bool]) -> Callable[..., Any]:
    """Wraps a function so that its calls mark the exceptions that leave."""
    return wrap(function, Layer.SPAN, lambda name: Marking(marked))


def raise_it(error: Exception) -> None:
    """Raises what it is given."""
    raise error


def test_exception_that_passes_through_is_recognised() -> None:
    """Of nested calls that an exception leaves, only the innermost finds it unmarked."""
    marked: list[bool] = []
    inner = mark(raise_it, marked)
    middle = mark(lambda: inner(BoomError()), marked)
    outer = mark(lambda: [middle()], marked)
    with pytest.raises(BoomError):
        outer()
    assert marked == [False, True, True]


def test_same_exception_raised_again_is_new() -> None:
    """An instance that is raised in a later call is unmarked there, though its traceback has grown."""
    marked: list[bool] = []
    error = BoomError()
    for _ in range(3):
        with pytest.raises(BoomError):
            mark(raise_it, marked)(error)
    assert marked == [False, False, False]


def test_same_exception_raised_again_by_a_sibling_is_new() -> None:
    """Within one outer call, too, each call that raises the instance anew finds it unmarked."""
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
    """An exception that replaces another is one of its own."""
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
    """Of two tasks that fail at once the one whose exception goes on is recognised."""
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
    """An exception that a thread pool hands over is the one that its thread marked."""
    marked: list[bool] = []

    def in_thread() -> None:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(mark(raise_it, marked), BoomError()).result()

    with pytest.raises(BoomError):
        mark(in_thread, marked)()
    assert marked == [False, True]


def test_exceptions_are_recognised_through_generators() -> None:
    """An exception from a generator that began before its consumer's call is recognised there."""
    marked: list[bool] = []

    def items() -> Iterator[int]:
        yield 1
        raise BoomError

    body = mark(items, marked)()
    next(body)
    with pytest.raises(BoomError):
        mark(lambda: next(body), marked)()
    assert marked == [False, True]
