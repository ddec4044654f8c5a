"""The wrapper behind the decorators is transparent for every kind of function."""

import functools
import gc
import inspect
import itertools
import logging
import weakref
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from support.calls import KINDS, Diary, async_generator, coroutine, generator, keep_diary, plain
from support.functions import BoomError, ThrownError, run

from telemetry.tracing.calls import Call, Layer, qualified_name, wrap

IS_KIND = [inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction]


@pytest.mark.parametrize("function", KINDS)
@pytest.mark.parametrize("is_alone", [False, True], ids=["watched", "left alone"])
def test_result_is_kept(function: Callable[..., Any], is_alone: bool) -> None:
    """A wrapped function returns the original's result, with or without a call around it."""
    wrapped = wrap(function, Layer.SPAN, lambda name: None if is_alone else Call())
    assert run(wrapped, 4) == run(function, 4) == 8


@pytest.mark.parametrize("function", KINDS)
def test_kind_and_signature_are_kept(function: Callable[..., Any]) -> None:
    """Frameworks that inspect a function see no difference."""
    wrapped = keep_diary(function, [])
    assert [is_kind(wrapped) for is_kind in IS_KIND] == [is_kind(function) for is_kind in IS_KIND]
    assert inspect.signature(wrapped) == inspect.signature(function)
    assert (wrapped.__name__, wrapped.__doc__) == (function.__name__, function.__doc__)


@pytest.mark.parametrize(
    ("function", "steps"), [(plain, 1), (coroutine, 1), (generator, 2), (async_generator, 3)]
)
def test_call_is_awake_only_in_the_body(function: Callable[..., Any], steps: int) -> None:
    """Each step of a generator's body is surrounded, and the end is reported once, after the last step."""
    events: list[Any] = []
    run(keep_diary(function, events), 4)
    assert events == ["resume", "pause"] * steps + [("end", None)]


@pytest.mark.parametrize("function", KINDS)
@pytest.mark.parametrize("hook", ["begin", "on_resume", "on_pause", "on_end"])
def test_failing_bookkeeping_is_harmless(
    function: Callable[..., Any], hook: str, caplog: pytest.LogCaptureFixture
) -> None:
    """If the library's own code fails, the function still runs once and returns, and one line is logged."""
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
    """A function's exception leaves unchanged even if a hook fails."""

    def fail(*_: object) -> None:
        raise LookupError("ours")

    broken = type("Broken", (Call,), {hook: fail})
    wrapped = wrap(function, Layer.SPAN, lambda name: broken())
    with pytest.raises(TypeError) as raised:
        run(wrapped, None)
    assert raised.value.__context__ is None


def step_through(function: Callable[..., Any], value: object, thrown: list[Exception]) -> None:
    """Runs each step by hand, since an event loop keeps exceptions alive; throws in at the second step."""
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
    """No frame or call of the library keeps an exception or its frames' values alive."""

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
    """The wrapper does not keep an exception that a consumer throws in and gets back."""
    errors: list[Exception] = [ThrownError()]
    released = weakref.ref(errors[0])
    with suppress(ThrownError):
        step_through(keep_diary(function, []), 1, errors)
    assert released() is None


def test_layers_keep_their_order() -> None:
    """Directly stacked layers are ordered as in `Layer`, whatever order they were applied in."""
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
    """Class methods and static methods can be wrapped above and below the built-in decorator."""
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
    """Classes, properties and values are refused at decoration, not at the first call."""
    with pytest.raises(TypeError, match="is not a function"):
        keep_diary(target, [])


def test_any_callable_can_be_wrapped() -> None:
    """Unhashable callable objects and built-in functions can be wrapped."""
    unhashable = type("Unhashable", (), {"__call__": lambda self: 42, "__hash__": None})()
    assert keep_diary(unhashable, [])() == 42
    assert keep_diary(len, [])("four") == 4


def test_qualified_names() -> None:
    """The name locates the function, also through partial functions and callable objects."""
    assert qualified_name(plain) == f"{plain.__module__}.plain"
    assert qualified_name(Diary.on_end) == f"{Diary.__module__}.Diary.on_end"
    assert qualified_name(functools.partial(functools.partial(plain), 1)) == f"{plain.__module__}.plain"
    assert qualified_name(type("Callable", (), {"__call__": plain, "__module__": "m"})()) == "m.Callable"
